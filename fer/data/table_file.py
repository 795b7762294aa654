"""A csv or tsv file as text cells with line numbers, and the checks that turn its columns into values."""

from __future__ import annotations

import csv
import itertools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fer.errors import FerError

log = logging.getLogger(__name__)

MISSING_WORDS = ("", "na", "n/a", "nan", "none", "null", "<na>")


_SEPARATOR = re.compile(r"sep=.?\s*$", re.IGNORECASE)

LONGEST_SHOWN = 80
"""Characters of a cell in a message."""


@dataclass
class TableFile:
    """The cells of a file as stripped text (empty = `""`), indexed by line number, under the names of its header."""

    path: Path
    cells: pd.DataFrame
    read_columns: set[str] = field(default_factory=set)
    """Those that somebody asked for, by name or for their values."""

    @classmethod
    def read(cls, path: Path, key: str = "data.table") -> TableFile:
        """Reads a UTF-8 file (byte order mark or not) with a header line, which tells `,`, `;` and tab apart.

        Args:
            key: the setting that named the file, for messages.

        Raises:
            FerError: no such file, not text, a line longer than those before, a column name twice, no rows.
        """
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
            raise FerError(f"{key}: {path} is no file")
        try:
            with path.open(encoding="utf-8-sig") as file:
                # a spreadsheet may begin with a line that names the separator
                n_blank = sum(
                    1 for _ in itertools.takewhile(lambda line: not line.strip() or _SEPARATOR.match(line), file)
                )
                file.seek(0)
                header = next((line for line in file if line.strip() and not _SEPARATOR.match(line)), "")
            separator = max(",", ";", "\t", key=header.count)
            raw = pd.read_csv(
                path,
                sep=separator,
                header=None,
                dtype=str,
                keep_default_na=False,
                skip_blank_lines=False,
                skiprows=n_blank,
                encoding="utf-8-sig",
            )
        except OSError as error:
            raise FerError(f"{key}: {path} can't be read: {error.strerror}") from error
        except pd.errors.ParserError as error:
            counted = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
            if counted is None:
                raise FerError(f"{key}: {path} is not a csv file: {' '.join(str(error).split())}") from error
            said = f"its header has {counted[1]} columns, and line {n_blank + int(counted[2])} has {counted[3]} cells"
            raise FerError(f"{key}: {path} can't be read as a table: {said}") from error
        except (UnicodeDecodeError, pd.errors.EmptyDataError) as error:
            raise FerError(f"{key}: {path} is not a csv file in UTF-8: {' '.join(str(error).split())}") from error
        raw = raw.fillna("")
        # a quoted cell may hold line breaks
        breaks = raw.apply(_of_each, how=lambda words: words.str.count("\n")).sum(axis="columns")
        raw.index = pd.RangeIndex(n_blank + 1, n_blank + len(raw) + 1) + breaks.cumsum().shift(fill_value=0).to_numpy()
        _tell_of_odd_rows(path, _short_rows(path, key, separator, n_blank), raw.index[breaks > 0])
        return cls(path, _with_header(path, key, raw.apply(_of_each, how=lambda words: words.str.strip())))

    def find(self, *names: str) -> str | None:
        """The column that bears the first of `names` that is there, whatever its case."""
        columns = {column.lower(): column for column in self.cells.columns}
        found = next((columns[name.lower()] for name in names if name.lower() in columns), None)
        self.read_columns |= {found} if found else set()
        return found

    def text(self, column: str) -> pd.Series[str]:
        """The column as text, empty cells missing."""
        self.refuse_controls(column)
        return self.cells[column].where(self.cells[column] != "")

    def filled(self, column: str) -> pd.Series[str]:
        """The column as text; an empty cell is an error."""
        self.refuse_controls(column)
        self.refuse(column, self.cells[column] == "", "any text")
        return self.cells[column]

    def labels(self, column: str) -> pd.Series[str]:
        """The column as text, missing where it is empty or says so in words."""
        self.read_columns.add(column)
        return _of_each(self.cells[column], lambda words: words.where(~words.str.lower().isin(MISSING_WORDS)))

    def numbers(self, column: str, allowed: str) -> pd.Series[float]:
        """The column as `Float64`, missing as in `labels`; other text is an error that says what is `allowed`."""
        texts = self.labels(column)
        numbers = _of_each(texts.fillna(""), lambda words: pd.to_numeric(words, errors="coerce").astype("Float64"))
        self.refuse(column, texts.notna() & numbers.isna(), allowed)
        return numbers

    def refuse_controls(self, column: str) -> None:
        """Raises a FerError for the first line with a control character: a name has none, and a line break is a quote left open."""
        found = _of_each(self.cells[column], lambda words: words.str.contains(r"[\x00-\x1f\x7f]"))
        self.refuse(column, found, "text without line breaks and control characters (a quote left open takes in lines)")

    def refuse(self, column: str, wrong: pd.Series[bool], allowed: str) -> None:
        """Raises a FerError for the first line that is `wrong` (a missing value is not)."""
        lines = wrong.index[wrong.fillna(False).astype(bool)]
        if len(lines):
            value = str(self.cells.at[lines[0], column])
            value = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            raise FerError(f"{self.path}, line {lines[0]}{more}: column {column} is {value!r}; allowed: {allowed}")


def _of_each(column: pd.Series[str], how: Callable[[pd.Series[str]], pd.Series]) -> pd.Series:
    """`how` of a column without missing cells, done once for each different cell: a million labels are few words."""
    codes, words = pd.factorize(column)
    return pd.Series(how(pd.Series(words, dtype=column.dtype)).array.take(codes), column.index, name=column.name)


def _short_rows(path: Path, key: str, separator: str, n_blank: int) -> list[int]:
    """The lines with fewer cells than the header, empty lines aside: pandas fills them up and does not say so.

    Raises:
        FerError: a cell is longer than any label or path (`csv.field_size_limit`).
    """
    short, width, before = [], 0, n_blank
    with path.open(encoding="utf-8-sig", newline="") as file:
        for _ in range(n_blank):
            file.readline()
        rows = csv.reader(file, delimiter=separator)
        try:
            for row in rows:
                width = width or len(row)
                if row and len(row) < width:
                    short.append(before + 1)
                before = n_blank + rows.line_num
        except csv.Error as error:
            raise FerError(f"{key}: {path}, line {before + 1}: {error}: was a quote left open there?") from error
    return short


def _tell_of_odd_rows(path: Path, short: list[int], broken: pd.Index[int]) -> None:
    if short:
        log.warning(
            "%s: %d rows have fewer cells than its header, the first in line %d: what lacks is empty",
            path,
            len(short),
            short[0],
        )
    if len(broken):
        log.warning(
            "%s: %d rows have cells with line breaks, the first in line %d: if a quote was left open there, it takes in the rows below",
            path,
            len(broken),
            broken[0],
        )


def _with_header(path: Path, key: str, raw: pd.DataFrame) -> pd.DataFrame:
    names = raw.iloc[0].tolist()
    lowered = [name.lower() for name in names if name]
    twice = next((name for name in lowered if lowered.count(name) > 1), None)
    if twice:
        raise FerError(f"{key}: {path} has two columns named {twice}")
    cells = raw.iloc[1:].set_axis(names, axis="columns")
    cells = cells.loc[(cells != "").any(axis=1), [name for name in names if name]]
    if cells.empty:
        raise FerError(f"{key}: {path} has no rows below its header")
    return cells
