"""Intervals: in, who is on each picture; out, the weights of resampled people, and percentiles over the draws.

People, not pictures, are resampled: pictures of one person are alike, and intervals over pictures would be too narrow.
"""

import numpy as np
import pandas as pd

from fer.results.measures import Weights
from fer.results.predictions import FloatArray


def resample_subjects(subjects: pd.Series, n_boot: int, seed: int) -> Weights:
    """`n_boot` draws of all subjects with replacement.

    Depends on who is there and on the seed, not on the order of the rows.
    """
    codes, people = pd.factorize(subjects.astype("str"), sort=True, use_na_sentinel=False)
    n_people = len(people)
    drawn = np.random.default_rng(seed).multinomial(n_people, np.full(n_people, 1 / n_people), size=n_boot)
    return Weights(codes, np.ascontiguousarray(drawn.T, dtype=np.float64))


def interval(draws: FloatArray, n_subjects: int) -> list[float] | None:
    """The 95 % percentile interval [low, high] over the draws in which the score is defined (Efron, 1979).

    None with fewer than two subjects: one person says nothing about other people.
    """
    defined = draws[~np.isnan(draws)]
    if n_subjects < 2 or defined.size == 0:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return [float(low), float(high)]
