"""Intervals: in, who is on each picture; out, the weights of resampled people, and intervals by the draws.

People, not pictures, are resampled: pictures of one person are alike, and intervals over pictures would be too narrow.
"""

import numpy as np
import pandas as pd
from scipy import stats

from fer.results.measures import LabelMean, Weights
from fer.results.predictions import FloatArray


def resample_subjects(subjects: pd.Series, n_boot: int, seed: int) -> Weights:
    """`n_boot` draws of all subjects with replacement.

    Depends on who is there and on the seed, not on the order of the rows.
    """
    codes, people = pd.factorize(subjects.astype("str"), sort=True, use_na_sentinel=False)
    n_people = len(people)
    drawn = np.random.default_rng(seed).multinomial(n_people, np.full(n_people, 1 / n_people), size=n_boot)
    return Weights(codes, np.ascontiguousarray(drawn.T, dtype=np.float64))


def interval(draws: FloatArray, n_subjects: float, point: float, *, share: bool = True) -> list[float] | None:
    """The 95 % interval [low, high] of a score: the point without its bias, and as far as Student's t takes the spread of the draws.

    Percentiles of the draws are no intervals of an average precision: a person drawn twice brings ties to the top of the ranking, so
    that all draws are too good; the point itself is so by about as much. Bias and spread are those of the draws, whose variance is too
    small by the factor (n - 1) / n (Efron & Tibshirani, An introduction to the bootstrap, 1993, chapters 6 and 10), on the scale on
    which shares spread alike everywhere, the arcsine of the square root. Where all of n people do alike, the ends are where those who
    would not had a probability of 2.5 %.

    None with fewer than two subjects: one person says nothing about other people.

    Args:
        draws: those in which the score is not defined (nan) don't count.
        n_subjects: people behind the score.
        point: the score, with every person once.
        share: it is one, from 0 to 1; else any number.
    """
    wider = np.sqrt(n_subjects / (n_subjects - 1)) if n_subjects > 1 else 1.0
    return _interval(draws, n_subjects, point, share, wider, 0.0)


def mean_interval(mean: LabelMean, n_subjects: float, point: float) -> list[float] | None:
    """`interval` of a mean over labels, which is a share; no surer than `n_subjects` people make it."""
    return _interval(mean.draws, min(n_subjects, mean.n_behind), point, True, 1.0, mean.unseen)


def _interval(
    draws: FloatArray, n_subjects: float, point: float, share: bool, wider: float, unseen: float
) -> list[float] | None:
    defined = draws[~np.isnan(draws)]
    if n_subjects < 2 or defined.size == 0 or np.isnan(point):
        return None
    if share and np.ptp(defined) < 1e-9 and not unseen:
        others = 1 - 0.025 ** (1 / n_subjects)
        return [point * (1 - others), point * (1 - others) + others]
    on_scale = _arcsine if share else np.asarray
    at, seen = on_scale(point), on_scale(defined)
    centre = 2 * at - seen.mean()
    beyond = np.abs(on_scale(point + np.sqrt(unseen) * np.array([-1, 1])) - at).max()
    reach = stats.t.ppf(0.975, n_subjects - 1) * np.hypot(wider * seen.std(), beyond)
    ends = np.array([centre - reach, centre + reach])
    found: list[float] = (np.sin(np.clip(ends, 0, np.pi / 2)) ** 2 if share else ends).tolist()
    return found


def _arcsine(shares: float | FloatArray) -> FloatArray:
    scaled: FloatArray = np.arcsin(np.sqrt(np.clip(shares, 0, 1)))
    return scaled
