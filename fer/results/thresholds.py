"""Decision thresholds: in, validation rows of a predictions table; out, the probability from which each AU is present.

AUs are rare, so .5 is a bad threshold for most. The best one per AU is a noisy estimate when few pictures show the AU:
it is shrunk towards the one threshold that is best for all AUs together.
"""

import numpy as np
import pandas as pd

from fer.results.measures import mean_of_defined
from fer.results.predictions import FloatArray, probabilities_of, targets_of

LOWEST, HIGHEST = 0.02, 0.98
_NO_EVIDENCE = 0.5
"""The threshold of everything when no AU has a positive."""


def choose_thresholds(predictions: pd.DataFrame, columns: list[str], *, min_positives: int = 10) -> dict[str, float]:
    """The F1-best threshold of each AU, shrunk on the logit scale towards the macro-F1-best common one.

    An AU with `n` positives keeps the weight `n / (n + min_positives)` on its own threshold: half at `min_positives`,
    none without positives. Between neighbouring probabilities every threshold gives the same decisions, so the
    candidates are these gaps; of several equally good ones the widest run counts, and its middle is taken.

    Args:
        predictions: validation rows with target and `_prob` columns; thresholds must not be chosen on test rows.
        columns: the AUs, as target column names.
        min_positives: positives at which own and common threshold weigh the same.

    Returns:
        A threshold from .02 to .98 per AU; a probability at or above it means present.
    """
    targets = targets_of(predictions, columns)
    scores = probabilities_of(predictions, [f"{name}_prob" for name in columns])
    n_positive = (targets == 1).sum(axis=0)
    common = _best_threshold(targets, scores)
    chosen = {}
    for k, name in enumerate(columns):
        own = _best_threshold(targets[:, [k]], scores[:, [k]]) if n_positive[k] else common
        weight = n_positive[k] / (n_positive[k] + min_positives) if n_positive[k] else 0.0
        chosen[name] = float(np.clip(_blend(own, common, weight), LOWEST, HIGHEST))
    return chosen


def _blend(own: float, common: float, weight: float) -> float:
    """The weighted mean of two probabilities on the logit scale."""
    logit = weight * np.log(own / (1 - own)) + (1 - weight) * np.log(common / (1 - common))
    return float(1 / (1 + np.exp(-logit)))


def _best_threshold(targets: FloatArray, scores: FloatArray) -> float:
    """The middle of the widest run of gaps with the best mean F1 over the columns that have positives."""
    known = ~np.isnan(targets)
    if not (targets == 1).any():
        return _NO_EVIDENCE
    inside = np.clip(scores[known], LOWEST, HIGHEST)
    edges = np.unique(np.concatenate([inside, [LOWEST, HIGHEST]]))
    middles = (edges[:-1] + edges[1:]) / 2
    f1 = np.stack([_f1_at(targets[:, k], scores[:, k], middles) for k in range(targets.shape[1])], axis=1)
    return _middle_of_best(edges, mean_of_defined(f1))


def _f1_at(targets: FloatArray, scores: FloatArray, thresholds: FloatArray) -> FloatArray:
    """(thresholds,): F1 of one AU at each threshold, nan without positives."""
    known = ~np.isnan(targets)
    every, hits = np.sort(scores[known]), np.sort(scores[targets == 1])
    if hits.size == 0:
        return np.full(thresholds.shape, np.nan)
    n_predicted = every.size - np.searchsorted(every, thresholds)
    n_hits = hits.size - np.searchsorted(hits, thresholds)
    return 2 * n_hits / (n_predicted + hits.size)


def _middle_of_best(edges: FloatArray, values: FloatArray) -> float:
    """`values[i]` holds between `edges[i]` and `edges[i + 1]`; neighbouring equals are one run."""
    best = np.concatenate([[False], values >= values.max() - 1e-12, [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(best) == 1), np.flatnonzero(np.diff(best) == -1)
    widest = int((edges[stops] - edges[starts]).argmax())
    return float((edges[starts][widest] + edges[stops][widest]) / 2)
