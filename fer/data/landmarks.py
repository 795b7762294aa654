"""Landmarks as something to learn: points of files in, points in the places of a picture's stored pixels out.

Places are x, y in [-1, 1], from the left and upper edge of the square to its right and lower edge, as `torch.nn.functional.grid_sample`
counts them; NaN where a picture has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.data.cache import Pixels
from fer.data.faces import N_LANDMARKS, Box, How, read_landmarks, stored_size, view_box

Points = npt.NDArray[np.floating]


def _mirrored() -> list[int]:
    pairs = [(k, 16 - k) for k in range(8)] + [(k, 43 - k) for k in range(17, 22)] + [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    order = list(range(N_LANDMARKS))
    for left, right in pairs:
        order[left], order[right] = right, left
    return order


MIRRORED = _mirrored()
"""Which point of a face each point of its mirror image is."""


def in_square(points: Points, box: Box, how: How, image_size: int) -> Points:
    """Points [68, 2] in pixels of a picture to their places in what `fer.data.faces.face_pixels` stores of it.

    Args:
        points: x, y in pixels of the upright picture.
        box, how: the face and where it came from, as `face_pixels` gives them.
        image_size: side of the network's input in pixels.
    """
    square = view_box(box, how, stored_size(image_size) / image_size)
    return np.asarray((points - [square.x, square.y]) * (2 / square.w) - 1)


def stored_landmarks(table: pd.DataFrame, pixels: Pixels, image_size: int) -> npt.NDArray[np.float32]:
    """[n, 68, 2]: the places of the landmarks of every row, NaN where it has none in the layout of CK+.

    Args:
        table: rows of `fer.data.prepare.Prepared.table`.
    """
    found = np.full((len(table), N_LANDMARKS, 2), np.nan, np.float32)
    if "landmarks" not in table:
        return found
    for place, (file, row) in enumerate(zip(table["landmarks"], table["pixel"], strict=True)):
        points = None if pd.isna(file) else read_landmarks(Path(file))
        if points is not None and points.shape == (N_LANDMARKS, 2):
            found[place] = in_square(
                points, Box(*pixels.boxes[row].tolist()), cast(How, str(pixels.how[row])), image_size
            )
    return found
