"""One split, judged: in, its predictions table and the thresholds; out, its part of `metrics.json`.

Every number comes with its 95 % interval (bootstrap over subjects, key `<name>_ci`), its count and its baselines.
What is undefined is None, never nan. The sections:

- `au`: precision, recall and F1 at the given thresholds, AUC and AP of the probabilities, micro (all labelled cells),
  macro (mean over the AUs with positives) and per AU; `loss` is the mean binary cross-entropy per labelled cell,
  without the class weights of training; `binary_accuracy` the share of right yes/no answers.
- `emotion`: the same per class, one class against the rest. With one label per image micro precision, recall and F1
  all equal the accuracy: only `auc` and `ap` say something new there. `loss` is the mean cross-entropy.
- per AU and class: `f1_constant` is the F1 of saying "present" for every picture; the AUC of guessing is .5 and its AP
  the share of positives.
- `score`: the mean, over the heads that the model has, of the AUs' macro AP and the emotions' macro F1: 0 to 1, higher
  is better. It is what sweeps and searches maximise. `score_constant` is that of answers without looking.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.errors import FerError
from fer.results.baselines import (
    au_base_rates,
    au_baselines,
    emotion_base_rates,
    emotion_baseline,
    number,
    numbers,
    summary,
)
from fer.results.bootstrap import interval, mean_interval, resample_subjects
from fer.results.dead import dead_reason
from fer.results.measures import (
    MEASURES,
    Measures,
    Weights,
    mean_of,
    measure,
    unweighted,
)
from fer.results.predictions import (
    Answers,
    FloatArray,
    Thresholds,
    au_answers,
    au_columns,
    emotion_answers,
    emotion_classes,
)

Scores = dict[str, Any]
"""One split's part of `metrics.json`: plain dicts, lists, text and numbers."""


class _Judged:
    """A head's answers with the point value, the draws and the people behind them; `networks`: (images,) which network each is of."""

    def __init__(self, answers: Answers, resampling: Weights, networks: npt.NDArray[np.intp]) -> None:
        self.answers, self.networks = answers, networks
        self.subjects = resampling.subjects
        self.point: Measures = measure(answers, unweighted(len(answers.targets)))
        self.draws: Measures = measure(answers, resampling)
        self.n_labelled = int((answers.loss_counts > 0).sum())
        self.n_subjects = self._n_people(answers.loss_counts > 0)

    def loss_interval(self) -> list[float] | None:
        """By square roots: a loss has no share's upper end, but 0 below."""
        ends = interval(np.sqrt(self.draws.loss), self.n_subjects, float(np.sqrt(self.point.loss[0])), share=False)
        return None if ends is None else [max(0.0, end) ** 2 for end in ends]

    def accuracy_interval(self, values: Callable[[Measures], FloatArray]) -> list[float] | None:
        return interval(values(self.draws), self.n_subjects, float(values(self.point)[0]))

    def label_interval(self, name: str, column: int) -> list[float] | None:
        """None unless at least two people show the label (and for AUC two lack it): no other draw would differ."""
        people = int(self.draws.people[name][column])
        point = float(self.point.per_label[name][0, column])
        return interval(self.draws.per_label[name][:, column], people, point)

    def per_label(self, column: int) -> Scores:
        values = {name: number(self.point.per_label[name][0, column]) for name in MEASURES}
        intervals = {f"{name}_ci": self.label_interval(name, column) for name in MEASURES}
        return values | intervals | {"f1_constant": self._always_present_f1(column)}

    def _always_present_f1(self, column: int) -> float | None:
        targets = self.answers.targets[:, column]
        n_positive, n_known = int((targets == 1).sum()), int((~np.isnan(targets)).sum())
        return 2 * n_positive / (n_positive + n_known) if n_positive else None

    def average_intervals(self) -> Scores:
        found: Scores = {}
        for name in MEASURES:
            micro, macro = float(self.point.micro[name][0]), float(self.point.macro[name][0])
            found[f"micro_{name}_ci"] = interval(self.draws.micro[name], self.n_subjects, micro)
            found[f"macro_{name}_ci"] = mean_interval(self.draws.means[name], self.n_subjects, macro)
        return found

    def verdict(self) -> Scores:
        reason = dead_reason(self.answers, self.networks)
        return {"dead": reason is not None, "dead_reason": reason}

    def _n_people(self, images: npt.NDArray[np.bool_]) -> int:
        return int(np.unique(self.subjects[images]).size)


def judge(
    predictions: pd.DataFrame,
    thresholds: Thresholds,
    *,
    base_rates: Mapping[str, float] | None = None,
    emotion_rates: Mapping[str, float] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> Scores:
    """Judges one split.

    Args:
        predictions: rows of `predictions.csv` of one split; a head without columns or without any label has no section.
        thresholds: probability from which an AU counts as present, for every AU of the table; one number, or one for each row.
        base_rates: positive rate of each AU in the training split (`au_base_rates`). None takes this split's own rates,
            which makes the baselines a little too strong, and says so in their `rates_from`.
        emotion_rates: share of each class in the training split (`emotion_base_rates`), None likewise.
        n_boot: bootstrap draws.
        seed: of the draws.

    Raises:
        FerError: no rows, a probability that is not a number, an emotion that the head does not have.
    """
    if predictions.empty:
        raise FerError(
            "no predictions to judge: this split has no images; check data.val_fraction and data.test_fraction"
        )
    resampling = resample_subjects(predictions["subject"], n_boot, seed)
    scores: Scores = {"n_images": len(predictions), "n_subjects": resampling.counts.shape[0]}
    # the folds of a cross-validation are answered by a network each
    networks = pd.factorize(predictions["fold"])[0] if "fold" in predictions else np.zeros(len(predictions), np.intp)
    heads: list[tuple[_Judged, str]] = []
    sections: Scores = {}
    if au_columns(predictions):
        judged = _Judged(au_answers(predictions, thresholds), resampling, networks)
        if judged.n_labelled:
            sections["au"] = _au_section(judged, predictions, thresholds, base_rates)
            heads.append((judged, "ap"))
    if emotion_classes(predictions):
        judged = _Judged(emotion_answers(predictions), resampling, networks)
        if judged.n_labelled:
            sections["emotion"] = _emotion_section(judged, predictions, emotion_rates)
            heads.append((judged, "f1"))
    return scores | _score(heads) | {"score_constant": _score_constant(sections)} | sections


def _score(heads: list[tuple[_Judged, str]]) -> Scores:
    if not heads:
        return {"score": None, "score_ci": None}
    heads = [each for each in heads if each[0].point.means[each[1]].people.size] or heads
    point, draws = (
        mean_of([measures.means[name] for measures, name in values])
        for values in ([(head.point, name) for head, name in heads], [(head.draws, name) for head, name in heads])
    )
    n_subjects, value = min(head.n_subjects for head, _ in heads), float(point.draws[0])
    return {"score": number(value), "score_ci": mean_interval(draws, n_subjects, value)}


def _score_constant(sections: Scores) -> float | None:
    """What the best constant answers of the heads score; that of emotions is the one shown most often here."""
    parts = [sections["au"]["baselines"]["constant"]["macro"]["ap"]] if "au" in sections else []
    if "emotion" in sections:
        shown = [row["n"] for row in sections["emotion"]["per_class"].values() if row["n"]]
        parts.append(2 * max(shown) / (sum(shown) + max(shown)) / len(shown))
    defined = [part for part in parts if part is not None]
    return float(np.mean(defined)) if defined else None


def _au_section(
    judged: _Judged, predictions: pd.DataFrame, thresholds: Thresholds, rates: Mapping[str, float] | None
) -> Scores:
    names = list(judged.answers.labels)
    source = "this split" if rates is None else "train"
    per_au = {}
    for column, name in enumerate(names):
        targets = judged.answers.targets[:, column]
        counts = {"n": int((~np.isnan(targets)).sum()), "n_positive": int((targets == 1).sum())}
        per_au[name] = counts | {"threshold": float(np.median(thresholds[name]))} | judged.per_label(column)
    return {
        "n_images": judged.n_labelled,
        "n_subjects": judged.n_subjects,
        **summary(judged.point, "binary_accuracy"),
        "loss_ci": judged.loss_interval(),
        "binary_accuracy_ci": judged.accuracy_interval(lambda measures: measures.accuracy),
        **judged.average_intervals(),
        "per_au": per_au,
        "baselines": au_baselines(judged.answers, rates or au_base_rates(predictions, names), source),
        **judged.verdict(),
    }


def _emotion_section(judged: _Judged, predictions: pd.DataFrame, rates: Mapping[str, float] | None) -> Scores:
    answers, classes = judged.answers, list(judged.answers.labels)
    source = "this split" if rates is None else "train"
    counts = np.nansum(answers.targets, axis=0).astype(int)
    per_class = {name: {"n": int(counts[k])} | judged.per_label(k) for k, name in enumerate(classes)}
    return {
        "n_images": judged.n_labelled,
        "n_subjects": judged.n_subjects,
        "loss": number(judged.point.loss[0]),
        "loss_ci": judged.loss_interval(),
        "accuracy": number(judged.point.micro["f1"][0]),
        "accuracy_ci": judged.accuracy_interval(lambda measures: measures.micro["f1"]),
        "micro": numbers(judged.point.micro),
        "macro": numbers(judged.point.macro),
        **judged.average_intervals(),
        "per_class": per_class,
        "confusion": {"labels": classes, "matrix": _confusion(answers)},
        "baselines": emotion_baseline(answers, rates or emotion_base_rates(predictions, classes), source),
        **judged.verdict(),
    }


def _confusion(answers: Answers) -> list[list[int]]:
    """Rows are the truth, columns the answer."""
    truth = np.nan_to_num(answers.targets)
    matrix: list[list[int]] = (truth.T @ answers.decisions).astype(int).tolist()
    return matrix
