"""The runs to compare: in, run folders or folders that hold some; out, what each says of the same pictures."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer.errors import FerError, first_line
from fer.results.predictions import au_columns, emotion_classes, read_predictions, targets_of
from fer.runs.folder import RunFolder

log = logging.getLogger(__name__)

_DEPTH = 4
"""Folders below a given one in which runs are looked for: outputs/ itself may be given."""
_BY_DEFAULT = ("val", "all")
"""Never the test people unless they are asked for: whoever chooses by them has no test left."""


@dataclass(frozen=True)
class JudgedRun:
    """A run folder with scores."""

    path: Path
    about: Mapping[str, Any]
    """`run.json`."""
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    """`metrics.json`: split -> scores."""

    @property
    def seconds(self) -> float | None:
        """Of training, in all; None where nothing was trained."""
        found: float | None = (self.about.get("timings") or {}).get("fit_s")
        return found

    @property
    def people_known(self) -> int:
        """Of the people that it was judged on, those whom its first weights had learned from."""
        return int((self.about.get("weights") or {}).get("judged_people_known") or 0)

    def dead(self, split: str) -> bool:
        """Whether a head gives the same answer for every picture."""
        return any(head["dead"] for name in ("au", "emotion") if (head := self.metrics[split].get(name)))


def read_runs(folders: Sequence[str]) -> list[JudgedRun]:
    """Every run with scores in the given folders, in their order, each once; runs without scores below a folder are left out.

    Raises:
        FerError: a folder does not exist, holds no run with scores, or is a run that has none.
    """
    found: dict[Path, JudgedRun] = {}
    for text in folders:
        given = Path(text).expanduser().absolute()
        if not given.is_dir():
            raise FerError(f"{text}: there is no such folder; give run folders, or a folder that holds some")
        paths = list(_run_folders(given))
        judged = [path for path in paths if (path / "metrics.json").is_file()]
        if not judged:
            what = "is a run without scores: it did not end" if given in paths else "holds no run with scores"
            raise FerError(f"{text} {what}")
        found |= {path: _read(path) for path in judged if path not in found}
        _tell_of_unfinished([path for path in paths if path not in judged])
    return list(found.values())


def _run_folders(given: Path) -> Iterator[Path]:
    """Folders with a `run.json`, sorted; what lies inside a run (folds, checkpoints) is its own."""
    for place, folders, files in os.walk(given):
        folders.sort()
        if "run.json" in files:
            yield Path(place)
            folders.clear()
        if len(Path(place).relative_to(given).parts) >= _DEPTH:
            folders.clear()


def _tell_of_unfinished(paths: Sequence[Path]) -> None:
    unfinished = [path for path in paths if not RunFolder.open(path).about.get("finished")]
    for path in unfinished:
        log.warning("left out, it did not end: %s", path)


def _read(path: Path) -> JudgedRun:
    folder = RunFolder.open(path)
    return JudgedRun(path, folder.about, folder.config(), folder.read_json("metrics.json"))


def chosen_split(runs: Sequence[JudgedRun], asked: str | None) -> str:
    """The split to compare on: the one asked for, else the validation people, else those of cross-validations.

    Raises:
        FerError: a run was not judged on it.
    """
    for split in (asked,) if asked else _BY_DEFAULT:
        if all(split in run.metrics for run in runs):
            return split
    lacks = next(run for run in runs if (asked or "val") not in run.metrics)
    raise FerError(
        f"{lacks.path} was not judged on split={asked or 'val'}, but on {', '.join(lacks.metrics) or 'nothing'}: "
        "split=val|test|all must be one that every run was judged on"
    )


def same_pictures(runs: Sequence[JudgedRun], split: str, *, different_splits: bool) -> list[pd.DataFrame]:
    """What every run says of the same pictures, in the same order.

    Args:
        runs: judged on the split.
        split: val, test or all.
        different_splits: take the pictures and AUs that all runs have in common instead of asking for the same.

    Raises:
        FerError: the runs were judged on other pictures, split otherwise, have other labels, or a person was learned from.
    """
    tables = [_judged_rows(run, split) for run in runs]
    if not different_splits:
        _refuse_other_people(runs, tables)
    common = tables[0].index
    for table in tables[1:]:
        common = common.intersection(table.index)
    if common.empty:
        raise FerError(f"these runs have no picture of split={split} in common: there is nobody to compare them on")
    tables = [table.loc[common.sort_values()] for table in tables]
    return _same_labels(runs, tables, different_splits=different_splits)


def _judged_rows(run: JudgedRun, split: str) -> pd.DataFrame:
    """Rows of `predictions.csv`, indexed by person, picture and how often it came before (in a repeated cross-validation)."""
    path = run.path / "predictions.csv"
    try:
        table = read_predictions(path)
        table = table[table["split"] == split].reset_index(drop=True)
        pictures = _without_root(table["path"], run.config)
        index = [table["subject"], pictures, table.groupby("path").cumcount()]
    except (OSError, KeyError, ValueError) as error:
        raise FerError(f"{path} can't be read ({first_line(error)})") from error
    try:
        _refuse_learned(run, set(table["subject"]))
    except (OSError, KeyError, ValueError) as error:
        raise FerError(f"{run.path / 'split.csv'} can't be read ({first_line(error)})") from error
    return table.set_index(pd.MultiIndex.from_arrays(index, names=["subject", "picture", "time"]))


def _without_root(paths: pd.Series, config: Mapping[str, Any]) -> pd.Series:
    """Paths below the data's own folder: the same data may lie elsewhere on another machine."""
    data = config.get("data") or {}
    root = data.get("root") or (str(Path(data["table"]).parent) if data.get("table") else None)
    return paths if root is None else paths.str.removeprefix(root.rstrip("/") + "/")


def _refuse_learned(run: JudgedRun, judged: set[str]) -> None:
    if not (run.path / "split.csv").is_file():
        return
    split = pd.read_csv(run.path / "split.csv", dtype=str, keep_default_na=False)
    learned = judged & set(split.loc[split["split"] == "train", "subject"])
    if learned:
        raise FerError(f"{run.path} has learned from {min(learned)}: its scores say nothing about new people")


def _refuse_other_people(runs: Sequence[JudgedRun], tables: Sequence[pd.DataFrame]) -> None:
    hashes = {str(found): run for run in reversed(runs) if (found := (run.about.get("data") or {}).get("split_hash"))}
    way = "fer.compare with different_splits=true compares on the pictures that they have in common"
    for run, table in zip(runs, tables, strict=True):
        if set(table.index) != set(tables[0].index):
            n_common = len(table.index.intersection(tables[0].index))
            raise FerError(
                f"{run.path.name} and {runs[0].path.name} were judged on different pictures "
                f"({len(table)} and {len(tables[0])}, {n_common} in common){f': {way}' if n_common else ''}"
            )
    if len(hashes) > 1:
        first, other = list(hashes.values())[:2]
        raise FerError(f"{first.path.name} and {other.path.name} learned from different people: {way}")


def _same_labels(
    runs: Sequence[JudgedRun], tables: Sequence[pd.DataFrame], *, different_splits: bool
) -> list[pd.DataFrame]:
    """The tables with the AUs that all answer.

    Raises:
        FerError: the heads or labels differ, so that the scores mean different things.
    """
    answered = [set(au_columns(table)) for table in tables]
    aus = set.intersection(*answered)
    if different_splits and any(answered) and not aus:
        raise FerError("these runs answer for no AU in common: their scores can't be compared (see data.aus)")
    for run, table, own in zip(runs, tables, answered, strict=True):
        pair = f"{run.path.name} and {runs[0].path.name}"
        if set(emotion_classes(table)) != set(emotion_classes(tables[0])):
            raise FerError(f"{pair} have other emotion classes: their scores can't be compared (see data.emotions)")
        if own != answered[0] and not different_splits:
            raise FerError(
                f"{pair} answer for other AUs: their scores can't be compared (see data.aus), except by "
                "fer.compare with different_splits=true, on the AUs that they have in common"
            )
        if not _same_truth(table, tables[0], sorted(aus)):
            raise FerError(f"{pair} were judged by other labels of the same pictures: their scores can't be compared")
    left_out = {f"{name}_prob" for table in tables for name in au_columns(table) if name not in aus}
    return [table.drop(columns=list(left_out & set(table.columns))) for table in tables]


def _same_truth(table: pd.DataFrame, other: pd.DataFrame, aus: list[str]) -> bool:
    if not np.array_equal(targets_of(table, aus), targets_of(other, aus), equal_nan=True):
        return False
    return not emotion_classes(table) or table["emotion"].equals(other["emotion"])
