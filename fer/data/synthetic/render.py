"""Draws one picture of one face.

In: a random generator, AU strengths, optionally a person and a view. Out: a `Drawing`: picture, 68 landmarks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.data.synthetic.expression import Drivers, drivers
from fer.data.synthetic.face import Array, grid
from fer.data.synthetic.head import Head, face_points, landmarks, make_head
from fer.data.synthetic.identity import Identity, sample_identity
from fer.data.synthetic.inside import paint_eyes, paint_mouth
from fer.data.synthetic.raster import splat
from fer.data.synthetic.scenery import (
    BARE,
    COARSE_BELOW,
    backdrop,
    paint_body,
    paint_creases,
    paint_glasses,
    paint_lines,
    paint_mane,
)
from fer.data.synthetic.shading import shade_head
from fer.data.synthetic.texture import GREY
from fer.data.synthetic.view import View, sample_view
from fer.data.synthetic.wrinkles import creases, relief


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture of a face and where the face is."""

    image: NDArray[np.uint8]
    """[H, W] grey or [H, W, 3] RGB."""
    landmarks: Array
    """Pixel x, y of the 68 points in iBUG order, [68, 2]."""


def draw_face(
    rng: np.random.Generator,
    aus: Mapping[int, float],
    identity: Identity | None = None,
    view: View | None = None,
    size: tuple[int, int] = (490, 640),
    color: bool = False,
    imbalance: Mapping[int, float] | None = None,
) -> Drawing:
    """Draws a face that shows `aus`.

    Args:
        rng: Used for what is not given (person, view).
        aus: AU number -> strength, 0 to 1 (A to E are 0.2 to 1); other units are at rest.
        identity: Who is drawn; default: a random person.
        view: Pose, light and camera; default: a random laboratory view of `size`.
        size: Height and width in pixels, used where `view` is not given.
        color: Whether the picture is RGB instead of grey.
        imbalance: AU number -> -1 (only the left half of the picture) to 1 (only the right half).
    """
    person = identity or sample_identity(rng)
    scene = view or sample_view(rng, size)
    head = make_head(person, "small" if scene.scale < COARSE_BELOW else "full")
    return render(head, drivers(aus, imbalance), scene, color)


def render(head: Head, moves: Drivers, view: View, color: bool = False) -> Drawing:
    """Draws a prepared head with settled movements."""
    points = face_points(head, moves)
    projected = view.project(points)
    canvas = backdrop(view, 3 if color else 1)
    paint_mane(canvas, head, view, in_front=False)
    paint_body(canvas, head.identity, view)
    openings = np.zeros(view.size, dtype=np.uint8)
    paint_eyes(canvas, openings, head, points, view)
    paint_mouth(canvas, openings, head, points, view, moves)
    _paint_head(canvas, openings, head, points, projected, moves, view)
    paint_mane(canvas, head, view, in_front=True)
    paint_lines(canvas, head, points, view)
    paint_glasses(canvas, head, points, view)
    marks = landmarks(projected[..., :2], head.detail, head.identity.brow)
    return Drawing(_photograph(canvas, view, head), marks)


def _paint_head(
    canvas: Array, openings: NDArray[np.uint8], head: Head, points: Array, projected: Array, moves: Drivers, view: View
) -> None:
    g = grid(head.detail)
    hits = splat(projected, view.size, skip_rows=(g.eye_row, g.lip_row))
    if hits is None:
        return
    middle = (g.x.shape[1] - 1) / 2
    far_side = np.abs(hits.columns - middle) > 0.62 * middle
    hits.mask[far_side & (openings[hits.window] > 0)] = False  # no looking through an eye at the ear behind it
    folds = relief(head.identity, head.detail, moves) * (head.paint.hair < BARE)
    light = shade_head(points, folds, g, view, head.identity.oil)
    seen = hits.look_up(light, g.x.shape)
    albedo = head.paint.albedo if canvas.shape[2] == 3 else head.paint.grey
    paint = hits.look_up(albedo, g.x.shape).reshape(*hits.mask.shape, -1)
    np.copyto(canvas[hits.window], paint * seen[..., :1] + seen[..., 1:], where=hits.mask[..., None])
    paint_creases(canvas, head, points, view, creases(head.identity, head.detail, moves))


def _photograph(canvas: Array, view: View, head: Head) -> NDArray[np.uint8]:
    """Exposure, lens blur, tone curve, sensor noise, 8 bits."""
    rng = np.random.default_rng(view.seed)
    # a camera opens up for dark skin, though never all the way
    gain = view.exposure * (0.3 / float(GREY @ np.asarray(head.identity.skin))) ** 0.3
    tone = np.sqrt(np.clip(canvas * gain, 0, 1))
    tone = cv2.GaussianBlur(tone, (0, 0), view.blur).reshape(canvas.shape)
    levels = tone * 255 + view.noise * rng.standard_normal(canvas.shape, dtype=np.float32)
    image: NDArray[np.uint8] = np.clip(levels + 0.5, 0, 255).astype(np.uint8)
    return image if canvas.shape[2] == 3 else image[..., 0]
