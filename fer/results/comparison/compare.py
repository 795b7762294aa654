"""Which run is better: in, what several runs said of the same pictures; out, their scores and which differences are above noise.

People are resampled, the same people for every run in a draw, so that what is hard for all runs cancels (paired bootstrap).
The spread of a difference over the draws is its standard error; the interval and the p value come from Student's t with
the degrees of freedom of the people behind it (`pairs`). Percentiles of the draws would call
7 to 8 % of equal models different where 5 % were asked for when people are few, and could not reach the small p values that
many comparisons need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fer.errors import FerError
from fer.results.bootstrap import mean_interval, resample_subjects
from fer.results.measures import LabelMean, Weights, macro_ap, macro_f1, mean_of, unweighted
from fer.results.predictions import FloatArray, au_answers, au_columns, emotion_answers, emotion_classes

LEVEL = 0.05
"""A difference with a corrected p value below this is above noise."""

WINNER_RULE = (
    "the highest score wins, unless a run whose score is within one standard error of it (paired over people) "
    "was trained in less than half the time: then the quickest such run wins; a dead model never does, nor one that "
    "has learned from the judged people, if there are others"
)
"""Breiman et al. (1984), section 3.4.3, with time for complexity. Timings vary: only a large saving counts."""


@dataclass(frozen=True)
class Standing:
    """Where one run stands. The differences are None for the run that the others are held against."""

    score: float
    score_ci: list[float] | None
    """95 %, bootstrap over people."""
    difference: float | None
    """This score minus the reference's."""
    difference_ci: list[float] | None
    """95 %, paired, not corrected for the number of comparisons."""
    p: float | None
    """Two-sided, of no difference."""
    p_holm: float | None
    """Corrected for the number of comparisons."""

    @property
    def verdict(self) -> str:
        """`worse` or `better` than the reference where that is above noise, else empty."""
        if self.difference is None or self.p_holm is None or self.p_holm >= LEVEL:
            return ""
        return "worse" if self.difference < 0 else "better"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found, in the order of the runs."""

    standings: list[Standing]
    best: int
    reference: int
    n_images: int
    n_subjects: int
    n_tests: int
    """Comparisons that the p values are corrected for."""
    errors: FloatArray
    """(runs, runs): standard error of the difference between two runs."""
    reach: FloatArray
    """(runs, runs): standard errors from a difference to the ends of its interval."""


def compare(tables: Sequence[pd.DataFrame], *, n_draws: int, seed: int, reference: int | None = None) -> Comparison:
    """Scores every run and holds it against the reference.

    The best run is chosen by looking at the same scores, which makes it look better than it is: corrected for the comparisons
    with the best alone, one of 20 equal runs was called worse in a quarter of simulated sweeps. Without a named reference
    the p values are therefore corrected for all pairs of runs, of which those with the best are a part.

    Args:
        tables: rows of `predictions.csv`, of each run the same pictures in the same order.
        n_draws: bootstrap draws.
        seed: of the draws.
        reference: the run to hold the others against; None takes the best.

    Raises:
        FerError: there are fewer than two people, or a run has no score.
    """
    answered = [*au_columns(tables[0]), *(["emotion"] if emotion_classes(tables[0]) else [])]
    labelled = tables[0][answered].notna().any(axis="columns").to_numpy()
    if not labelled.any():
        raise FerError("no label that the models answer is shown on these pictures: there is no score to compare")
    tables = [table[labelled] for table in tables]
    weights = resample_subjects(tables[0]["subject"], n_draws, seed)
    n_people = _fewest_people(tables[0])
    if n_people < 2:
        raise FerError("all pictures with the labels of a head show one person: that says nothing about other people")
    once = [score_mean(table, unweighted(len(table))) for table in tables]
    drawn = [score_mean(table, weights) for table in tables]
    points = np.array([mean.draws[0] for mean in once])
    if np.isnan(points).any():
        raise FerError("no label that the models answer is shown on these pictures: there is no score to compare")
    if not (drawn[0].people > 1).any():
        raise FerError("each label of a head is shown by one person alone: that says nothing about other people")
    best = int(points.argmax())
    held = best if reference is None else reference
    errors, n_behind = pairs(once, drawn)
    n_behind = np.minimum(n_behind, n_people)
    p = p_values(points, errors, n_behind, n_people)
    corrected, n_tests = _corrected(p, held, all_pairs=reference is None)
    reach = stats.t.ppf(1 - LEVEL / 2, n_behind - 1)
    standings = []
    for k, score in enumerate(points):
        difference = float(score - points[held])
        ends = _ends(difference, float(errors[k, held]), float(reach[k, held]), n_people)
        apart: list[Any] = [None] * 4 if k == held else [difference, ends, float(p[k, held]), float(corrected[k])]
        standings.append(Standing(float(score), mean_interval(drawn[k], n_people, float(score)), *apart))
    n_images = tables[0]["path"].nunique()  # a repeated cross-validation has a row per picture and repeat
    n_subjects = tables[0]["subject"].nunique()
    return Comparison(standings, best, held, n_images, n_subjects, n_tests, errors, reach)


def _ends(difference: float, error: float, reach: float, n_people: int) -> list[float]:
    """The 95 % interval of a difference of shares; if all people agree, to where those who would not had a probability of 2.5 %."""
    others = 0.0 if error > 1e-9 else 1 - 0.025 ** (1 / n_people)
    middle, about = difference * (1 - others), reach * error + others
    return [max(-1.0, middle - about), min(1.0, middle + about)]


def _fewest_people(table: pd.DataFrame) -> int:
    """Labelled people of the head that has fewer of them: a score of both heads is no surer than that head's part (as in `scores`)."""
    heads = [au_columns(table), ["emotion"] if emotion_classes(table) else []]
    people = [table.loc[table[labels].notna().any(axis="columns"), "subject"].nunique() for labels in heads if labels]
    return min(n for n in people if n)


def score_mean(predictions: pd.DataFrame, weights: Weights) -> LabelMean:
    """`score` as in `metrics.json`, label by label."""
    heads = []
    if names := au_columns(predictions):
        # a ranking has no threshold
        heads.append(macro_ap(au_answers(predictions, dict.fromkeys(names, 0.5)), weights))
    if emotion_classes(predictions):
        heads.append(macro_f1(emotion_answers(predictions), weights))
    return mean_of(heads)


def pairs(once: Sequence[LabelMean], drawn: Sequence[LabelMean]) -> tuple[FloatArray, FloatArray]:
    """Standard error of the difference between two runs, and of how many people it is as sure, each (runs, runs).

    A label that one person shows has one difference, and its square is all that is known of how differences vary from person to
    person. Degrees of freedom are those of the labels' variances (Satterthwaite, 1946).

    Args:
        once: of each run, with every person once.
        drawn: the same in draws, which are those of all runs.
    """
    people = drawn[0].people
    squared = _variances(np.stack([mean.draws for mean in drawn]))
    total, shares = np.zeros_like(squared), np.zeros_like(squared)
    for label, n in enumerate(people):
        if n > 1:
            variance = _variances(np.stack([mean.parts[:, label] for mean in drawn]))
        else:
            parts = np.array([mean.parts[0, label] for mean in once])
            variance = (parts[:, None] - parts[None, :]) ** 2
            squared = squared + variance
        total, shares = total + variance, shares + variance**2 / max(n - 1, 1)
    behind = 1 + np.divide(total**2, shares, out=np.full_like(total, np.inf), where=shares > 0)
    return np.sqrt(squared), behind


def _variances(values: FloatArray) -> FloatArray:
    """(runs, runs): variance of the difference between two runs over the draws of (runs, draws)."""
    covariance = np.atleast_2d(np.cov(values))
    variances = np.diag(covariance)
    return np.maximum(variances[:, None] + variances[None, :] - 2 * covariance, 0)


def p_values(points: FloatArray, errors: FloatArray, n_behind: FloatArray, n_people: int) -> FloatArray:
    """(runs, runs): two-sided p value of no difference; 1 for runs that answer alike, and where there is no standard error.

    None is below that of a sign-flip test in which all people agree: few people can't show more, though draws of them never differ.
    """
    apart = np.abs(points[:, None] - points[None, :])
    unknown = (apart < 1e-9) | np.isnan(errors)
    ratios = np.divide(apart, errors, out=np.full_like(apart, np.inf), where=errors > 0)
    least = 2.0 ** (1 - n_people)
    return np.where(unknown, 1.0, np.maximum(2 * stats.t.sf(ratios, n_behind - 1), least))


def holm(p: FloatArray) -> FloatArray:
    """P values corrected for their number, so that with 95 % certainty no false one falls below .05 (Holm, 1979)."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def _corrected(p: FloatArray, held: int, *, all_pairs: bool) -> tuple[FloatArray, int]:
    """(runs,): corrected p values of the comparisons with run `held`, and the number of comparisons in the family."""
    n_runs = len(p)
    full = np.ones_like(p)
    if all_pairs:
        rows, columns = np.triu_indices(n_runs, k=1)
    else:
        columns = np.delete(np.arange(n_runs), held)
        rows = np.full_like(columns, held)
    full[rows, columns] = full[columns, rows] = holm(p[rows, columns])
    return full[held], len(rows)


def winner(
    comparison: Comparison, seconds: Sequence[float | None], dead: Sequence[bool], knowing: Sequence[bool]
) -> int:
    """The run that `WINNER_RULE` names, as an index."""
    scores = np.array([standing.score for standing in comparison.standings])
    alive = [k for k in range(len(scores)) if not dead[k]] or list(range(len(scores)))
    alive = [k for k in alive if not knowing[k]] or alive
    first = max(alive, key=lambda k: scores[k])
    limit = seconds[first]
    if limit is None:
        return first
    close = [k for k in alive if scores[first] - scores[k] <= comparison.errors[first, k]]
    quick = {k: taken for k in close if (taken := seconds[k]) is not None and taken < limit / 2}
    return min(quick, key=lambda k: quick[k], default=first)
