"""Weighted scores: in, one head's answers and the weights of the draws; out, every score, per draw.

A draw weighs every subject. All ones gives the point value; the multiplicities of a bootstrap sample give one draw of
its interval, so that both come from the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    means: dict[str, LabelMean]
    """Over the labels for which the score is defined with everyone."""
    per_label: dict[str, FloatArray]
    """(draws, labels)."""
    people: dict[str, FloatArray]
    """(labels,): those who show a label, or for AUC, if they are fewer, those who lack it: the others hardly move its score."""

    @property
    def macro(self) -> dict[str, FloatArray]:
        """Of `means`, per draw."""
        return {name: mean.draws for name, mean in self.means.items()}


@dataclass(frozen=True)
class LabelMean:
    """A mean over labels, with what each of them adds: a label that few people show makes it unsure in ways its draws don't tell."""

    parts: FloatArray
    """(draws, labels): add up to the mean; spread as far as they would be over other people, but for `unseen`."""
    weights: FloatArray
    """(labels,): what a label counts in the mean."""
    people: FloatArray
    """(labels,): those behind each label, as in `Measures.people`."""

    @property
    def draws(self) -> FloatArray:
        """(draws,): the mean; nan without a label."""
        # weights add up to 1 but for their last digits: divided by that, labels that are all .5 have a mean of .5
        return self.parts.sum(axis=1) / self.weights.sum() if self.people.size else np.full(len(self.parts), np.nan)

    @property
    def unseen(self) -> float:
        """The variance that no draw shows: how far from what one person shows of a label the truth is to be expected.

        The truth is taken to be any share alike, and the person's score for one yes or no (Laplace's rule, a uniform prior).
        """
        alone = self.people < 2
        weights = self.weights[alone]
        score = np.clip(self.parts.mean(axis=0)[alone] / weights, 0, 1)
        squared = (1 + score) * (2 - score) / 36 + (
            1 - 2 * score
        ) ** 2 / 9  # variance of Beta(1 + s, 2 - s), and its mean's distance from s
        return float((weights**2 * squared).sum())

    @property
    def n_behind(self) -> float:
        """Of how many people the spread is as sure: degrees of freedom (Satterthwaite, 1946) and one; 1 where no label has two people."""
        told = self.people > 1
        variances = self.parts.var(axis=0)[told]
        if not variances.any():
            variances = self.weights[told] ** 2
        return 1 + degrees_of_freedom(variances, self.people[told] - 1, self.unseen) if told.any() else 1.0


def degrees_of_freedom(variances: FloatArray, own: FloatArray, known: float = 0.0) -> float:
    """Of a sum of variances, each with its own number of them (Satterthwaite, 1946), and one that is known."""
    return float((variances.sum() + known) ** 2 / (variances**2 / own).sum())


def mean_of(means: Sequence[LabelMean]) -> LabelMean:
    """The mean of several, leaving out those without a label."""
    there = [mean for mean in means if mean.people.size] or list(means[:1])
    return LabelMean(
        np.concatenate([mean.parts for mean in there], axis=1) / len(there),
        np.concatenate([mean.weights for mean in there]) / len(there),
        np.concatenate([mean.people for mean in there]),
    )


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
        means={name: label_mean(values, whole[name], people[name]) for name, values in per_label.items()},
        per_label=per_label,
        people=people,
    )


def macro_ap(answers: Answers, weights: Weights) -> LabelMean:
    """Average precision, the mean over the labels with a positive."""
    values, whole = (_per_label_ranking(answers, w)["ap"] for w in (weights, unweighted(len(answers.targets))))
    return label_mean(values, whole, _people(answers, weights.subjects)["ap"])


def macro_f1(answers: Answers, weights: Weights) -> LabelMean:
    """F1, the mean over the labels with a positive."""
    values, whole = (_per_label_decisions(answers, w)["f1"] for w in (weights, unweighted(len(answers.targets))))
    return label_mean(values, whole, _people(answers, weights.subjects)["f1"])


def _people(answers: Answers, subjects: npt.NDArray[np.intp]) -> dict[str, FloatArray]:
    shows, lacks = (
        np.array([np.unique(subjects[column == which]).size for column in answers.targets.T], np.float64)
        for which in (1, 0)
    )
    return {name: np.minimum(shows, lacks) if name == "auc" else shows for name in MEASURES}


def label_mean(values: FloatArray, whole: FloatArray, people: FloatArray) -> LabelMean:
    """The mean over the same labels in every draw, spread as far as it would be over other people.

    Without the few people who show a rare label a draw says nothing about it, and the label keeps its value with everyone there. Left
    out, one that does badly would raise the mean of these draws, and the interval would not lie about the score.

    The variance over the draws of a label that k people show is too small by the factor (k - 1) / k (Efron & Tibshirani, An
    introduction to the bootstrap, 1993, chapter 6), half of it with two. With one it only tells of those who lack the label.

    Args:
        values: (draws, labels), nan where undefined.
        whole: (1, labels), with every person once.
        people: (labels,) of `Measures.people`.
    """
    there = ~np.isnan(whole[0])
    values, whole, people = values[:, there], whole[:, there], people[there]
    filled = np.where(np.isnan(values), whole, values)
    middle = filled.mean(axis=0)
    wider = np.sqrt(np.where(people > 1, people / np.maximum(people - 1, 1), 1))
    weights = np.full(len(people), 1 / max(1, len(people)))
    return LabelMean(weights * (middle + wider * (filled - middle)), weights, people)


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
