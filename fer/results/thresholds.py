"""Decision thresholds: in, validation rows of a predictions table; out, the probability from which each AU is present.

AUs are rare, so .5 is a bad threshold for most. The best one per AU is a noisy estimate when few pictures show the AU: it is shrunk
towards the one that a common rule gives without looking at labels, the threshold of the best expected F1 if the probabilities are right.
"""

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from fer.results.predictions import FloatArray, probabilities_of, targets_of

LOWEST, HIGHEST = 0.02, 0.98
MIN_POSITIVES = 10
"""Positives at which an AU's own best threshold and the expected one weigh the same."""


def choose_thresholds(
    predictions: pd.DataFrame, columns: list[str], *, min_positives: int = MIN_POSITIVES
) -> dict[str, float]:
    """The F1-best threshold of each AU, shrunk on the logit scale towards that of the best expected F1.

    An AU with `n` positives keeps the weight `n / (n + min_positives)` on its own threshold: half at `min_positives`,
    none without positives. Between neighbouring probabilities every threshold gives the same decisions, so the
    candidates are these gaps; of several equally good ones the widest run counts, and its middle is taken.

    Args:
        predictions: validation rows with target and calibrated `_prob` columns; thresholds must not be chosen on test rows.
        columns: the AUs, as target column names.
        min_positives: positives at which both weigh the same.

    Returns:
        A threshold from .02 to .98 per AU; a probability at or above it means present.
    """
    targets = targets_of(predictions, columns)
    scores = probabilities_of(predictions, [f"{name}_prob" for name in columns])
    chosen = {}
    for name, truth, answers in zip(columns, targets.T, scores.T, strict=True):
        n_positive = int((truth == 1).sum())
        expected = _expected_best(answers)
        own = _best_threshold(truth, answers) if n_positive else expected
        weight = n_positive / (n_positive + min_positives) if n_positive else 0.0
        blended = expit(weight * logit(own) + (1 - weight) * logit(expected))
        chosen[name] = float(np.clip(blended, LOWEST, HIGHEST))
    return chosen


def _expected_best(scores: FloatArray) -> float:
    """The threshold with the best F1 in expectation, if each score is the probability of a positive.

    Ye, Chai, Lee & Chieu, "Optimizing F-measures: a tale of two approaches", ICML 2012, with the ratio of the expected counts
    in place of the expected ratio, which it approaches as pictures become many.
    """
    highest_first = np.sort(scores)[::-1]
    f1 = 2 * highest_first.cumsum() / (np.arange(1, len(scores) + 1) + highest_first.sum())
    return float(np.clip(_middle_of_best(np.array([*highest_first, 0.0])[::-1], f1[::-1]), LOWEST, HIGHEST))


def _best_threshold(targets: FloatArray, scores: FloatArray) -> float:
    """The middle of the widest run of gaps between scores with the best F1. There are positives."""
    inside = np.clip(scores[~np.isnan(targets)], LOWEST, HIGHEST)
    edges = np.unique(np.concatenate([inside, [LOWEST, HIGHEST]]))
    return _middle_of_best(edges, _f1_at(targets, scores, (edges[:-1] + edges[1:]) / 2))


def _f1_at(targets: FloatArray, scores: FloatArray, thresholds: FloatArray) -> FloatArray:
    """(thresholds,): F1 of one AU with positives at each threshold."""
    every, hits = np.sort(scores[~np.isnan(targets)]), np.sort(scores[targets == 1])
    n_predicted = every.size - np.searchsorted(every, thresholds)
    n_hits = hits.size - np.searchsorted(hits, thresholds)
    return 2 * n_hits / (n_predicted + hits.size)


def _middle_of_best(edges: FloatArray, values: FloatArray) -> float:
    """`values[i]` holds between `edges[i]` and `edges[i + 1]`; neighbouring equals are one run."""
    best = np.concatenate([[False], values >= values.max() - 1e-12, [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(best) == 1), np.flatnonzero(np.diff(best) == -1)
    widest = int((edges[stops] - edges[starts]).argmax())
    return float((edges[starts][widest] + edges[stops][widest]) / 2)
