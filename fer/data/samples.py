"""The sample table: what every reader returns and every later room takes, a row per image, checked at the door.

Columns, in this order: `path` (absolute), `subject`, `sequence`, `frame`, `emotion`, then one `AU<n>` per coded unit
(0/1), then what a data set has beyond that: `AU<n>_intensity` (1-5; missing = present but not graded, or absent), `x y
w h` (face box in pixels of the upright picture), `landmarks` (a file with one `x y` line per point), `reference` (a neutral
picture of the same person) and its `reference_landmarks` and `reference_x ... reference_h`. A missing label is `<NA>`, never 0.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fer.errors import FerError
from fer.labels import au_number, canonical_emotion

log = logging.getLogger(__name__)

KEY_COLUMNS = ("path", "subject", "sequence", "frame", "emotion")
BOX_COLUMNS = ("x", "y", "w", "h")
REFERENCE_BOX_COLUMNS = ("reference_x", "reference_y", "reference_w", "reference_h")
FILE_COLUMNS = ("landmarks", "reference", "reference_landmarks")

BROKEN = "image that can't be read"
NOT_FOUND = "file not found"
OUTSIDE_ROOT = "path that leads out of data.root"
UNUSABLE_IMAGES = (BROKEN, NOT_FOUND, OUTSIDE_ROOT)
"""Reasons that mean a damaged data set, not one that merely holds more than is needed."""

BAD_FACS = "malformed FACS file"
BAD_EMOTION = "malformed emotion file"
UNUSABLE_LABELS = (BAD_FACS, BAD_EMOTION)
"""Likewise, of a tree's label files, of which a sequence has one of each kind."""


@dataclass
class Skipped:
    """What a reader left out, and why: reason -> the items, so that nothing is dropped silently."""

    items: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, *items: str) -> None:
        """Counts left-out `items` (paths, rows, values), if there are any, under `reason`."""
        if items:
            self.items.setdefault(reason, []).extend(items)

    def image_items(self) -> list[tuple[str, list[str]]]:
        """The reasons of `UNUSABLE_IMAGES` that occurred, with their items."""
        return [(reason, found) for reason, found in self.items.items() if reason in UNUSABLE_IMAGES]

    @property
    def n_images(self) -> int:
        """Pictures that should have been there and could not be used: what `data.max_skipped` bounds."""
        return sum(len(found) for _, found in self.image_items())

    def counts(self) -> dict[str, int]:
        """Reason -> number of items, the most frequent first."""
        return dict(Counter({reason: len(found) for reason, found in self.items.items()}).most_common())

    def table(self) -> pd.DataFrame:
        """Columns reason and item, a row per item."""
        return pd.DataFrame(
            [(r, item) for r, found in self.items.items() for item in found], columns=["reason", "item"]
        )

    def report(self) -> None:
        """Logs one line per reason with its count and an example."""
        for reason, n in self.counts().items():
            log.warning("left out: %d x %s (e.g. %s)", n, reason, self.items[reason][0])


@dataclass
class Samples:
    """A checked sample table and what its reader skipped on the way."""

    table: pd.DataFrame
    skipped: Skipped = field(default_factory=Skipped)


def au_columns(table: pd.DataFrame) -> list[str]:
    """The AU occurrence columns of a sample table in numeric order: `["AU1", "AU2", ...]`."""
    return sorted((c for c in table.columns if au_number(c) is not None), key=lambda c: au_number(c) or 0)


def checked(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """The same table with its promised columns, types and row order, or an error that names `source`.

    Raises:
        FerError: no rows, a path twice, no subject, an AU that is not 0/1/missing, an emotion that has no name here.
    """
    if table.empty:
        raise FerError(f"{source}: no usable image was found")
    for column in ("path", "subject"):
        if column not in table.columns or table[column].isna().any():
            raise FerError(f"{source}: every row needs a value in `{column}`")
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise FerError(f"{source}: the same image stands in two rows: {twice.iloc[0]}")
    table = table.reindex(columns=table.columns.union(pd.Index(KEY_COLUMNS), sort=False))
    _check_emotions(table["emotion"], source)
    units = au_columns(table)
    extras = [c for c in table.columns if c not in (*KEY_COLUMNS, *units)]
    typed: dict[str, pd.Series] = {
        **{c: table[c].astype("string") for c in (*KEY_COLUMNS, *FILE_COLUMNS) if c in table and c != "frame"},
        "frame": pd.to_numeric(table["frame"]).astype("Int64"),
        **{c: _occurrence(table[c], c, source) for c in units},
        **{c: pd.to_numeric(table[c]).astype("Int8") for c in extras if c.endswith("_intensity")},
    }
    table = pd.DataFrame({c: typed.get(c, table[c]) for c in (*KEY_COLUMNS, *units, *extras)})
    return table.sort_values("path", ignore_index=True)


def _check_emotions(emotions: pd.Series, source: str) -> None:
    unknown = sorted({e for e in emotions.dropna().unique() if canonical_emotion(e) != e})
    if unknown:
        raise FerError(f"{source}: not the name of an emotion: {', '.join(unknown)}")


def _occurrence(column: pd.Series, name: str, source: str) -> pd.Series:
    values = pd.to_numeric(column, errors="coerce").astype("Float64")
    bad = column[(column.notna() & values.isna()) | ~values.isin([0, 1]).where(values.notna(), True).astype(bool)]
    if len(bad):
        raise FerError(f"{source}: {name} must be 0, 1 or empty, got {bad.iloc[0]!r} (row {bad.index[0]})")
    return values.astype("Int8")


def fingerprint(table: pd.DataFrame) -> str:
    """SHA-256 of the table's labels and file names: equal for equal data wherever the folder stands."""
    paths = [str(path) for path in table["path"]]
    try:
        base = os.path.commonpath([os.path.dirname(path) for path in paths])
        names = [Path(path).relative_to(base).as_posix() for path in paths]
    except ValueError:  # on several drives
        names = paths
    text = table.assign(path=names).drop(columns=list(FILE_COLUMNS), errors="ignore").to_csv(index=False)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()  # names of files need not be UTF-8
