"""A picture in, the square of pixels around its face out: one rule for training, evaluation, prediction and serving.

A box, whatever its source, follows the convention of the detector: brows at about a quarter of its height, chin a
little below its lower edge. The evaluation view is a square around it that holds forehead and chin. What is stored is
larger than that view by `STORED_OVER_INPUT`, so that augmentation (shift, small rotation, zoom) moves real pixels in.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from fer.data.images import OF_THE_MACHINE, BadImage, Pixels8, luminance
from fer.data.small_text import read_small

PIXELS_VERSION = 1
"""Raise it whenever the pixels of any picture would change: caches of older versions are then no longer read."""

STORED_OVER_INPUT = 8 / 7

VIEW_OVER_BOX = 1.3
VIEW_BELOW_BOX = 0.1
"""Side of the evaluation view, and how far its centre lies below that of the box, in box sides.

The view spans -0.05 to 1.25 of the box's height. On 852 rendered frames with 68 landmarks, measured in detector boxes,
the highest brow was at 0.15 and the chin at 1.07 (median), 1.16 (95%), 1.26 (99%, jaws dropped wide).
"""

BOX_OVER_FACE_WIDTH = 1.23
BOX_BELOW_EYES = 0.08
"""A detector box from landmarks: its side over the width of their hull, and its centre below the eyes in box sides.

Measured on the same 852 frames (all found by the detector): detector side / (1.23 hull width) has mean 1.00, standard
deviation .05, 95% within 0.91-1.12; the centres differ by .01 (sd .01) across and .00 (sd .016) down. Width and eyes
because expressions hardly move them: within a sequence this side varies by 0.2%, one from the hull's height by 4.5%
(the jaw drops), the detector's own by 1.9%.
"""

DETECTOR_PIXELS = 500_000
"""Larger pictures are shrunk to this area before detection.

It bounds the time, and a sixth of the short side stays far above the 20 pixels that the cascade needs.
"""

SMALLEST_FACE = 1 / 6
"""Side of the smallest face that training looks for, over the picture's short side."""

MOST_OF_PICTURE = 100
"""Side of the largest box that can be one, over the picture's longer side."""

LANDMARKS_INSIDE = 0.8
"""The share of the points that lie in the picture, at least; those of a picture twice as large lie outside for the most part."""

N_LANDMARKS = 68
EYES = slice(36, 48)

How = Literal["landmarks", "box", "detector", "whole"]
Crop = Literal["face", "full"]

_local = threading.local()


class Box(NamedTuple):
    """A rectangle in pixels of the upright picture: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float


def stored_size(image_size: int) -> int:
    """Side in pixels of what is stored for a network input of `image_size`: 256 for 224.

    The evaluation view is the centre of that, from pixel (S - image_size) // 2 on.
    """
    return round(image_size * STORED_OVER_INPUT)


def find_faces(image: Pixels8, smallest: float = SMALLEST_FACE) -> list[Box]:
    """All frontal faces that the detector sees, the largest first.

    OpenCV's Haar cascade `frontalface_alt2` (Viola & Jones, 2001) on the equalised brightness.

    Args:
        image: [H, W] or [H, W, 3] uint8.
        smallest: Side of the smallest face over the picture's short side.
    """
    grey = luminance(image) if image.ndim == 3 else image
    scale = min(1.0, math.sqrt(DETECTOR_PIXELS / grey.size))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    side = int(min(grey.shape) * smallest)
    found = _detector().detectMultiScale(cv2.equalizeHist(grey), scaleFactor=1.05, minNeighbors=3, minSize=(side, side))
    boxes = [Box(*(float(v) / scale for v in rectangle)) for rectangle in found]
    return sorted(boxes, key=lambda box: (-box.w * box.h, box.y, box.x))


def face_box(
    image: Pixels8, landmarks: npt.NDArray[np.floating] | None = None, box: Box | None = None
) -> tuple[Box, How]:
    """The box of the main face and where it came from.

    From landmarks, else the given box, else the detector, else the whole picture.

    Landmarks in another layout than the 68 points, or of another size of the picture, and boxes whose centre is outside of it count as
    not given.

    Args:
        image: [H, W] or [H, W, 3] uint8.
        landmarks: [68, 2] x, y in pixels, in the order of CK+ (jaw 0-16, brows, nose, eyes 36-47, mouth).
        box: A face box in pixels, as face detectors draw it.
    """
    if landmarks is not None and landmarks.shape == (N_LANDMARKS, 2):
        from_landmarks = _landmark_box(landmarks)
        height, width = image.shape[:2]
        inside = ((landmarks >= 0) & (landmarks <= [width, height])).all(axis=1).mean()
        if inside >= LANDMARKS_INSIDE and _usable(from_landmarks, image):
            return from_landmarks, "landmarks"
    if box is not None and _usable(box, image):
        return box, "box"
    for found in find_faces(image)[:1]:
        return found, "detector"
    return _whole(image), "whole"


def view_box(box: Box, how: How, margin: float = 1.0) -> Box:
    """The square of a picture that the network sees; it may reach beyond the picture.

    Args:
        box, how: as `face_box` gives them: of a face, or of the whole picture.
        margin: side of the square over that of the view.
    """
    side = max(box.w, box.h)
    x, y = box.x + box.w / 2, box.y + box.h / 2
    if how == "whole":
        side *= margin
    else:
        y += VIEW_BELOW_BOX * side
        side *= VIEW_OVER_BOX * margin
    return Box(x - side / 2, y - side / 2, side, side)


def cut_out(image: Pixels8, square: Box, size: int) -> Pixels8:
    """A square of a picture as [size, size, C]; what is outside of the picture repeats its edge: a flat grey would draw a line.

    Only what lies in the picture is resized, then padded: a square far larger than the picture costs nothing.

    Args:
        image: [H, W] or [H, W, C] uint8.
        square: its centre lies in the picture.
        size: side of the result in pixels.
    """
    left, right, first_x, last_x = _span(square.x, square.w, image.shape[1], size)
    top, bottom, first_y, last_y = _span(square.y, square.h, image.shape[0], size)
    method = cv2.INTER_AREA if square.w > size else cv2.INTER_LINEAR
    part = cv2.resize(image[top:bottom, left:right], (last_x - first_x, last_y - first_y), interpolation=method)
    part = part[max(0, -first_y) : size - first_y, max(0, -first_x) : size - first_x]
    above, before = max(0, first_y), max(0, first_x)
    below, after = size - above - part.shape[0], size - before - part.shape[1]
    padded = cv2.copyMakeBorder(part, above, below, before, after, cv2.BORDER_REPLICATE)
    return np.asarray(padded, dtype=np.uint8).reshape(size, size, -1)


def face_pixels(
    image: Pixels8,
    image_size: int,
    crop: Crop,
    color: bool,
    landmarks: npt.NDArray[np.floating] | None = None,
    box: Box | None = None,
) -> tuple[Pixels8, Box, How]:
    """From a decoded picture to what is stored for it.

    Outside of training a network sees the evaluation view of that, its centre of `image_size` pixels.

    Args:
        image: [H, W, 3] uint8 RGB, upright.
        image_size: Side of the network's input in pixels.
        crop: `face`, or `full` for the entire picture (also taken where no face is found).
        color: Keep three channels; else one channel of brightness.
        landmarks: See `face_box`.
        box: See `face_box`.

    Returns:
        [S, S, 3 or 1] uint8 with S = `stored_size(image_size)`, the box, and where the box came from.
    """
    grey = luminance(image)
    pixels = image if color else grey
    size = stored_size(image_size)
    face, how = face_box(grey, landmarks, box) if crop == "face" else (_whole(image), "whole")
    return cut_out(pixels, view_box(face, how, size / image_size), size), face, how


def view_of(stored: Pixels8, image_size: int) -> Pixels8:
    """What a network sees of stored pixels [..., S, S, C] outside of training: their centre [..., image_size, image_size, C]."""
    start = (stored.shape[-2] - image_size) // 2
    return stored[..., start : start + image_size, start : start + image_size, :]


def read_landmarks(path: Path) -> npt.NDArray[np.float64] | None:
    """[n, 2] points from a file of `x y` lines (blank ones allowed), or None where it is missing, damaged or far too long.

    Raises:
        BadImage: the machine could not read it now: the face must not be cut in another way for that.
    """
    try:
        rows = [line.split() for line in read_small(path).splitlines() if line.strip()]
        points = np.array(rows, dtype=np.float64)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            raise BadImage(f"{path}: {error.strerror}", passing=True) from error
        return None
    return points if points.ndim == 2 and points.shape[1] == 2 and np.isfinite(points).all() else None


def _landmark_box(landmarks: npt.NDArray[np.floating]) -> Box:
    side = BOX_OVER_FACE_WIDTH * float(np.ptp(landmarks[:, 0]))
    x, y = landmarks[EYES].mean(axis=0).tolist()
    return Box(x - side / 2, y + (BOX_BELOW_EYES - 0.5) * side, side, side)


def _whole(image: Pixels8) -> Box:
    return Box(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))


def _usable(box: Box, image: Pixels8) -> bool:
    height, width = image.shape[:2]
    inside = 0 <= box.x + box.w / 2 <= width and 0 <= box.y + box.h / 2 <= height
    side = max(box.w, box.h)
    return (
        all(map(math.isfinite, box))
        and min(box.w, box.h) >= 1
        and side <= MOST_OF_PICTURE * max(image.shape)
        and inside
    )


def _detector() -> cv2.CascadeClassifier:
    # One per thread: the classifier keeps scratch buffers and is not safe to share.
    if not hasattr(_local, "detector"):
        cascades = Path(cv2.__file__).parent / "data"
        _local.detector = cv2.CascadeClassifier(str(cascades / "haarcascade_frontalface_alt2.xml"))
    return _local.detector  # type: ignore[no-any-return]


def _span(low: float, side: float, length: int, size: int) -> tuple[int, int, int, int]:
    """Along one axis: the source pixels [start, stop) to take, and the target pixels [first, last) that they fill."""
    scale = size / side
    start = min(max(math.floor(low), 0), length - 1)
    stop = max(min(math.ceil(low + side), length), start + 1)
    first = round((start - low) * scale)
    return start, stop, first, max(first + 1, round((stop - low) * scale))
