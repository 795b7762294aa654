"""The rule "AUs -> emotion": in, which AUs a picture shows; out, the emotion by the criteria of the FACS coders, and how often it is right.

Lucey et al., "The Extended Cohn-Kanade Dataset", CVPR workshops 2010, Table 2. Whoever learns emotions from pictures should
be better than this rule on the AUs that the same network finds.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.labels import EMOTION_CRITERIA, NEUTRAL, emotion_among
from fer.results.baselines import number
from fer.results.bootstrap import interval, mean_interval, resample_subjects
from fer.results.measures import Weights, macro_f1, unweighted
from fer.results.predictions import Answers, FloatArray, class_codes, emotion_classes

_CRITERIA = [(name, units) for name, choices in EMOTION_CRITERIA.items() for units in choices]
_UNITS = sorted({unit for _, units in _CRITERIA for unit in units})


def rule_probe(decided: pd.DataFrame, samples: pd.DataFrame, n_boot: int = 1000) -> dict[str, Any]:
    """The rule held against the emotion labels of one split.

    Args:
        decided: rows of `predictions.csv`.
        samples: the same rows of the sample table, with every AU that the data codes.

    Returns:
        `true_aus` and `predicted_aus`, the rule on the labels and on the decisions of the AU head. Each has `n_images` (with
        an emotion label, and AU labels for the true ones), `n_answered` (a criterion is met), `accuracy` and `macro_f1` with
        intervals, `model` (the emotion head on the same pictures), `units_missing` (needed by the rule, but not coded or
        not answered); or `reason`, why there is no number.
    """
    if not emotion_classes(decided):
        return {"reason": "the model has no emotion head"}
    # units beyond those of the criteria, too: a face that shows one of them is not neutral
    coded = [name for name in samples.filter(regex=r"^AU\d+$") if samples[name].notna().any()]
    answered = [str(name).removesuffix("_pred") for name in decided.filter(regex=r"^AU\d+_pred$")]
    true = samples[coded].reset_index(drop=True)
    predicted = decided[[f"{name}_pred" for name in answered]].set_axis(answered, axis="columns").reset_index(drop=True)
    labelled = decided["emotion"].notna().to_numpy()
    has_aus = samples.filter(regex=r"^AU\d+$").notna().any(axis="columns").to_numpy()
    rows = decided.reset_index(drop=True)
    return {
        "true_aus": _scored(rows, true, labelled & has_aus, n_boot),
        "predicted_aus": _scored(rows, predicted, labelled & bool(answered), n_boot),
    }


def emotions_by_rule(present: pd.DataFrame, classes: list[str]) -> npt.NDArray[np.intp]:
    """(rows,): the place in `classes` of the emotion whose criterion is met, -1 where none is.

    Of several that are met the one that asks for most units counts, then the first of the table. Intensities are not
    looked at. Where there is a class for it, a face that shows nothing is neutral.

    Args:
        present: columns `AU<n>` of 0, 1 or missing (taken as absent); a column that is not there is absent throughout.
        classes: of the emotion head; basic emotions fold into high-level ones.
    """
    shown = (
        present.reindex(columns=[f"AU{unit}" for unit in _UNITS]).astype("Float64").fillna(0).to_numpy(dtype=float) == 1
    )
    met = np.stack([shown[:, [_UNITS.index(u) for u in units]].all(axis=1) for _, units in _CRITERIA], axis=1)
    best = (met * [len(units) for _, units in _CRITERIA]).argmax(axis=1)
    places = np.array([_place(name, classes) for name, _ in _CRITERIA])
    without = classes.index(NEUTRAL) if NEUTRAL in classes else -1
    nothing = ~(present == 1).fillna(False).any(axis="columns").to_numpy(dtype=bool)
    return np.where(met.any(axis=1), places[best], np.where(nothing, without, -1))


def _place(emotion: str, classes: list[str]) -> int:
    name = emotion_among(emotion, classes)
    return -1 if name is None else classes.index(name)


def _scored(rows: pd.DataFrame, present: pd.DataFrame, chosen: npt.NDArray[np.bool_], n_boot: int) -> dict[str, Any]:
    if not chosen.any() or present.empty or not any(f"AU{unit}" in present for unit in _UNITS):
        return {"reason": "no picture has both an emotion label and AUs"}
    classes, rows = emotion_classes(rows), rows[chosen]
    truth, answer = class_codes(rows["emotion"], classes), emotions_by_rule(present[chosen], classes)
    resampling = resample_subjects(rows["subject"], n_boot, 0)
    model = _scores(truth, class_codes(rows["emotion_pred"], classes), len(classes), resampling)
    return {
        "n_images": len(rows),
        "n_answered": int((answer >= 0).sum()),
        **_scores(truth, answer, len(classes), resampling),
        "model": {name: model[name] for name in ("accuracy", "macro_f1")},
        "units_missing": [f"AU{unit}" for unit in _UNITS if f"AU{unit}" not in present],
    }


def _scores(
    truth: npt.NDArray[np.intp], answer: npt.NDArray[np.intp], n_classes: int, resampling: Weights
) -> dict[str, Any]:
    one_hot = np.vstack([np.eye(n_classes), np.zeros(n_classes)])  # the last row is for no answer, -1
    nothing: FloatArray = np.zeros(len(truth))
    answers = Answers((), one_hot[truth], one_hot[answer], one_hot[answer] == 1, nothing, nothing)
    right, n_people = (truth == answer).astype(np.float64), len(resampling.counts)
    shares = resampling.sums(right) / resampling.sums(np.ones_like(right))
    f1 = float(macro_f1(answers, unweighted(len(truth))).draws[0])
    return {
        "accuracy": float(right.mean()),
        "accuracy_ci": interval(shares, n_people, float(right.mean())),
        "macro_f1": number(f1),
        "macro_f1_ci": mean_interval(macro_f1(answers, resampling), n_people, f1),
    }
