"""Weighted scores: in, one head's answers and a weight per image and draw; out, every score, per draw.

A draw is one column of weights. All ones gives the point value; the multiplicities of a bootstrap sample give one draw
of its interval, so that both come from the same code.
"""

from dataclasses import dataclass

import numpy as np

from fer.results.predictions import Answers, FloatArray

DECISION_MEASURES = ("precision", "recall", "f1")
MEASURES = (*DECISION_MEASURES, "auc", "ap")


@dataclass(frozen=True)
class Measures:
    """Every score of one head; nan where it is undefined in a draw. Arrays are (draws,) unless said otherwise."""

    loss: FloatArray
    accuracy: FloatArray
    """Share of right yes/no answers among the labelled cells."""
    micro: dict[str, FloatArray]
    """Over all labelled cells at once."""
    macro: dict[str, FloatArray]
    """Mean over the labels for which the score is defined."""
    per_label: dict[str, FloatArray]
    """(draws, labels)."""


def measure(answers: Answers, weights: FloatArray) -> Measures:
    """All scores of one head.

    Precision, recall, F1 and AP need a positive, AUC a positive and a negative: where a draw has none the label is nan
    there and left out of the macro mean. Precision is 0 where nothing was predicted positive. AUC counts ties as one
    half; AP is the step-wise area of the precision-recall curve (both as in scikit-learn).

    Args:
        answers: of one head.
        weights: (images, draws), not negative.
    """
    per_label = _per_label_decisions(answers, weights) | _per_label_ranking(answers, weights)
    return Measures(
        loss=_ratio(answers.loss_sums @ weights, answers.loss_counts @ weights),
        accuracy=_accuracy(answers, weights),
        micro=_micro(answers, weights),
        macro={name: mean_of_defined(values) for name, values in per_label.items()},
        per_label=per_label,
    )


def mean_of_defined(values: FloatArray) -> FloatArray:
    """(draws,): mean over the last axis without the nan, nan where nothing is left."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def ranking(targets: FloatArray, scores: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted AUC and average precision of one ranking for all draws with a single sort.

    Args:
        targets: (cells,), 0 or 1.
        scores: (cells,).
        weights: (cells, draws).

    Returns:
        AUC and AP, each (draws,), nan where undefined.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # the last cell of each group of ties
    drawn = weights[order]
    total = np.cumsum(drawn, axis=0)[ends]
    drawn *= targets[order, None]
    hits = np.cumsum(drawn, axis=0)[ends]
    misses = total - hits
    new_hits = np.diff(hits, axis=0, prepend=0.0)
    new_misses = np.diff(misses, axis=0, prepend=0.0)
    area = np.einsum("gd,gd->d", new_misses, hits - new_hits / 2)
    gained = np.einsum("gd,gd->d", new_hits, hits / np.maximum(total, 1e-12))
    return _ratio(area, hits[-1] * misses[-1]), _ratio(gained, hits[-1])


def _per_label_decisions(answers: Answers, weights: FloatArray) -> dict[str, FloatArray]:
    hits, predicted, positives = (weights.T @ counts for counts in _decision_counts(answers))
    return _decision_measures(hits, predicted, positives)


def _per_label_ranking(answers: Answers, weights: FloatArray) -> dict[str, FloatArray]:
    columns = []
    for targets, scores in zip(answers.targets.T, answers.scores.T, strict=True):
        known = ~np.isnan(targets)
        columns.append(_rank_if_any(targets[known], scores[known], weights[known]))
    auc, ap = (np.stack(values, axis=1) for values in zip(*columns, strict=True))
    return {"auc": auc, "ap": ap}


def _micro(answers: Answers, weights: FloatArray) -> dict[str, FloatArray]:
    hits, predicted, positives = (counts.sum(axis=1) @ weights for counts in _decision_counts(answers))
    rows, labels = np.nonzero(~np.isnan(answers.targets))
    auc, ap = _rank_if_any(answers.targets[rows, labels], answers.scores[rows, labels], weights[rows])
    return _decision_measures(hits, predicted, positives) | {"auc": auc, "ap": ap}


def _rank_if_any(targets: FloatArray, scores: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    if targets.any():
        return ranking(targets, scores, weights)
    undefined = np.full(weights.shape[1], np.nan)
    return undefined, undefined


def _decision_counts(answers: Answers) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(images, labels) indicators of true positives, predicted positives and positives, over labelled cells."""
    known = ~np.isnan(answers.targets)
    positive = answers.targets == 1
    hits, predicted = positive & answers.decisions, known & answers.decisions
    return hits.astype(np.float64), predicted.astype(np.float64), positive.astype(np.float64)


def _decision_measures(hits: FloatArray, predicted: FloatArray, positives: FloatArray) -> dict[str, FloatArray]:
    precision = np.where(predicted > 0, hits / np.maximum(predicted, 1), 0.0)
    values = (precision, _ratio(hits, positives), 2 * hits / np.maximum(predicted + positives, 1))
    undefined = positives == 0
    return {name: np.where(undefined, np.nan, v) for name, v in zip(DECISION_MEASURES, values, strict=True)}


def _accuracy(answers: Answers, weights: FloatArray) -> FloatArray:
    known = ~np.isnan(answers.targets)
    right = known & (answers.decisions == (answers.targets == 1))
    return _ratio(right.sum(axis=1) @ weights, known.sum(axis=1) @ weights)


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    ratio: FloatArray = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return ratio
