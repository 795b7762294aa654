"""Weighted scores: in, one head's answers and the weights of the draws; out, every score, per draw.

A draw weighs every subject. All ones gives the point value; the multiplicities of a bootstrap sample give one draw of
its interval, so that both come from the same code.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from fer.results.predictions import Answers, FloatArray

DECISION_MEASURES = ("precision", "recall", "f1")
MEASURES = (*DECISION_MEASURES, "auc", "ap")

_CELLS_PER_BLOCK = 4_000_000
"""A ranking works through the draws in blocks, so that one array stays at 32 MB however many images there are."""


@dataclass(frozen=True)
class Weights:
    """What each image counts in each draw: as much as its subject does."""

    subjects: npt.NDArray[np.intp]
    """(images,): index of the subject."""
    counts: FloatArray
    """(subjects, draws), not negative."""

    def sums(self, values: FloatArray) -> FloatArray:
        """(images, ...) to (draws, ...): the weighted sum over the images."""
        per_subject = np.zeros((len(self.counts), *values.shape[1:]))
        np.add.at(per_subject, self.subjects, values)
        return self.counts.T @ per_subject


def unweighted(n_images: int) -> Weights:
    """One draw in which every image counts once."""
    return Weights(np.zeros(n_images, dtype=np.intp), np.ones((1, 1)))


@dataclass(frozen=True)
class Measures:
    """Every score of one head; nan where it is undefined in a draw. Arrays are (draws,) unless said otherwise."""

    loss: FloatArray
    accuracy: FloatArray
    """Share of right yes/no answers among the labelled cells."""
    micro: dict[str, FloatArray]
    """Over all labelled cells at once."""
    macro: dict[str, FloatArray]
    """Mean over the labels for which the score is defined with everyone, see `_macro`."""
    per_label: dict[str, FloatArray]
    """(draws, labels)."""
    people: dict[str, FloatArray]
    """(labels,): those who show a label, or for AUC, if they are fewer, those who lack it: the others hardly move its score."""


def measure(answers: Answers, weights: Weights) -> Measures:
    """All scores of one head.

    Precision, recall, F1 and AP need a positive, AUC a positive and a negative: where a draw has none the label is nan
    there. Precision is 0 where nothing was predicted positive. AUC counts ties as one
    half; AP is the step-wise area of the precision-recall curve (both as in scikit-learn).

    Args:
        answers: of one head.
        weights: the draws.
    """
    everyone = unweighted(len(answers.targets))
    per_label = _per_label_decisions(answers, weights) | _per_label_ranking(answers, weights)
    if np.array_equal(weights.counts, np.ones((len(weights.counts), 1))):
        whole = per_label
    else:
        whole = _per_label_decisions(answers, everyone) | _per_label_ranking(answers, everyone)
    people = _people(answers, weights.subjects)
    return Measures(
        loss=_ratio(weights.sums(answers.loss_sums), weights.sums(answers.loss_counts)),
        accuracy=_accuracy(answers, weights),
        micro=_micro(answers, weights),
        macro={name: _macro(values, whole[name], people[name]) for name, values in per_label.items()},
        per_label=per_label,
        people=people,
    )


def macro_ap(answers: Answers, weights: Weights) -> tuple[FloatArray, float]:
    """(draws,): average precision, the mean over the labels with a positive; and `people_behind` it."""
    values, whole = (_per_label_ranking(answers, w)["ap"] for w in (weights, unweighted(len(answers.targets))))
    people = _people(answers, weights.subjects)["ap"]
    return _macro(values, whole, people), people_behind(people)


def macro_f1(answers: Answers, weights: Weights) -> tuple[FloatArray, float]:
    """(draws,): F1, the mean over the labels with a positive; and `people_behind` it."""
    values, whole = (_per_label_decisions(answers, w)["f1"] for w in (weights, unweighted(len(answers.targets))))
    people = _people(answers, weights.subjects)["f1"]
    return _macro(values, whole, people), people_behind(people)


def _people(answers: Answers, subjects: npt.NDArray[np.intp]) -> dict[str, FloatArray]:
    shows, lacks = (
        np.array([np.unique(subjects[column == which]).size for column in answers.targets.T], np.float64)
        for which in (1, 0)
    )
    return {name: np.minimum(shows, lacks) if name == "auc" else shows for name in MEASURES}


def _macro(values: FloatArray, whole: FloatArray, people: FloatArray) -> FloatArray:
    """(draws,): the mean over the same labels in every draw, spread as far as it would be over other people.

    Without the few people who show a rare label a draw says nothing about it, and the label keeps its value with everyone there. Left
    out, one that does badly would raise the mean of these draws, and the interval would not lie about the score.

    The variance over the draws of a label that k people show is too small by the factor (k - 1) / k (Efron & Tibshirani, An
    introduction to the bootstrap, 1993, chapter 6), half of it with two. A label that one person shows varies in no draw: it is taken
    to vary as the mean of the others does.

    Args:
        values: (draws, labels).
        whole: (1, labels), with every person once.
        people: (labels,) of `Measures.people`.
    """
    filled = np.where(np.isnan(values), whole, values)
    middle, told = filled.mean(axis=0), people > 1
    wider = np.sqrt(people[told] / (people[told] - 1))
    apart = mean_of_defined(wider * (filled - middle)[:, told]) if told.any() else np.zeros(len(values))
    found: FloatArray = mean_of_defined(middle[None]) + apart
    return found


def people_behind(people: FloatArray) -> float:
    """Of how many people the spread of a mean over labels is as sure: degrees of freedom (Satterthwaite, 1946) and one.

    Labels are taken to vary alike and each by itself; 1 where none is shown by two people.

    Args:
        people: (labels,) of `Measures.people`.
    """
    told = people[people > 1]
    return 1 + len(told) ** 2 / float((1 / (told - 1)).sum()) if len(told) else 1.0


def mean_of_defined(values: FloatArray) -> FloatArray:
    """(draws,): mean over the last axis without the nan, nan where nothing is left."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def ranking(targets: FloatArray, scores: FloatArray, weights: Weights) -> tuple[FloatArray, FloatArray]:
    """Weighted AUC and average precision of one ranking for all draws with a single sort.

    Args:
        targets: (cells,), 0 or 1.
        scores: (cells,).
        weights: with the subject of each cell.

    Returns:
        AUC and AP, each (draws,), nan where undefined.
    """
    groups = _groups(targets, scores)
    shape = (int(groups.max()) + 1, len(weights.counts))
    everyone = csr_array((np.ones_like(targets), (groups, weights.subjects)), shape=shape)
    positives = csr_array((targets, (groups, weights.subjects)), shape=shape)
    step = max(1, _CELLS_PER_BLOCK // shape[0])
    blocks = [weights.counts[:, start : start + step] for start in range(0, weights.counts.shape[1], step)]
    parts = [_areas(positives @ counts, everyone @ counts) for counts in blocks]
    auc, ap = (np.concatenate(values) for values in zip(*parts, strict=True))
    return auc, ap


def _groups(targets: FloatArray, scores: FloatArray) -> npt.NDArray[np.intp]:
    """(cells,): the place of each cell in the ranking, 0 = highest score, ties sharing one.

    Neighbouring places without a positive become one: that changes neither area and makes rare labels cheap.
    """
    places = np.unique(-scores, return_inverse=True)[1]
    has_positive = np.bincount(places, weights=targets) > 0
    starts = np.ones_like(has_positive)
    starts[1:] = has_positive[1:] | has_positive[:-1]
    group_of_place = np.cumsum(starts) - 1
    found: npt.NDArray[np.intp] = group_of_place[places]
    return found


def _areas(new_hits: FloatArray, new_all: FloatArray) -> tuple[FloatArray, FloatArray]:
    """AUC and AP, each (draws,), from the weight of the positives and of all cells in each group, (groups, draws)."""
    hits, total = np.cumsum(new_hits, axis=0), np.cumsum(new_all, axis=0)
    area = np.einsum("gd,gd->d", new_all - new_hits, hits - new_hits / 2)
    gained = np.einsum("gd,gd->d", new_hits, hits / np.maximum(total, 1e-12))
    return _ratio(area, hits[-1] * (total[-1] - hits[-1])), _ratio(gained, hits[-1])


def _per_label_decisions(answers: Answers, weights: Weights) -> dict[str, FloatArray]:
    hits, predicted, positives = (weights.sums(counts) for counts in _decision_counts(answers))
    return _decision_measures(hits, predicted, positives)


def _per_label_ranking(answers: Answers, weights: Weights) -> dict[str, FloatArray]:
    columns = []
    for targets, scores in zip(answers.targets.T, answers.scores.T, strict=True):
        known = ~np.isnan(targets)
        of_cells = Weights(weights.subjects[known], weights.counts)
        columns.append(_rank_if_any(targets[known], scores[known], of_cells))
    auc, ap = (np.stack(values, axis=1) for values in zip(*columns, strict=True))
    return {"auc": auc, "ap": ap}


def _micro(answers: Answers, weights: Weights) -> dict[str, FloatArray]:
    hits, predicted, positives = (weights.sums(counts.sum(axis=1)) for counts in _decision_counts(answers))
    rows, labels = np.nonzero(~np.isnan(answers.targets))
    of_cells = Weights(weights.subjects[rows], weights.counts)
    auc, ap = _rank_if_any(answers.targets[rows, labels], answers.scores[rows, labels], of_cells)
    return _decision_measures(hits, predicted, positives) | {"auc": auc, "ap": ap}


def _rank_if_any(targets: FloatArray, scores: FloatArray, weights: Weights) -> tuple[FloatArray, FloatArray]:
    if targets.any():
        return ranking(targets, scores, weights)
    undefined = np.full(weights.counts.shape[1], np.nan)
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


def _accuracy(answers: Answers, weights: Weights) -> FloatArray:
    known = ~np.isnan(answers.targets)
    right = known & (answers.decisions == (answers.targets == 1))
    return _ratio(weights.sums(right.sum(axis=1)), weights.sums(known.sum(axis=1)))


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    ratio: FloatArray = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return ratio
