"""Everything round the face: background, neck and shirt, long hair behind the head, lashes, creases and glasses.

In: a linear picture [H, W, n] to paint into, a person, a `View`. Out: the picture, changed in place.
"""

from collections.abc import Iterable
from functools import cache

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from fer.data.synthetic.face import EYE_INNER, EYE_OUTER, EYE_Y, LIP_CORNER, LIP_Y, Array, ramp
from fer.data.synthetic.head import Head, cut_edges, sample
from fer.data.synthetic.identity import Identity
from fer.data.synthetic.raster import splat
from fer.data.synthetic.shading import light_up
from fer.data.synthetic.texture import GREY, noise
from fer.data.synthetic.view import View
from fer.data.synthetic.wrinkles import Crease

BARE = 0.6
"""Thickness of hair (mm) above which it hides the folds of the skin."""
COARSE_BELOW = 1.0
"""Pixels per millimetre under which coarse grids look the same as fine ones."""
_NECK_SHARE = 0.35
"""How much of the turn of the head the neck follows."""


def tint(color: Array, channels: int) -> Array:
    """RGB on the last axis as `channels` values: itself, or its grey."""
    return color if channels == 3 else (color @ GREY)[..., None]


def backdrop(view: View, channels: int) -> Array:
    """A blurred wall with a gradient and blotches, [H, W, n]."""
    rng = np.random.default_rng(view.wall_seed)
    level, slope, blotch = view.background
    small = level * (1 + slope * np.linspace(-0.5, 0.5, 6)[None, :] + blotch * rng.standard_normal((4, 6)))
    wall = cv2.resize(np.clip(small, 0.01, 1).astype(np.float32), view.size[::-1], interpolation=cv2.INTER_CUBIC)
    hue = rng.uniform(0.85, 1.1, 3) if channels == 3 else np.ones(1)
    wall = wall[..., None] * hue.astype(np.float32)
    return np.ascontiguousarray(wall)


@cache
def _body() -> tuple[Array, Array, Array]:
    """Neck, shoulders and chest: points [R, C, 3], material y and angle [R, C]."""
    knots = np.array(
        [
            (-70, 46, 40),
            (-120, 50, 46),
            (-150, 54, 50),
            (-168, 68, 56),
            (-182, 110, 62),
            (-198, 170, 70),
            (-230, 205, 85),
            (-420, 215, 100),
        ]
    )
    y = np.concatenate([np.linspace(-70, -235, 56), np.linspace(-250, -420, 12)])
    width, depth = (np.interp(-y, -knots[:, 0], knots[:, k])[:, None] for k in (1, 2))
    theta = np.linspace(-1.75, 1.75, 72)[None]
    points = np.stack([width * np.sin(theta), y[:, None] + 0 * theta, -22 + depth * np.cos(theta)], -1)
    smooth = cv2.GaussianBlur(points.astype(np.float32), (0, 0), 1.6)
    return (
        smooth,
        np.broadcast_to(y[:, None], smooth.shape[:2]).astype(np.float32),
        np.broadcast_to(theta, smooth.shape[:2]).astype(np.float32),
    )


def paint_body(canvas: Array, person: Identity, view: View) -> None:
    """Neck and shirt."""
    points, y, theta = _body()
    rng = np.random.default_rng(person.texture_seed + 1)
    collar = -150 - rng.uniform(10, 30) * np.cos(theta)
    cloth = ramp(y - collar, 1.5, -1.5)[..., None]
    folds = 1 + 0.12 * noise(rng, (y.shape[0], y.shape[1]), (12, 6))
    skin = np.asarray(person.skin, dtype=np.float32) * 0.92
    color = skin * (1 - cloth) + np.asarray(person.shirt, dtype=np.float32) * folds[..., None] * cloth
    under_chin = 0.42 + 0.58 * ramp(y, -128, -165)
    _draw(canvas, points, color, view, under_chin, _NECK_SHARE)


@cache
def _strip(first: float, last: float) -> Array:
    """A curtain round a unit cylinder, between two angles: points with y from 0 to -1, [R, C, 3]."""
    across, y = np.meshgrid(np.linspace(0, 1, 90, dtype=np.float32), np.linspace(0, -1, 60, dtype=np.float32))
    narrow = 1 - ramp(y, -0.5, 0) * (abs(first + last) > 0)  # a lock comes out of the hair above it
    middle = np.sign(first + last) * 1.5
    angle = middle + (first + (last - first) * across - middle) * narrow
    return np.stack([np.sin(angle), y, np.cos(angle)], -1).astype(np.float32)


def paint_mane(canvas: Array, head: Head, view: View, in_front: bool) -> None:
    """Hair that hangs down, for the long styles: behind the head, or the locks in front of its ears."""
    person = head.identity
    drop = {"bob": 40.0 + 5 * person.hair_volume, "long": 240.0}.get(person.hair)
    if drop is None:
        return
    parts = ((-1.75, -0.9), (0.9, 1.75)) if in_front else ((-1.9, 1.9),)
    for part, (first, last) in enumerate(parts):
        if in_front and view.yaw * (first + last) > 0.3:
            continue  # the cheek hides it
        shape = _strip(first, last)
        rng = np.random.default_rng([person.texture_seed, part, in_front])
        top, depth, center = (60.0, 62.0, -2.0) if in_front else (100.0, 40.0, -36.0)
        points = shape * np.array([1.0, drop + top, depth], dtype=np.float32) + np.array(
            [0, top, center], dtype=np.float32
        )
        points[..., 0] *= _fall(head, points[..., 1]) - (4.0 * ramp(points[..., 1], 5, 45) if in_front else 3.0)
        _draw(
            canvas,
            *_ruffle(points, person, rng),
            view,
            np.full(shape.shape[:2], 0.9 if in_front else 0.5, dtype=np.float32),
            1.0,
        )


def _fall(head: Head, y: Array) -> Array:
    """Half width of hair that lies on the head and, below its widest place, falls straight."""
    edge = int(np.abs(head.rest[:, :, 0]).max(0).argmax())
    heights = head.rest[:, edge, 1]
    widths = np.maximum.accumulate(np.abs(head.rest[:, :, 0]).max(1))
    smooth = gaussian_filter1d(widths, len(widths) / 20)  # no step where the ears begin
    return np.asarray(np.interp(-y, -np.minimum.accumulate(heights), smooth), dtype=np.float32)


def _ruffle(points: Array, person: Identity, rng: np.random.Generator) -> tuple[Array, Array]:
    """Waves and strands: the moved points, and their colour."""
    size = (points.shape[0], points.shape[1])
    wave = noise(rng, size, (18, 12))
    points[..., 0] *= 1 + 0.025 * wave
    points[..., 2] += 2.5 * noise(rng, size, (30, 5))
    points[..., 1] += (
        7 * rng.standard_normal(size[1], dtype=np.float32) * np.linspace(0, 1, size[0], dtype=np.float32)[:, None] ** 4
    )
    strands = np.clip(1 + 0.2 * noise(rng, size, (40, 1.2)) + 0.18 * noise(rng, size, (40, 5)), 0.3, 2)
    return points, np.asarray(person.hair_color, dtype=np.float32) * strands[..., None]


def _draw(canvas: Array, points: Array, color: Array, view: View, open_sky: Array, share: float) -> None:
    """Draws a plain grid, lit, into the picture."""
    if view.scale < COARSE_BELOW:
        points, color, open_sky = points[::2, ::2], color[::2, ::2], open_sky[::2, ::2]
    hits = splat(view.project(points, share), view.size)
    if hits is None:
        return
    posed = view.rotate(points, share)
    normal = np.cross(np.gradient(posed, axis=0), np.gradient(posed, axis=1)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-6
    light = light_up(normal, view, open_sky)[..., :1]
    seen = hits.look_up(np.ascontiguousarray(tint(color * light, canvas.shape[2])), points.shape[:2])
    np.copyto(canvas[hits.window], seen.reshape(*hits.mask.shape, -1), where=hits.mask[..., None])


def paint_lines(canvas: Array, head: Head, points: Array, view: View) -> None:
    """Lashes, and the dark line between closed lips."""
    mask = np.zeros(view.size, dtype=np.uint8)
    for side in (-1, 1):
        corner = (-EYE_OUTER, -EYE_INNER) if side < 0 else (EYE_INNER, EYE_OUTER)
        upper = view.project(cut_edges(points, head.detail, corner, EYE_Y)[0])[:, :2]
        _stroke(mask, upper, 1.1 * view.scale, 170)
    lips = view.project(cut_edges(points, head.detail, (-LIP_CORNER, LIP_CORNER), LIP_Y)[0])[:, :2]
    _stroke(mask, lips[1:-1], 0.6 * view.scale, 90)
    _stroke(mask, lips[6:-6], 0.8 * view.scale, 110)
    canvas *= 1 - mask[..., None].astype(np.float32) / 255


def paint_creases(canvas: Array, head: Head, points: Array, view: View, folds: Iterable[Crease]) -> None:
    """Sharp folds as lines that fade at their ends; none under hair."""
    mask = np.zeros(view.size, dtype=np.uint8)
    for fold in folds:
        middle = fold.places[len(fold.places) // 2]
        if head.paint.hair[round(middle[0]), round(middle[1])] > BARE:
            continue
        line = view.project(np.stack([sample(points, (row, column)) for row, column in fold.places]))[:, :2]
        _stroke(mask, line, 0.9 * view.scale, round(0.5 * 255 * fold.dark))
        _stroke(mask, line[1:-1], 1.2 * view.scale, round(255 * fold.dark))
    canvas *= 1 - mask[..., None].astype(np.float32) / 255


def paint_glasses(canvas: Array, head: Head, points: Array, view: View) -> None:
    """Frames in front of the eyes, a bridge and the sides; the lenses mirror a little light."""
    if head.identity.glasses is None:
        return
    half_w, half_h, dark = head.identity.glasses
    turn = np.linspace(0, 2 * np.pi, 40)
    squircle = np.stack(
        [np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 0.7, np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 0.7], 1
    )
    mask, lens = np.zeros(view.size, dtype=np.uint8), np.zeros(view.size, dtype=np.uint8)
    front = float(points[..., 2][np.abs(points[..., 1] - 8) < 4].max()) + 3.0
    for eye, side in zip(head.eyes, (-1, 1), strict=True):
        ring = np.concatenate(
            [eye[:2] + np.array([side * 1.5, -2]) + squircle * [half_w, half_h], np.full((40, 1), front)], 1
        )
        ring[:, 2] -= 0.0035 * (ring[:, 0] - 0.3 * eye[0]) ** 2
        at = view.project(ring.astype(np.float32))[:, :2]
        cv2.fillPoly(lens, [np.round(at * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        _stroke(mask, at, 1.7 * view.scale, 255)
        ear = np.array([[eye[0] + side * (half_w + 1), 4, front - 12], [side * 78, 4, 8]], dtype=np.float32)
        _stroke(mask, view.project(ear)[:, :2], 1.7 * view.scale, 255)
    inner = [eye[0] + side * (1.5 - half_w) for eye, side in zip(head.eyes, (-1, 1), strict=True)]
    bridge = np.array([[inner[0], 2, front - 1], [0, 5, front + 1], [inner[1], 2, front - 1]], dtype=np.float32)
    _stroke(mask, view.project(bridge)[:, :2], 1.7 * view.scale, 255)
    glare = lens[..., None].astype(np.float32) / 255 * 0.02
    cover = mask[..., None].astype(np.float32) / 255 * dark
    canvas[...] = (canvas + glare) * (1 - cover) + cover * 0.03


def _stroke(mask: Array, line: Array, width: float, strength: int) -> None:
    """An antialiased line; one thinner than a pixel is drawn fainter instead."""
    thick = max(round(width), 1)
    value = round(strength * min(width / thick, 1.0))
    layer = np.zeros_like(mask)
    cv2.polylines(layer, [np.round(line * 16).astype(np.int32)], False, value, thick, cv2.LINE_AA, 4)
    np.maximum(mask, layer, out=mask)
