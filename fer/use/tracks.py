"""Who is who from frame to frame, and probabilities averaged over time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from fer.data.faces import Box, How
from fer.use.answers import Answers, Probabilities

SAME_FACE = 0.3
"""Overlap (intersection over union) from which a box goes on a face of an earlier frame."""

FORGOTTEN_S = 1.0
"""A face that was not seen for this long, nor in the frame before, is a new one when it comes back."""


@dataclass
class _Track:
    number: int
    box: Box
    seen: float
    au: Probabilities
    emotion: Probabilities


class Tracks:
    """The faces of a video so far.

    Args:
        smoothing: time constant in seconds of an exponential average of each face's probabilities; 0 leaves them as they are.
        whole: whether the model looks at whole pictures: these are then followed as one face.
    """

    def __init__(self, smoothing: float, whole: bool = False) -> None:
        self.smoothing, self.whole = smoothing, whole
        self._tracks: list[_Track] = []
        self._next = 0
        self._last = -math.inf

    def follow(self, boxes: list[tuple[Box, How]], answers: Answers, time: float) -> tuple[list[int | None], Answers]:
        """Takes the faces of the next frame.

        Args:
            boxes: of this frame; a whole picture is no face, unless all are.
            answers: a row per box.
            time: of the frame, seconds.

        Returns:
            A number per box that stays with a face (None for a whole picture), and the averaged answers.
        """
        # files that were joined from several jump back in time; frames may be further apart than anybody is remembered
        oldest = min(self._last, time - FORGOTTEN_S)
        self._tracks = [track for track in self._tracks if oldest <= track.seen <= time]
        self._last = time
        faces = [k for k, (_, how) in enumerate(boxes) if how != "whole" or self.whole]
        known = dict(self._match([boxes[k][0] for k in faces]))
        numbers: list[int | None] = [None] * len(boxes)
        au, emotion = answers.au_prob.copy(), answers.emotion_prob.copy()
        for place, k in enumerate(faces):
            track = known.get(place)
            if track is None:
                track = _Track(self._next, boxes[k][0], time, au[k], emotion[k])
                self._tracks.append(track)
                self._next += 1
            else:
                share = self._share_of_new(time - track.seen)
                track.au = au[k] = track.au + share * (au[k] - track.au)
                track.emotion = emotion[k] = track.emotion + share * (emotion[k] - track.emotion)
                track.box, track.seen = boxes[k][0], time
            numbers[k] = track.number
        return numbers, Answers(au, emotion)

    def _share_of_new(self, seconds: float) -> float:
        return 1 - math.exp(-seconds / self.smoothing) if self.smoothing else 1.0

    def _match(self, boxes: list[Box]) -> list[tuple[int, _Track]]:
        """(place in `boxes`, track) for the pairs of largest overlap in all."""
        if not boxes or not self._tracks:
            return []
        overlaps = np.array([[overlap(box, track.box) for track in self._tracks] for box in boxes])
        pairs: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] = linear_sum_assignment(overlaps, maximize=True)
        return [(int(k), self._tracks[t]) for k, t in zip(*pairs, strict=True) if overlaps[k, t] >= SAME_FACE]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(0.0, width) * max(0.0, height)
    return shared / (a.w * a.h + b.w * b.h - shared)
