"""Intervals: in, who is on each picture; out, draws of every score over resampled people, and their percentiles.

People, not pictures, are resampled: pictures of one person are alike, and intervals over pictures would be too narrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.results.measures import Measures, measure
from fer.results.predictions import Answers, FloatArray

_CELLS_PER_BLOCK = 2_000_000
"""Draws are worked through in blocks, so that one array stays at 16 MB however many images there are."""


@dataclass(frozen=True)
class Resampling:
    """`n_boot` draws of all subjects with replacement."""

    codes: npt.NDArray[np.intp]
    """(images,): the subject of each image."""
    counts: FloatArray
    """(subjects, draws): how often a draw holds each subject."""

    def blocks(self, n_labels: int) -> Iterator[FloatArray]:
        """Image weights, (images, some draws) at a time, all draws in all."""
        n_draws = self.counts.shape[1]
        step = max(1, _CELLS_PER_BLOCK // (len(self.codes) * n_labels))
        for start in range(0, n_draws, step):
            yield self.counts[self.codes, start : start + step]


def resample_subjects(subjects: pd.Series, n_boot: int, seed: int) -> Resampling:
    """Draws subjects with replacement. Depends on who is there and the seed, not on the order of the rows."""
    codes, people = pd.factorize(subjects.astype("str"), sort=True, use_na_sentinel=False)
    n_people = len(people)
    drawn = np.random.default_rng(seed).multinomial(n_people, np.full(n_people, 1 / n_people), size=n_boot)
    return Resampling(codes, np.ascontiguousarray(drawn.T, dtype=np.float64))


def measure_draws(answers: Answers, resampling: Resampling) -> Measures:
    """Every score of one head in every draw."""
    parts = [measure(answers, weights) for weights in resampling.blocks(len(answers.labels))]
    names = parts[0].micro
    return Measures(
        loss=np.concatenate([part.loss for part in parts]),
        accuracy=np.concatenate([part.accuracy for part in parts]),
        micro={name: np.concatenate([part.micro[name] for part in parts]) for name in names},
        macro={name: np.concatenate([part.macro[name] for part in parts]) for name in names},
        per_label={name: np.concatenate([part.per_label[name] for part in parts]) for name in names},
    )


def interval(draws: FloatArray, n_subjects: int) -> list[float] | None:
    """The 95 % percentile interval [low, high] over the draws in which the score is defined (Efron, 1979).

    None with fewer than two subjects: one person says nothing about other people.
    """
    defined = draws[~np.isnan(draws)]
    if n_subjects < 2 or defined.size == 0:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return [float(low), float(high)]
