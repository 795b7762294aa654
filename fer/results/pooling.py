"""What the folds of a cross-validation say together: in, their run folders; out, one predictions table and its scores.

Pooled: every person once (per repeat), answered by the fold that never saw them; intervals come from drawing people. Over the folds:
mean and standard deviation of each fold's own numbers, which say how much a number hangs on who is in the test.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer.errors import FerError
from fer.results.predictions import FloatArray, Thresholds, au_columns, read_predictions
from fer.results.scores import judge

log = logging.getLogger(__name__)

HEADLINES = {
    "score": ("score",),
    "au_macro_f1": ("au", "macro", "f1"),
    "au_macro_auc": ("au", "macro", "auc"),
    "au_macro_ap": ("au", "macro", "ap"),
    "emotion_accuracy": ("emotion", "accuracy"),
    "emotion_macro_f1": ("emotion", "macro", "f1"),
}
"""Name in `folds` -> place in a split's part of `metrics.json`."""


def pool(folds: Sequence[Path], n_boot: int = 1000) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Pools the test people of all folds.

    Args:
        folds: finished run folders; each has judged its own test people with thresholds from its own validation people.

    Returns:
        The predictions with columns `fold` and `split` = `all`, and the content of `metrics.json`: `all`, judged with each
        fold's own thresholds, with `folds`: `n`, `mean`, `sd` and `each` of the numbers in `HEADLINES`.

    Raises:
        FerError: a fold has no test predictions, or the folds differ in their labels or don't make a whole.
    """
    judged = [_fold(path, number) for number, path in enumerate(folds)]
    tables, scores = [table for table, _ in judged], [score for _, score in judged]
    columns = {tuple(table.columns) for table in tables}
    if len(columns) > 1:
        raise FerError("the folds have answers for different labels: they can't be pooled")
    tables, n_repeats = _judged_in_each_repeat(tables)
    table = pd.concat(tables, ignore_index=True)
    thresholds: Thresholds = {name: _per_row(name, tables, scores) for name in au_columns(table)}
    pooled = judge(table, thresholds, n_boot=n_boot)
    _count_pictures_once(pooled, n_repeats)
    pooled["folds"] = {"n": len(folds), **over_folds(scores)}
    return table, {"all": pooled}


def _judged_in_each_repeat(tables: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], int]:
    """The tables without pictures that could not be read in some repeat, and the number of repeats.

    Raises:
        FerError: a picture is judged more often than people are.
    """
    table = pd.concat(tables)
    n_judged = table.groupby("path").size()
    repeats = int(table.groupby("subject")["fold"].nunique().mode().iloc[0])
    if n_judged.max() > repeats:
        raise FerError(
            f"the folds are no cross-validation together: {n_judged.idxmax()} is judged {n_judged.max()} times, most people {repeats}"
        )
    known = n_judged.index[n_judged == repeats]
    if len(known) < len(n_judged):
        log.warning("left out, as not every repeat could read them: %d pictures", len(n_judged) - len(known))
    return [fold[fold["path"].isin(known)] for fold in tables], repeats


def _count_pictures_once(scores: dict[str, Any], n_repeats: int) -> None:
    """Numbers of pictures as they are, in place; the confusion matrix stays one of answers, of which there is one per repeat."""
    sections = [scores[head] for head in ("au", "emotion") if head in scores]
    labels = [
        label for section in sections for key in ("per_au", "per_class") for label in section.get(key, {}).values()
    ]
    for counts in (scores, *sections, *labels):
        counts |= {name: counts[name] // n_repeats for name in ("n_images", "n", "n_positive") if name in counts}


def over_folds(scores: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """`mean` and `sd` (with n - 1) over the folds, and `each` fold's numbers; a number that no fold has is left out."""
    each = [
        {name: found for name, place in HEADLINES.items() if (found := _at(score, place)) is not None}
        for score in scores
    ]
    numbers = pd.DataFrame(each)
    return {
        "mean": numbers.mean().to_dict(),
        "sd": {name: None if pd.isna(sd) else float(sd) for name, sd in numbers.std().items()},
        "each": each,
    }


def _fold(path: Path, number: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    predictions = read_predictions(path / "predictions.csv")
    metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
    test = predictions[predictions["split"] == "test"]
    if test.empty:
        raise FerError(f"{path} has no predictions of test people: it is no finished fold")
    return test.assign(split="all", fold=number), metrics["test"]


def _per_row(name: str, tables: Sequence[pd.DataFrame], scores: Sequence[dict[str, Any]]) -> FloatArray:
    """The threshold that decided each row. A fold without any AU label in its test part says none, and has nothing to decide."""
    chosen = [score["au"]["per_au"][name]["threshold"] if "au" in score else 0.5 for score in scores]
    return np.repeat(np.array(chosen, dtype=np.float64), [len(table) for table in tables])


def _at(score: dict[str, Any], place: tuple[str, ...]) -> float | None:
    found: Any = score
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, float) else None
