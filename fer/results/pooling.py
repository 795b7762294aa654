"""What the folds of a cross-validation say together: in, their run folders; out, one predictions table and its scores.

Pooled: every person once (per repeat), answered by the fold that never saw them; intervals come from drawing people. Over the folds:
mean and standard deviation of each fold's own numbers, which say how much a number hangs on who is in the test.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer.errors import FerError
from fer.results.consistency import consistency_probe
from fer.results.predictions import FloatArray, Thresholds, au_columns, read_predictions
from fer.results.probes import probe_answers
from fer.results.reliability import reliability_of_folds
from fer.results.scores import judge
from fer.runs.folder import RunFolder

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
        fold's own thresholds, with `folds`: `n`, and of each their `numbers` and `each` of what is in `HEADLINES`, with `mean` and `sd`.

    Raises:
        FerError: a fold has no test predictions, or the folds differ in their labels or don't make a whole.
    """
    judged = _judged(folds)
    tables, scores = [table for table, _ in judged], [score for _, score in judged]
    columns = {tuple(table.columns) for table in tables}
    if len(columns) > 1:
        raise FerError("the folds have answers for different labels: they can't be pooled")
    numbers = [int(table["fold"].iloc[0]) for table in tables]
    tables, n_repeats = _judged_in_each_repeat(tables)
    table = pd.concat(tables, ignore_index=True)
    thresholds: Thresholds = {name: _per_row(name, tables, scores) for name in au_columns(table)}
    pooled = judge(table, thresholds, n_boot=n_boot)
    temperatures = [_temperatures(score) for score in scores]
    if told := [score["probes"]["identity"] for score in scores if "probes" in score]:
        pooled["probes"] = {"identity": _identity(told, n_repeats)}
    for head, block in reliability_of_folds(list(zip(tables, temperatures, strict=True))).items():
        pooled[head]["calibration"] = block
    _count_pictures_once(pooled, n_repeats)
    pooled["folds"] = {"n": len(scores), "numbers": numbers, **over_folds(scores)}
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


def _judged(folds: Sequence[Path]) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    """Of each fold its test people and their scores; without folds that have nobody to judge.

    Raises:
        FerError: that is none.
    """
    found = []
    for number, path in enumerate(folds):
        predictions, metrics = read_predictions(path / "predictions.csv"), RunFolder(path, {}).read_json("metrics.json")
        test = predictions[predictions["split"] == "test"]
        if "test" in metrics:
            found.append((test.assign(split="all", fold=number), metrics["test"]))
        else:
            log.warning("fold %d has nobody to judge, as no picture of its test people could be read: left out", number)
    if not found:
        raise FerError(f"{folds[0].parent} has no predictions of test people: these are no finished folds")
    return found


def _temperatures(scores: dict[str, Any]) -> dict[str, float]:
    blocks = {head: scores.get(head, {}).get("calibration") for head in ("au", "emotion")}
    return {head: block["temperature"] for head, block in blocks.items() if block}


def pool_probes(decided: pd.DataFrame, samples: pd.DataFrame, shared: pd.DataFrame) -> dict[str, Any]:
    """The honesty probes of a cross-validation (`fer.results.probes`) without that of identity, of each picture once.

    Args:
        decided: the pooled predictions.
        samples: the sample table; pictures that are not in it are left out.
        shared: near-identical pictures under two people, of the whole data.
    """
    once = decided[~decided.duplicated("path")]
    there = once["path"].isin(samples["path"])
    if not there.all():
        log.warning("probed without %d pictures that can't be read any more", (~there).sum())
    once = once[there]
    pairs = shared[shared["path"].isin(once["path"]) & shared["other_path"].isin(once["path"])]
    place = decided.assign(repeat=decided.groupby("path").cumcount()).pivot(
        index="path", columns="repeat", values="fold"
    )
    # in any repeat: it is judged by a network that saw the other
    apart = place.loc[pairs["path"]].to_numpy() != place.loc[pairs["other_path"]].to_numpy()
    across = apart.any(axis=1).sum()
    rows = samples.set_index("path", drop=False).loc[once["path"]].reset_index(drop=True)
    return {
        **probe_answers(once.reset_index(drop=True), rows),
        "labels": consistency_probe(rows),
        "near_identical": {"pairs": len(pairs), "across_splits": int(across)},
    }


def _identity(each: Sequence[dict[str, Any]], n_repeats: int) -> dict[str, Any]:
    """As the features of each fold's own network tell it: the mean over the folds, weighed by their pictures, without an interval."""
    told = [one for one in each if "reason" not in one]
    if not told:
        return dict(each[0])
    n_images = [one["n_images"] for one in told]
    means = {name: float(np.average([one[name] for one in told], weights=n_images)) for name in ("accuracy", "chance")}
    counts = {name: int(np.sum([one[name] for one in told])) // n_repeats for name in ("n_images", "n_subjects")}
    return {**means, "accuracy_ci": None, **counts, "n_features": told[0]["n_features"]}


def _per_row(name: str, tables: Sequence[pd.DataFrame], scores: Sequence[dict[str, Any]]) -> FloatArray:
    """The threshold that decided each row. A fold without any AU label in its test part says none, and has nothing to decide."""
    chosen = [score["au"]["per_au"][name]["threshold"] if "au" in score else 0.5 for score in scores]
    return np.repeat(np.array(chosen, dtype=np.float64), [len(table) for table in tables])


def _at(score: dict[str, Any], place: tuple[str, ...]) -> float | None:
    found: Any = score
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, float) else None
