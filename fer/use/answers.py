"""Probabilities with names: what a model says of one face. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer.data.faces import Box, How
from fer.results.presence import is_present
from fer.use.facts import Facts

Probabilities = npt.NDArray[np.float32]


class Answers(NamedTuple):
    """Calibrated probabilities of a batch of faces; a head that the model lacks has no columns.

    Letters in shapes: N faces, A action units, E emotions.
    """

    au_prob: Probabilities
    """[N, A], each unit for itself."""
    emotion_prob: Probabilities
    """[N, E], rows sum to 1."""


@dataclass(frozen=True)
class Face:
    """What the model says of one face.

    Attributes:
        box: x, y, w, h in pixels of the upright picture.
        how: where the box came from: `detector`, `box` or `landmarks` (given), or `whole`: the answers are about the whole picture.
        au_prob: AU (`AU12`) -> probability that it is active.
        au_active: AU -> whether it counts as active, by the threshold stored with the model.
        emotion: the most probable one; None if the model has no emotion head.
        emotion_prob: emotion -> probability.
        missed: whether a face was looked for and none found.
    """

    box: Box
    how: How
    au_prob: dict[str, float]
    au_active: dict[str, bool]
    emotion: str | None
    emotion_prob: dict[str, float]
    missed: bool = False

    @property
    def active_aus(self) -> list[str]:
        """The active units in FACS order, as `AU12`."""
        return [au for au, active in self.au_active.items() if active]


def name_answers(facts: Facts, boxes: list[tuple[Box, How]], answers: Answers) -> Iterator[Face]:
    """One `Face` per row of `answers`: decisions by the stored thresholds, the emotion by the largest probability."""
    thresholds = [facts.thresholds[au] for au in facts.aus]
    for (box, how), au_row, emotion_row in zip(boxes, answers.au_prob, answers.emotion_prob, strict=True):
        yield Face(
            box=box,
            how=how,
            au_prob=dict(zip(facts.aus, au_row.tolist(), strict=True)),
            au_active=dict(zip(facts.aus, is_present(au_row, thresholds).tolist(), strict=True)),
            emotion=facts.emotions[int(emotion_row.argmax())] if facts.emotions else None,
            emotion_prob=dict(zip(facts.emotions, emotion_row.tolist(), strict=True)),
            missed=how == "whole" and facts.crop == "face",
        )
