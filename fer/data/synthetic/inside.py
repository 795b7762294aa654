"""What shows through the openings of the face: eyeballs and the inside of the mouth.

In: a linear picture, the head, the edges of the openings in pixels. Out: the picture with the openings painted; the skin is
drawn over it afterwards, so nothing here has to know what hides what.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.data.synthetic.expression import JAW_HINGE_Z, JAW_TURN, NAMES, Drivers
from fer.data.synthetic.face import EYE_INNER, EYE_OUTER, EYE_Y, LIP_CORNER, LIP_Y, Array, ramp
from fer.data.synthetic.head import Head, cut_edges
from fer.data.synthetic.view import View

_IRIS = 6.1
_TEETH_Z = 86.0
_ENAMEL, _GUM = np.array([0.62, 0.56, 0.48], dtype=np.float32), np.array([0.3, 0.11, 0.1], dtype=np.float32)


def paint_eyes(canvas: Array, openings: NDArray[np.uint8], head: Head, points: Array, view: View) -> None:
    """Paints both eyeballs into the picture, [H, W, n], and marks where in `openings`, [H, W]."""
    for index, side in enumerate((-1, 1)):
        corner = (side * EYE_OUTER, side * EYE_INNER) if side < 0 else (EYE_INNER, EYE_OUTER)
        edges = [view.project(edge)[:, :2] for edge in cut_edges(points, head.detail, corner, EYE_Y)]
        window = _opening(edges, canvas.shape[:2], margin=2)
        if window is not None:
            xs, ys = _pixels(window)
            shadow = _below(edges[0], xs, ys) / view.scale
            color = _eyeball(head, index, view, xs, ys) * (0.45 + 0.55 * ramp(shadow, -0.2, 3.2))[..., None]
            _fill(canvas, openings, edges, window, color)


def _eyeball(head: Head, index: int, view: View, xs: Array, ys: Array) -> Array:
    """Colour of one eyeball over a window of pixels, [h, w, 3]."""
    center = head.eyes[index, :3]
    middle = view.project(center[None])[0]
    radius = float(head.eyes[index, 3])
    dx, dy = (xs - middle[0]) / view.scale, (middle[1] - ys) / view.scale
    normal = np.stack([dx, dy, np.sqrt(np.clip(radius**2 - dx**2 - dy**2, 1.0, None))], -1) / radius
    right, up = view.gaze
    right -= 0.035 * (1 if index else -1)  # both eyes look at the camera, not past it
    forward = np.array([np.sin(right), np.sin(up) - 0.02, 1.0])
    forward = view.rotation() @ (forward / np.linalg.norm(forward)).astype(np.float32)
    off_axis = radius * np.sqrt(np.clip(1 - (normal @ forward) ** 2, 0, 1)) / _IRIS
    color = (
        _sclera(head, normal) * (1 - ramp(off_axis, 1.08, 0.96))[..., None]
        + _iris(head, off_axis) * ramp(off_axis, 1.08, 0.96)[..., None]
    )
    key = np.asarray(view.light, dtype=np.float32)
    light = view.ambient + (view.key * np.clip(normal @ key, 0, 1) + view.fill * normal[..., 2]) * 0.9
    glint = _glint(dx, dy, key, radius * 0.55)
    lit: Array = color * light[..., None] + 0.9 * glint[..., None]
    return lit


def _sclera(head: Head, normal: Array) -> Array:
    tone = 0.62 - 0.12 * head.identity.age
    edge = 1 - 0.35 * np.clip(np.abs(normal[..., 0]) * 1.5 - 0.45, 0, 1)
    white: Array = tone * edge[..., None] * np.array([1.0, 0.93, 0.9], dtype=np.float32)
    return white


def _iris(head: Head, off_axis: Array) -> Array:
    light = head.identity.iris
    dark, bright = np.array([0.04, 0.022, 0.012]), np.array([0.22, 0.3, 0.36])
    ring = (0.7 + 0.5 * ramp(off_axis, 0.95, 0.6)) * ramp(off_axis, 0.34, 0.42)
    pupil = 0.004
    stain: Array = (dark + light * (bright - dark)) * ring[..., None] + pupil
    return stain


def _glint(dx: Array, dy: Array, key: Array, reach: float) -> Array:
    """The mirror image of the main light on the cornea."""
    half = key + np.array([0, 0, 1], dtype=np.float32)
    half = half / np.linalg.norm(half)
    spot: Array = np.exp(-((dx - half[0] * reach) ** 2 + (dy - half[1] * reach) ** 2) / 0.9)
    return spot


def paint_mouth(
    canvas: Array, openings: NDArray[np.uint8], head: Head, points: Array, view: View, moves: Drivers
) -> None:
    """Paints teeth, tongue and the dark of the mouth into the picture, [H, W, n], and marks where in `openings`, [H, W]."""
    corner = (-LIP_CORNER, LIP_CORNER)
    edges3 = cut_edges(points, head.detail, corner, LIP_Y)
    edges = [view.project(edge)[:, :2] for edge in edges3]
    window = _opening(edges, canvas.shape[:2], margin=2)
    if window is None:
        return
    xs, ys = _pixels(window)
    jaw = float(moves.weights[NAMES.index("jaw")].mean())
    rest = cut_edges(head.rest, head.detail, corner, LIP_Y)[0]
    mouth = np.array([rest[12, 0], rest[:, 1].mean(), rest[12, 2] - 7.0], dtype=np.float32)
    x, y = _on_plane(xs, ys, mouth, view)
    color = _cavity(x, y, JAW_TURN * (_TEETH_Z - JAW_HINGE_Z) * jaw)
    light = view.ambient * 0.75 + view.key * 0.55 * max(view.light[2], 0) + view.fill * 0.6
    shade = 0.3 + 0.7 * ramp(_below(edges[0], xs, ys) / view.scale, -0.5, 3.5)
    _fill(canvas, openings, edges, window, color * (light * shade)[..., None])


def _on_plane(xs: Array, ys: Array, origin: Array, view: View) -> tuple[Array, Array]:
    """Pixels as millimetres right of and above `origin`, in the plane of the front teeth."""
    frame = np.stack([origin, origin + np.array([10, 0, 0]), origin + np.array([0, 10, 0])]).astype(np.float32)
    at = view.project(frame)[:, :2]
    solve = np.linalg.inv(np.stack([at[1] - at[0], at[2] - at[0]], 1)) * 10.0
    dx, dy = xs - at[0, 0], ys - at[0, 1]
    return solve[0, 0] * dx + solve[0, 1] * dy, solve[1, 0] * dx + solve[1, 1] * dy


def _cavity(x: Array, y: Array, drop: float) -> Array:
    """Colour of the inside of the mouth, millimetres from the middle of the closed lips; the lower jaw hangs `drop` lower."""
    dark = np.array([0.028, 0.01, 0.009], dtype=np.float32)
    color = np.broadcast_to(dark, (*x.shape, 3)).copy()
    tongue = ramp((x / 17) ** 2 + ((y + drop * 0.95 + 5.0) / (4.0 + 0.22 * drop)) ** 2, 1.0, 0.45) * np.clip(
        drop / 12, 0, 1
    )
    color += tongue[..., None] * (np.array([0.2, 0.06, 0.05], dtype=np.float32) - dark)
    _add_teeth(color, x, y + 3.6 - 0.007 * x**2, width=8.4, height=9.5)
    _add_teeth(color, x, -(y + 4.4 + drop + 0.004 * x**2), width=5.6, height=8.0)
    return color


def _add_teeth(color: Array, x: Array, above: Array, width: float, height: float) -> None:
    """Paints a row of teeth; `above` is the distance (mm) from their edge towards the gum."""
    arch = np.clip(1.0 - (np.abs(x) / 27.0) ** 2.5, 0, 1)
    seam = np.abs((x + width / 2) % width - width / 2)
    cover = ramp(above, -0.5, 0.5) * (0.3 + 0.7 * arch) * (1.0 - 0.35 * np.exp(-((seam / 0.5) ** 2)))
    lit = np.where((above > height)[..., None], _GUM, _ENAMEL) * (0.35 + 0.65 * arch)[..., None]
    color += cover[..., None] * (lit - color)


def _opening(edges: list[Array], size: tuple[int, ...], margin: int) -> tuple[slice, slice] | None:
    """Window of pixels round an opening, or None where it is outside the picture."""
    both = np.concatenate(edges)
    low = np.maximum(np.floor(both.min(0)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(both.max(0)).astype(int) + margin + 1, [size[1], size[0]])
    if (high <= low).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def _pixels(window: tuple[slice, slice]) -> tuple[Array, Array]:
    ys, xs = np.mgrid[window].astype(np.float32)
    return xs, ys


def _below(edge: Array, xs: Array, ys: Array) -> Array:
    """How far below an edge each pixel lies, in pixels."""
    below: Array = ys - np.interp(xs, edge[:, 0], edge[:, 1]).astype(np.float32)
    return below


def _fill(
    canvas: Array, openings: NDArray[np.uint8], edges: list[Array], window: tuple[slice, slice], color: Array
) -> None:
    """Puts `color` where the opening is, a pixel wider than it, so that no gap shows beside the skin."""
    outline = np.concatenate([edges[0], edges[1][::-1]]) - [window[1].start, window[0].start]
    mask: NDArray[np.uint8] = np.zeros(color.shape[:2], dtype=np.uint8)
    fixed = [np.round(outline * 16).astype(np.int32)]
    cv2.fillPoly(mask, fixed, 1, shift=4)
    cv2.polylines(mask, fixed, True, 1, thickness=3, shift=4)
    part = canvas[window]
    shown = color if canvas.shape[2] == 3 else (color @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32))
    part[mask > 0] = shown[mask > 0]
    openings[window] |= mask
