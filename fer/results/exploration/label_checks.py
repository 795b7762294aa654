"""Do the labels of a data set agree with each other? Emotions against the AUs of their pictures, sequences against themselves.

The rule is Table 2 of Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR workshops 2010, by which the emotions of CK+ were
accepted. Other data sets were labelled by eye: there, a picture that breaks it is worth a look, no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fer.data.samples import au_columns
from fer.data.synthetic.cast import fits
from fer.labels import BASIC, BASIC_TO_HIGH_LEVEL, EMOTION_CRITERIA, NEUTRAL, au_number

CRITERIA = {
    "anger": "AU23 and AU24",
    "contempt": "AU14",
    "disgust": "AU9 or AU10",
    "fear": "AU1, AU2 and AU4; without AU4 if AU5 is at E",
    "happy": "AU12",
    "sadness": "AU1, AU4 and AU15, or AU11, or AU6 and AU15",
    "surprise": "AU1 and AU2, or AU5; AU5 not above B",
    NEUTRAL: "no AU",
}
"""Table 2 in words, and what `neutral` means."""

NAMED_UNITS = {name: {unit for units in choices for unit in units} for name, choices in EMOTION_CRITERIA.items()}
NAMED_UNITS["fear"].add(5)
"""The units that Table 2 names for each emotion."""


def unit_codes(row: Mapping[str, Any], units: list[str]) -> dict[int, int]:
    """The FACS code of a row of a sample table: present AU -> intensity 1 to 5, 0 where it is not graded."""
    code = {}
    for unit in units:
        if not pd.isna(row[unit]) and row[unit] == 1:
            grade = row.get(f"{unit}_intensity")
            code[au_number(unit) or 0] = 0 if grade is None or pd.isna(grade) else int(grade)
    return code


def meets(emotion: str, code: Mapping[int, int]) -> bool:
    """Whether a FACS code allows an emotion: a basic one, `neutral`, or a high-level one, which any of its basic ones makes."""
    if emotion == NEUTRAL:
        return not code
    return any(fits(name, code) for name in _basic(emotion))


def _basic(emotion: str) -> list[str]:
    return [emotion] if emotion in BASIC else [name for name in BASIC if BASIC_TO_HIGH_LEVEL[name] == emotion]


def _agrees(row: Mapping[str, Any], emotion: str, code: Mapping[int, int], units: list[str]) -> bool | None:
    """Whether a picture's code allows its emotion; None where that hangs on units that are not coded."""
    if emotion == NEUTRAL:
        return None if any(pd.isna(row[unit]) for unit in units) else meets(emotion, code)
    named = {unit for name in _basic(emotion) for unit in NAMED_UNITS[name]}
    unknown = {unit: 0 for unit in named if f"AU{unit}" not in units or pd.isna(row[f"AU{unit}"])}
    if unknown.keys() == named or meets(emotion, code) != meets(emotion, {**code, **unknown}):
        return None
    return meets(emotion, code)


def against_table_2(table: pd.DataFrame) -> pd.DataFrame:
    """Emotion against AUs, for every row of a sample table that has both, unless units that nobody coded could turn the answer.

    Returns:
        `path`, `subject`, `emotion`, `aus` (those present, as text), `agrees`, `also` (other emotions whose criterion is met).
    """
    units = au_columns(table)
    both = table[table["emotion"].notna() & table[units].notna().any(axis="columns")] if units else table.iloc[:0]
    rows = []
    for record in both.to_dict("records"):
        row = {str(key): value for key, value in record.items()}
        emotion = str(row["emotion"])
        code = unit_codes(row, units)
        agrees = _agrees(row, emotion, code, units)
        if agrees is None:
            continue
        also = [name for name in BASIC if name != emotion and emotion in BASIC and fits(name, code)]
        present = " ".join(f"AU{unit}" for unit in code)
        rows.append((row["path"], row["subject"], emotion, present, agrees, " ".join(also)))
    return pd.DataFrame(rows, columns=["path", "subject", "emotion", "aus", "agrees", "also"])


def unlike_sequences(table: pd.DataFrame) -> pd.DataFrame:
    """Sequences whose frames, neutral ones aside, do not all have the same labels.

    Returns:
        `subject`, `sequence`, `label` (the column that varies), `values`.
    """
    acted = table[table["sequence"].notna() & table["emotion"].ne(NEUTRAL).fillna(True)]
    found = []
    for (subject, sequence), frames in acted.groupby(["subject", "sequence"]):
        for label in ["emotion", *au_columns(table)]:
            values = sorted(map(str, frames[label].dropna().unique()))
            if len(values) > 1:
                found.append((subject, sequence, label, " ".join(values)))
    return pd.DataFrame(found, columns=["subject", "sequence", "label", "values"])
