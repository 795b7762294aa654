"""Where FACS says that an action unit shows: 68 landmarks in, the pixels of its region in the face view out. Never imports torch."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fer.data.faces import EYES, Box, How, view_box
from fer.use.explaining.mean_face import MEAN_FACE

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

AU_REGIONS: dict[int, tuple[str, ...]] = {
    1: ("brows",),
    2: ("brows",),
    4: ("brows",),
    5: ("eyes",),
    6: ("eyes", "cheeks"),
    7: ("eyes",),
    9: ("nose", "upper lip"),
    10: ("nose", "upper lip", "mouth"),
    11: ("nose", "upper lip"),
    12: ("mouth", "upper lip"),
    13: ("mouth", "upper lip"),
    14: ("mouth",),
    15: ("mouth", "chin"),
    16: ("mouth", "chin"),
    17: ("mouth", "chin"),
    18: ("mouth",),
    20: ("mouth", "chin"),
    22: ("mouth",),
    23: ("mouth",),
    24: ("mouth",),
    25: ("mouth",),
    26: ("mouth", "chin"),
    27: ("mouth", "chin"),
    28: ("mouth",),
    38: ("nose",),
    39: ("nose",),
    43: ("eyes",),
    45: ("eyes",),
}
"""AU -> the parts of the face that its appearance changes are described for (Ekman, Friesen & Hager, 2002: Facial Action Coding System).

Coarse on purpose: a unit's bulges and furrows reach beyond its muscle. Units that are not here (neck, tongue, sideways) have no region.
"""


def au_mask(au: int, landmarks: Points, size: int) -> Mask | None:
    """The region of a unit, [size, size], from landmarks [68, 2] in pixels of the view; None if FACS places it nowhere here."""
    if au not in AU_REGIONS:
        return None
    mask = np.zeros((size, size), np.uint8)
    for region in AU_REGIONS[au]:
        for polygon in _polygons(region, landmarks):
            cv2.fillConvexPoly(mask, cv2.convexHull(polygon.astype(np.float32)).round().astype(np.int32), 1)
    return mask.astype(bool)


def view_landmarks(box: Box, how: How, size: int, landmarks: Points | None = None) -> Points | None:
    """The 68 points in pixels of the evaluation view; without landmarks those of a mean face in the box.

    Args:
        box: the face in pixels of the picture; of `whole` the picture itself.
        how: where the box came from; without landmarks nothing is known of `whole`: then None.
        size: side of the view in pixels.
        landmarks: [68, 2] in pixels of the picture; another layout counts as not given.
    """
    points = landmarks if landmarks is not None and landmarks.shape == MEAN_FACE.shape else None
    if points is None and how == "whole":
        return None
    if points is None:
        points = np.array([box.x + box.w / 2, box.y + box.h / 2]) + (MEAN_FACE - 0.5) * max(box.w, box.h)
    view = view_box(box, how)
    moved: Points = (points - [view.x, view.y]) * (size / view.w)
    return moved


def _polygons(region: str, points: Points) -> list[Points]:
    """The hulls that make up a part of the face; lengths are in distances between the eyes, directions turn with the head."""
    left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    across = right - left
    down = np.array([-across[1], across[0]])
    if region == "brows":  # up to half of the forehead, and the glabella down to the root of the nose
        brows = np.vstack([points[17:27], points[27:28]])
        return [np.vstack([brows - 0.5 * down, brows + 0.1 * down])]
    if region == "eyes":
        return [_wider(points[EYES][k : k + 6], 0.12, across, down) for k in (0, 6)]
    if region == "cheeks":  # from the lower lid to the wing of the nose
        return [
            np.vstack([points[[36, 41, 40, 39]] + 0.05 * down, points[[31, 2, 1]]]),
            np.vstack([points[[45, 46, 47, 42]] + 0.05 * down, points[[35, 14, 15]]]),
        ]
    if region == "nose":
        return [_wider(np.vstack([points[27:36], points[[39, 42]]]), 0.1, across, down)]
    if region == "upper lip":  # with the furrows from the nose to the corners of the mouth
        return [_wider(points[[31, 33, 35, 48, 50, 52, 54]], 0.15, across, down)]
    if region == "mouth":
        return [_wider(points[48:60], 0.2, across, down)]
    return [np.vstack([points[[48, 54, 57]], points[5:12]])]  # chin


def _wider(points: Points, by: float, across: Points, down: Points) -> Points:
    """The points, and each moved to all four sides."""
    return np.vstack([points + sign * by * axis for sign in (-1, 1) for axis in (across, down)])
