"""The predictions table: in, the rows of `predictions.csv`; out, the arrays that every score is computed from.

Columns: `path, subject, split`, then per AU `AU12` (target, missing allowed) `AU12_prob` `AU12_pred`, then `emotion`
`emotion_pred` and one `emotion_prob_<name>` per class. A model with one head has the columns of that head only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.errors import FerError
from fer.labels import au_number
from fer.results.presence import is_present

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Thresholds = Mapping[str, float] | Mapping[str, FloatArray]
"""Per AU, by its column, the probability from which it counts as present: one number, or [rows] where each row has its own."""

_EMOTION_PREFIX = "emotion_prob_"
_SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped here before a logarithm: one saturated answer costs 16 nats, not infinity."""


@dataclass(frozen=True)
class Answers:
    """What one head answered and what was true. Arrays of shape (images, labels) unless said otherwise."""

    labels: tuple[str, ...]
    """AU columns, or emotion classes."""
    targets: FloatArray
    """0, 1, or nan where the label is missing; one-hot rows for emotions."""
    scores: FloatArray
    """Probabilities, 0 to 1."""
    decisions: BoolArray
    """Thresholded AUs, or the one-hot predicted emotion."""
    loss_sums: FloatArray
    """(images,): cross-entropy in nats, summed over the labelled cells of the image."""
    loss_counts: FloatArray
    """(images,): the number of terms in `loss_sums`."""


def read_predictions(path: Path) -> pd.DataFrame:
    """Reads a `predictions.csv` with text ids kept as text."""
    texts = ("path", "subject", "split", "emotion", "emotion_pred")
    # only an empty cell is a missing value: a person may be called NA
    return pd.read_csv(path, dtype={name: "str" for name in texts}, keep_default_na=False, na_values=[""])


def au_columns(predictions: pd.DataFrame) -> list[str]:
    """The AUs that the model answers, as target column names (`AU12`), in the order of the table."""
    names = [column.removesuffix("_prob") for column in predictions.columns if column.endswith("_prob")]
    return [name for name in names if au_number(name) is not None]


def emotion_classes(predictions: pd.DataFrame) -> list[str]:
    """The classes of the emotion head, in the order of the table; empty without that head."""
    return [c.removeprefix(_EMOTION_PREFIX) for c in predictions.columns if c.startswith(_EMOTION_PREFIX)]


def targets_of(table: pd.DataFrame, columns: list[str]) -> FloatArray:
    """(rows, columns): 0, 1 or nan, from whatever dtype the columns have."""
    numeric = table[columns].apply(pd.to_numeric)
    values: FloatArray = numeric.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def probabilities_of(predictions: pd.DataFrame, columns: list[str]) -> FloatArray:
    """(rows, columns) of probabilities.

    Raises:
        FerError: a probability is missing or not finite: the network has diverged.
    """
    values = predictions[columns].to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        worst = columns[int(bad.sum(axis=0).argmax())]
        raise FerError(
            f"predictions: {int(bad.sum())} probabilities are not numbers (most in column {worst}): "
            "the network has diverged; lower optimizer.lr or use trainer.precision=32"
        )
    return values


def au_answers(predictions: pd.DataFrame, thresholds: Thresholds) -> Answers:
    """The AU head's answers: an AU is present where its probability is at or above its threshold."""
    names = au_columns(predictions)
    scores = probabilities_of(predictions, [f"{name}_prob" for name in names])
    limits = np.column_stack([np.broadcast_to(thresholds[name], len(predictions)) for name in names])
    return binary_answers(names, targets_of(predictions, names), scores, is_present(scores, limits))


def binary_answers(names: list[str], targets: FloatArray, scores: FloatArray, decisions: BoolArray) -> Answers:
    """Independent yes/no labels with binary cross-entropy."""
    known = ~np.isnan(targets)
    safe = np.clip(scores, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    cost = np.where(targets == 1, -np.log(safe), -np.log1p(-safe))
    sums, counts = np.where(known, cost, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64)
    return Answers(tuple(names), targets, scores, decisions, sums, counts)


def emotion_answers(predictions: pd.DataFrame) -> Answers:
    """The emotion head's answers, one-hot. Rows without an emotion label are nan throughout.

    Raises:
        FerError: `emotion` or `emotion_pred` holds a name that the head does not have.
    """
    classes = emotion_classes(predictions)
    scores = probabilities_of(predictions, [_EMOTION_PREFIX + name for name in classes])
    truth = class_codes(predictions["emotion"], classes)
    answer = class_codes(predictions["emotion_pred"], classes)
    return class_answers(classes, truth, scores, answer)


def class_answers(
    classes: list[str], truth: npt.NDArray[np.intp], scores: FloatArray, answer: npt.NDArray[np.intp]
) -> Answers:
    """One class of several with cross-entropy; `truth` and `answer` are (images,) class codes, -1 = no label."""
    one_hot = np.eye(len(classes))
    known = truth >= 0
    targets = np.where(known[:, None], one_hot[truth], np.nan)
    of_true_class = np.take_along_axis(scores, np.maximum(truth, 0)[:, None], axis=1)[:, 0]
    cost = np.where(known, -np.log(np.clip(of_true_class, _SMALLEST_PROBABILITY, 1.0)), 0.0)
    return Answers(tuple(classes), targets, scores, one_hot[answer] == 1, cost, known.astype(np.float64))


def by_label(decided: pd.DataFrame) -> Iterator[tuple[str, FloatArray, FloatArray, BoolArray]]:
    """Each AU, then each emotion against the rest: its name, and of every row the target 0, 1 or nan, the probability and the decision."""
    for name in au_columns(decided):
        targets, probabilities = targets_of(decided, [name])[:, 0], decided[f"{name}_prob"].to_numpy(dtype=float)
        yield name, targets, probabilities, decided[f"{name}_pred"].to_numpy() == 1
    classes = emotion_classes(decided)
    for k, name in enumerate(classes):
        truth, answer = (class_codes(decided[column], classes) for column in ("emotion", "emotion_pred"))
        probabilities = decided[f"{_EMOTION_PREFIX}{name}"].to_numpy(dtype=float)
        yield name, np.where(truth < 0, np.nan, truth == k), probabilities, answer == k


def class_codes(names: pd.Series, classes: list[str]) -> npt.NDArray[np.intp]:
    """(rows,): the index of each name in `classes`, -1 where it is missing.

    Raises:
        FerError: a name that is not among the classes.
    """
    codes = pd.Index(classes).get_indexer(pd.Index(names.astype("str")))
    unknown = names[(codes < 0) & names.notna().to_numpy()]
    if not unknown.empty:
        raise FerError(
            f"predictions: column {names.name} holds {unknown.iloc[0]!r}, which is no class of this emotion head "
            f"({', '.join(classes)}); judge with the data.emotions that the model was trained on"
        )
    return codes
