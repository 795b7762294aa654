"""What is in a data set: in, its prepared table; out, the tables that the page, the terminal and the csv files show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fer.data.duplicates import near_identical
from fer.data.headers import read_headers
from fer.data.prepare import Prepared
from fer.data.samples import au_columns
from fer.labels import AU_NAMES, BASIC, HIGH_LEVEL, NEUTRAL, au_number
from fer.results.consistency import consistency_probe
from fer.results.exploration.label_checks import against_table_2, unlike_sequences
from fer.runs.surroundings import usable_cores

SPLITS = ("train", "val", "test")

ONE_PERSON_ALIKE = 0.95
"""Correlation from which two pictures of one person are one: two expressions of a face before one camera reach .91."""


@dataclass(frozen=True)
class Exploration:
    """Everything that was found.

    Attributes:
        table: the prepared table; beside its columns `stated` (the emotion as the data set gives it), the file's header (`width`,
            `height`, `color`, `bits`, `format`), `how` its face was found, and the longer side of its `box` in pixels.
        classes: the classes of the emotion head. aus: the units of the AU head.
        splits: per split `pictures`, `people`, and the number with each kind of label.
        people: per person `pictures`, `sequences`, `emotions`, `split`.
        emotions: per class and stated emotion `pictures`, `people`, and pictures per split.
        units: per AU `positive`, `coded`, `people`, positives per split, `1` to `5` and `not graded`, `in_head`.
        together: (AUs, AUs) pictures that show both; on the diagonal, the AU.
        by_emotion: (stated emotions, AUs) share of the pictures of that emotion that show the AU.
        rules: see `label_checks.against_table_2`, over stated emotions.
        sequences: see `label_checks.unlike_sequences`.
        alike: see `consistency.consistency_probe`, over stated emotions.
        shared: near-identical pictures of different people.
        contradicting: near-identical pictures with different emotions, those of one sequence left out.
        skipped: reason and item of whatever was left out.
        n_unusable, n_read: pictures that can't be used, and all that were listed.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    aus: list[int]
    splits: pd.DataFrame
    people: pd.DataFrame
    emotions: pd.DataFrame
    units: pd.DataFrame
    together: pd.DataFrame
    by_emotion: pd.DataFrame
    rules: pd.DataFrame
    sequences: pd.DataFrame
    alike: dict[str, Any]
    shared: pd.DataFrame
    contradicting: pd.DataFrame
    skipped: pd.DataFrame
    n_unusable: int
    n_read: int

    @property
    def broken_rules(self) -> pd.DataFrame:
        """The pictures whose emotion and AUs contradict each other."""
        return self.rules[~self.rules["agrees"].astype(bool)]


def explore(prepared: Prepared, stated: pd.DataFrame, classes: tuple[str, ...], aus: list[int]) -> Exploration:
    """Counts and compares.

    Args:
        stated: the reader's table, whose emotions are not yet classes of `data.emotions`.
        classes, aus: what the heads of a network would say.
    """
    emotions = stated.set_index("path")["emotion"]
    table = prepared.table.assign(
        stated=prepared.table["path"].map(emotions).astype("string"),
        how=prepared.pixels.how[prepared.table["pixel"]],
        box=prepared.pixels.boxes[prepared.table["pixel"], 2:].max(axis=1),
    )
    table = pd.concat([table, read_headers(table["path"])], axis="columns")
    as_stated = table.assign(emotion=table["stated"])
    return Exploration(
        table=table,
        classes=classes,
        aus=aus,
        splits=_splits(table),
        people=_people(table),
        emotions=_emotions(table, classes),
        units=_units(table, aus),
        together=_together(table),
        by_emotion=_by_emotion(table),
        rules=against_table_2(as_stated),
        sequences=unlike_sequences(as_stated),
        alike=consistency_probe(as_stated),
        shared=prepared.shared,
        contradicting=_contradicting(table, prepared),
        skipped=prepared.skipped.table(),
        n_unusable=prepared.skipped.n_images,
        n_read=prepared.n_read,
    )


def _splits(table: pd.DataFrame) -> pd.DataFrame:
    units = au_columns(table)
    counted = table.assign(
        coded=table[units].notna().any(axis="columns") if units else False, named=table["emotion"].notna()
    )
    parts = counted.groupby("split").agg(
        pictures=("path", "size"),
        people=("subject", "nunique"),
        with_emotion=("named", "sum"),
        with_aus=("coded", "sum"),
    )
    return parts.reindex([part for part in SPLITS if part in parts.index]).astype(int)


def _people(table: pd.DataFrame) -> pd.DataFrame:
    return table.groupby("subject").agg(
        pictures=("path", "size"),
        sequences=("sequence", "nunique"),
        emotions=("stated", "nunique"),
        split=("split", "first"),
    )


def _per_split(rows: pd.DataFrame) -> dict[str, int]:
    return {part: int((rows["split"] == part).sum()) for part in SPLITS}


def _emotions(table: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """A row per class, below it a row per stated emotion, if there are others than the class itself."""
    rows = []
    for name in classes:
        chosen = table[table["emotion"] == name]
        stated = chosen["stated"].value_counts()
        kinds = [("", chosen)] + [(str(kind), chosen[chosen["stated"] == kind]) for kind in stated.index]
        for kind, part in kinds if list(stated.index) != [name] else kinds[:1]:
            rows.append({"class": name, "stated": kind, **_counts(part)})
    return pd.DataFrame(rows, columns=["class", "stated", "pictures", "people", *SPLITS])


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return {"pictures": len(rows), "people": int(rows["subject"].nunique()), **_per_split(rows)}


def _units(table: pd.DataFrame, aus: list[int]) -> pd.DataFrame:
    rows = []
    for unit in au_columns(table):
        shown, number = table[table[unit] == 1], au_number(unit) or 0
        counts = _counts(shown)
        grades = shown.get(f"{unit}_intensity", pd.Series(pd.NA, shown.index, dtype="Int8"))
        rows.append(
            {"AU": unit, "meaning": AU_NAMES[number], "positive": counts.pop("pictures"), "coded": table[unit].count()}
            | counts
            | {str(grade): int((grades == grade).sum()) for grade in range(1, 6)}
            | {"not graded": int(grades.isna().sum()), "in_head": number in aus}
        )
    heads = ["AU", "meaning", "positive", "coded", "people", *SPLITS, *"12345", "not graded", "in_head"]
    return pd.DataFrame(rows, columns=heads)


def _together(table: pd.DataFrame) -> pd.DataFrame:
    units = [unit for unit in au_columns(table) if (table[unit] == 1).any()]
    shown = table[units].eq(1).fillna(False).to_numpy(dtype=np.int64).reshape(len(table), len(units))
    return pd.DataFrame(shown.T @ shown, index=units, columns=units)


def _by_emotion(table: pd.DataFrame) -> pd.DataFrame:
    units = [unit for unit in au_columns(table) if (table[unit] == 1).any()]
    rows = {
        name: table.loc[table["stated"] == name, units].astype("Float64").mean()
        for name in dict.fromkeys((*BASIC, *HIGH_LEVEL, NEUTRAL))
        if units and table.loc[table["stated"] == name, units].notna().any(axis=None)
    }
    return pd.DataFrame(rows, index=units).T.astype("float64")


def _contradicting(table: pd.DataFrame, prepared: Prepared) -> pd.DataFrame:
    named = table[table["stated"].notna()].reset_index(drop=True)
    places = named["pixel"].to_numpy(dtype=np.int64)
    pairs = near_identical(prepared.pixels.array, places, named["stated"].to_numpy(dtype=str), jobs=usable_cores())
    columns = ["path", "subject", "stated", "sequence"]
    one = named.iloc[pairs["first"]][columns].reset_index(drop=True)
    other = named.iloc[pairs["second"]][columns].reset_index(drop=True).add_prefix("other_")
    found = pd.concat([one, other, pairs[["alike", "mirrored"]]], axis="columns")
    one_person = found["subject"] == found["other_subject"]
    one_sequence = one_person & found["sequence"].eq(found["other_sequence"]).fillna(False).astype(bool)
    return found[~one_sequence & (~one_person | (found["alike"] >= ONE_PERSON_ALIKE))].reset_index(drop=True)
