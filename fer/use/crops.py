"""A picture of any kind in, the pixels of its faces out: the same pixels as in training. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer.data.faces import SMALLEST_FACE, Box, Crop, How, face_pixels, find_faces
from fer.data.images import Pixels8, decode, from_pillow, luminance
from fer.errors import FerError

Picture = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
"""A file, the content of one, a Pillow image, or an array [H, W] or [H, W, 3] of uint8 (RGB)."""

Which = Literal["all", "largest"]

SMALLEST_IN_PICTURES = 0.05
"""Faces of groups: down to this share of the short side. On 51 portraits and 60 rendered frames it found nothing that was no face."""


@dataclass(frozen=True)
class FaceCrop:
    """One face before the network: `pixels` [S, S, C] uint8 as `fer.data.faces.face_pixels` makes them, and its box."""

    pixels: Pixels8
    box: Box
    how: How


def read_picture(picture: Picture) -> Pixels8:
    """Upright RGB pixels, [H, W, 3] uint8.

    Raises:
        FerError: the file is no honest picture (see `fer.data.images.decode`), or the array has another shape or type.
    """
    if isinstance(picture, str):
        return decode(_typed(picture))
    if isinstance(picture, Path):
        return decode(picture)
    if isinstance(picture, bytes):
        return decode(picture)
    if isinstance(picture, Image.Image):
        return from_pillow(picture)
    return _checked_array(picture)


def _typed(name: str) -> Path:
    """A path with the home folder for `~`, unless the name only begins like one."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _checked_array(picture: npt.NDArray[np.uint8]) -> Pixels8:
    if not isinstance(picture, np.ndarray):
        raise FerError(
            f"a picture must be a path, bytes, a Pillow image or a numpy array, not {type(picture).__name__}"
        )
    fits = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    if picture.dtype != np.uint8 or not fits or not picture.size:
        raise FerError(
            f"a picture as an array must be uint8 [height, width] or [height, width, 3] in RGB; "
            f"got {picture.dtype} {list(picture.shape)}"
        )
    return np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2))


def cut_faces(
    image: Pixels8,
    image_size: int,
    crop: Crop,
    color: bool,
    *,
    boxes: Sequence[Box] | None = None,
    which: Which = "all",
    smallest: float | None = None,
    landmarks: npt.NDArray[np.floating] | None = None,
) -> list[FaceCrop]:
    """The faces of a picture, the largest first; the whole picture where none is found.

    The largest face has the pixels that training cuts from the same picture, unless it is smaller than training looks for
    (`SMALLEST_FACE`). A model of whole pictures (`crop=full`) gets those.

    Args:
        image: [H, W, 3] uint8 RGB, upright.
        image_size, crop, color: the model's preprocessing (`Facts`).
        boxes: faces that are known already, in this order; None searches. One whose centre is outside of the picture counts as not given.
        which: every face that is found, or the largest alone.
        smallest: side of the smallest face to look for, over the picture's short side; None: for the largest face as in training, else
            `SMALLEST_IN_PICTURES`.
        landmarks: [68, 2] points of the one face to look at, which come before its box (`fer.data.faces.face_box`).
    """
    if crop == "full":
        return [FaceCrop(*face_pixels(image, image_size, "full", color))]
    if landmarks is not None:
        return [FaceCrop(*face_pixels(image, image_size, crop, color, landmarks, boxes[0] if boxes else None))]
    if boxes is not None:
        return [FaceCrop(*face_pixels(image, image_size, crop, color, box=box)) for box in boxes]
    if smallest is None:
        smallest = SMALLEST_FACE if which == "largest" else SMALLEST_IN_PICTURES
    found = _found(luminance(image), smallest)[: 1 if which == "largest" else None]
    if not found:
        return [FaceCrop(*face_pixels(image, image_size, "full", color))]
    return [FaceCrop(face_pixels(image, image_size, crop, color, box=box)[0], box, "detector") for box in found]


def _found(grey: Pixels8, smallest: float) -> list[Box]:
    """The faces that training would find, then smaller ones; the search for others must not move the box of the main face."""
    found = find_faces(grey)
    if smallest > SMALLEST_FACE:
        return [box for box in found if min(box.w, box.h) >= smallest * min(grey.shape)]
    if smallest == SMALLEST_FACE:
        return found
    return found + [box for box in find_faces(grey, smallest) if not any(_same(box, other) for other in found)]


def _same(a: Box, b: Box) -> bool:
    """Whether the centre of `a` lies in `b`."""
    x, y = a.x + a.w / 2, a.y + a.h / 2
    return b.x <= x <= b.x + b.w and b.y <= y <= b.y + b.h
