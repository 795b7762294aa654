"""The labels in a table: the columns of emotions and action units in, checked values out, a row per line."""

from __future__ import annotations

import logging
import re

import pandas as pd

from fer.data.samples import Skipped
from fer.data.table_file import TableFile
from fer.errors import FerError
from fer.labels import BASIC, BASIC_TO_HIGH_LEVEL, HIGH_LEVEL, NEUTRAL, au_number, canonical_emotion

log = logging.getLogger(__name__)

EMOTION_COLUMNS = ("emotion", "high_level_emotion", "expression", "label")

UNKNOWN_AU = "column of an AU that FACS does not have"
OTHER_AU = "column of an AU that is named neither AU<n> nor AU<n>_intensity"

_AU = re.compile(r"(AU\d+)(_intensity)?", re.IGNORECASE)
_OTHER_AU = re.compile(r"(F?AU|action.?unit)[ _.-]?\d+", re.IGNORECASE)


def named_as_au(column: str) -> bool:
    """Whether a column's name begins like that of an action unit: such a one is taken, or counted as left out."""
    return bool(_AU.fullmatch(column) or _OTHER_AU.match(column))


def labels(file: TableFile, skipped: Skipped) -> pd.DataFrame:
    """`emotion`, `AU<n>` and `AU<n>_intensity` as far as the file has them, a row per line.

    Args:
        skipped: gets the columns of units that are not taken.

    Raises:
        FerError: no label column, two of one name, an intensity without its AU, or a value that is not allowed.
    """
    found: dict[str, pd.Series] = {}
    if emotion := file.find(*EMOTION_COLUMNS):
        found["emotion"] = _emotions(file, emotion)
        if emotion == file.find(EMOTION_COLUMNS[0]) and (coarse := file.find(EMOTION_COLUMNS[1])):
            found["emotion"] = _filled_up(file, found["emotion"], _emotions(file, coarse))
    for column in file.cells.columns:
        match = _AU.fullmatch(column)
        unit = au_number(match[1]) if match else None
        if not match and _OTHER_AU.match(column):
            skipped.add(OTHER_AU, column)
        elif match and unit is None:
            skipped.add(UNKNOWN_AU, column)
        elif match:
            name = f"AU{unit}{'_intensity' if match[2] else ''}"
            if name in found:
                raise FerError(f"{file.path}: two columns for {name}")
            found[name] = _intensities(file, column) if match[2] else _occurrences(file, column)
    lonely = [name for name in found if name.endswith("_intensity") and name.removesuffix("_intensity") not in found]
    if lonely:
        raise FerError(
            f"{file.path}: {lonely[0]} needs the column {lonely[0].removesuffix('_intensity')} (0 or 1) beside it"
        )
    for name in (name for name in found if name.endswith("_intensity")):
        absent = found[name].notna() & (found[name.removesuffix("_intensity")] == 0)
        file.refuse(file.find(name) or name, absent, "0 or empty where the AU is 0")
    if not found:
        raise FerError(f"{file.path}: no label column; name them emotion, AU1, AU2, AU4, ...")
    return pd.DataFrame(found)


def _filled_up(file: TableFile, emotion: pd.Series[str], coarse: pd.Series[str]) -> pd.Series[str]:
    apart = (
        coarse.notna()
        & (emotion.map(BASIC_TO_HIGH_LEVEL).fillna(emotion) != coarse)
        & emotion.notna()
        & (emotion != coarse)
    )
    if apart.any():
        log.warning(
            "%s: %d rows whose high-level emotion is not that of their emotion, the first in line %d: the emotion counts",
            file.path,
            apart.sum(),
            apart.idxmax(),
        )
    return emotion.fillna(coarse)


def _emotions(file: TableFile, column: str) -> pd.Series[str]:
    words = file.labels(column)
    names = {word: canonical_emotion(word) for word in words.dropna().unique()}
    allowed = f"{', '.join((*BASIC, NEUTRAL, *HIGH_LEVEL[:2]))} or empty"
    file.refuse(column, words.notna() & words.map(names).isna(), allowed)
    return words.map(names)


def _occurrences(file: TableFile, column: str) -> pd.Series[float]:
    numbers = file.numbers(column, "0, 1 or empty")
    graded = "0, 1 or empty; these look like intensities: put them in a column AU<n>_intensity"
    file.refuse(column, numbers.isin(range(2, 6)), graded)
    file.refuse(column, numbers.notna() & ~numbers.isin((0, 1)), "0, 1 or empty")
    return numbers


def _intensities(file: TableFile, column: str) -> pd.Series[int]:
    numbers = file.numbers(column, "0 to 5 or empty")
    file.refuse(column, numbers.notna() & ~numbers.isin(range(6)), "the whole numbers 0 to 5 or empty")
    return numbers.where(numbers > 0).astype("Int8")
