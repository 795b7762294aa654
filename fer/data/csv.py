"""Table reader: any csv or tsv with a path and a subject per image in, a sample table out. No image is opened.

| taken | from the first column that is named (upper and lower case alike) |
| --- | --- |
| path | `path`, `filepath`, `file_path`, `image_path`, `file`, `filename`, `image`, `img` |
| subject | what `data.subject` says; by default also `subject_id`, `person`, `person_id`, `participant`, `identity` |
| emotion | `emotion`, and where that is empty `high_level_emotion`; else `expression`, `label` |
| AUs | each of `AU1`, `AU01`, `au12`, ... (0, 1 or empty), beside it `AU1_intensity` (0 to 5 or empty; 0 = no grade) |
| optional | `sequence`; `frame` or `image_index`; `x`, `y`, `w` or `width`, `h` or `height` (all four); `landmarks`; `reference` |

An empty label (also `NA`, `NaN`, `None`, `null`) is a missing one. A value that is not allowed ends the reading with
its line, because a table that is wrong in one place is wrong in more. Rows without any label and rows whose file can't
be had are left out and stand in `Samples.skipped`.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from pathlib import Path

import pandas as pd

from fer.data.csv_labels import labels, named_as_au
from fer.data.samples import BOX_COLUMNS, NOT_FOUND, OUTSIDE_ROOT, Samples, Skipped, checked
from fer.data.table_file import MISSING_WORDS, TableFile
from fer.errors import FerError
from fer.labels import au_number

log = logging.getLogger(__name__)

PATH_COLUMNS = ("path", "filepath", "file_path", "image_path", "file", "filename", "image", "img")
SUBJECT_COLUMNS = ("subject", "subject_id", "person", "person_id", "participant", "identity")
FRAME_COLUMNS = ("frame", "image_index")

_NAMED = 12
"""Columns that are named in one message."""

NO_LABEL = "row with neither AU nor emotion label"
NO_LANDMARKS = "landmark file not found"
NO_REFERENCE = "neutral picture that is not there"


def read(table: Path, root: Path | None, subject: str, frames: str = "peak", reference: bool = False) -> Samples:
    """Reads a table of labelled images; each of its rows is a sample.

    Args:
        table: a csv or tsv file in UTF-8 with a header line and `,`, `;` or tab between its columns.
        root: the folder that relative paths start from (None: the folder of `table`). When given, no path may lead out
            of it; links inside it are followed.
        subject: name of the column that says who is on the image; `path` declares that no person is on two images.
        frames: has no effect on a table beyond a warning where it is not `peak`.
        reference: whether the column `reference` is wanted: the path of a neutral picture of the same person.

    Raises:
        FerError: a table or root that can't be read, no path, subject or label column, a value that is not allowed, an
            image in two rows, or no image to be found.
    """
    if frames != "peak":
        log.warning("data.frames=%s has no effect on a table: every row of %s is a sample as it is", frames, table)
    table, root = table.expanduser(), root and root.expanduser()
    if root is not None and not root.is_dir():
        raise FerError(f"data.root: {root} {'is not a folder' if root.exists() else 'does not exist'}")
    file, skipped = TableFile.read(table), Skipped()
    places = _places(file)
    samples = pd.concat([labels(file, skipped), _optional(file)], axis=1)
    samples = everyone = samples.assign(subject=_subjects(file, subject, places))
    samples = _labelled(file, samples, skipped)
    samples = samples.assign(path=_existing(file, places[samples.index], root, skipped)).dropna(subset=["path"])
    _no_image_twice(file, samples["path"])
    sequences = samples.reindex(columns=["subject", "sequence"]).dropna()
    if frames == "peak" and sequences.duplicated().any():
        log.info("every row of %s is a sample as it is: data.frames has no effect on a table", table)
    if landmarks := file.find("landmarks"):
        samples["landmarks"] = _found(file.text(landmarks)[samples.index], NO_LANDMARKS, table, root, skipped)
    if reference:
        samples = _with_references(file, samples, everyone.assign(path=_resolved(places, table, root)), root, skipped)
    _tell_of_unread(file)
    return Samples(checked(samples, str(table)), skipped)


def _tell_of_unread(file: TableFile) -> None:
    unread = [column for column in file.cells.columns if column not in file.read_columns and not named_as_au(column)]
    if unread:
        more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        log.info("%s: columns that are not read: %s%s", file.path, ", ".join(unread[:_NAMED]), more)


def _with_references(
    file: TableFile, samples: pd.DataFrame, everyone: pd.DataFrame, root: Path | None, skipped: Skipped
) -> pd.DataFrame:
    """With `reference`, and where that is a row of the table, too, the landmarks and the face box of it, by which it is cut.

    Args:
        everyone: all rows, with or without a label.
    """
    column = file.find("reference")
    if column is None:
        raise FerError(
            f"{file.path}: data.reference=neutral needs a column `reference`: the path of a neutral picture of the same person"
        )
    samples["reference"] = _found(file.text(column)[samples.index], NO_REFERENCE, file.path, root, skipped)
    _refuse_others_faces(file, samples, everyone)
    if landmarks := file.find("landmarks"):
        paths = _resolved(file.text(landmarks), file.path, root)
        everyone = everyone.assign(landmarks=paths.where(paths.map(os.path.isfile, na_action="ignore").eq(True)))
    where = [name for name in ("landmarks", *BOX_COLUMNS) if name in everyone]
    rows = everyone.dropna(subset=["path"]).drop_duplicates("path").set_index("path")
    its = rows[where].reindex(samples["reference"]).add_prefix("reference_")
    return pd.concat([samples, its.set_axis(samples.index)], axis=1)


def _refuse_others_faces(file: TableFile, samples: pd.DataFrame, everyone: pd.DataFrame) -> None:
    owner = dict(zip(everyone["path"], everyone["subject"], strict=True))
    for line, subject, reference in samples[["subject", "reference"]].dropna().itertuples():
        if owner.setdefault(reference, subject) != subject:
            raise FerError(
                f"{file.path}, line {line}: the reference of {subject} is a picture of {owner[reference]}: {reference}"
            )


def _places(file: TableFile) -> pd.Series[str]:
    column = file.find(*PATH_COLUMNS)
    if column is None:
        raise FerError(
            f"{file.path}: no column with the path of the image; name it one of {', '.join(PATH_COLUMNS)} "
            f"(there are {', '.join(map(repr, file.cells.columns[:30]))}; columns are parted by commas, semicolons or tabs)"
        )
    return file.filled(column)


def _subjects(file: TableFile, name: str, places: pd.Series[str]) -> pd.Series[str]:
    if name == "path":
        _warn_own_person(file)
        return places
    known = [c for c in map(file.find, SUBJECT_COLUMNS) if c]
    column = file.find(name)
    if column is None and name == SUBJECT_COLUMNS[0] and len(known) == 1:
        column = known[0]
    if column is None:
        raise FerError(
            f"{file.path}: no column `{name}` that says who is on each image: one person could be in training and "
            f"test; set data.subject=COLUMN (there are {', '.join(file.cells.columns[:30])}), "
            "or data.subject=path if nobody is on two images"
        )
    file.refuse_controls(column)
    nobody = set(MISSING_WORDS) - {"na"}  # which may be initials
    file.refuse(column, file.cells[column].str.lower().isin(nobody), "a name for the person on the image")
    if column == file.find(*PATH_COLUMNS):
        _warn_own_person(file)
    _warn_spellings(file.path, file.cells[column])
    return file.cells[column]


def _warn_spellings(path: Path, subjects: pd.Series[str]) -> None:
    names = pd.Series(subjects.unique())
    groups = [" and ".join(map(repr, same)) for _, same in names.groupby(names.map(_spelled)) if len(same) > 1]
    if groups:
        more = f", and {len(groups) - 1} more such names," if len(groups) > 1 else ""
        log.warning("%s: %s%s count as different people; if they are one, splits leak", path, groups[0], more)


def _spelled(name: str) -> str:
    """A name without what is easily typed otherwise: case, widths, spaces, what can't be seen, zeros before a number."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return re.sub(r"(?<!\d)0+(?=\d)", "", "".join(seen.split()).casefold().removesuffix(".0"))


def _warn_own_person(file: TableFile) -> None:
    log.warning(
        "data.subject=path: every image of %s counts as a person of its own; if one is on two, splits leak", file.path
    )


def _optional(file: TableFile) -> pd.DataFrame:
    """`sequence`, `frame` and the face box, as far as the file has them."""
    found: dict[str, pd.Series] = {}
    if sequence := file.find("sequence"):
        file.refuse_controls(sequence)
        found["sequence"] = file.labels(sequence)
    if frame := file.find(*FRAME_COLUMNS):
        found["frame"] = file.numbers(frame, "a whole number or empty")
        whole = (found["frame"] % 1 == 0) & (found["frame"].abs() < 2**31)
        file.refuse(frame, found["frame"].notna() & ~whole, "a whole number or empty")
    boxes = face_boxes(file)
    return pd.DataFrame({**found, **(boxes if boxes is not None else {})}, index=file.cells.index)


def face_boxes(file: TableFile) -> pd.DataFrame | None:
    """`x y w h` of each row, missing where it has none; None if the file has no such columns.

    Raises:
        FerError: a column is missing, or a box is half there or none.
    """
    box = {name: column for name in BOX_COLUMNS if (column := file.find(name))}
    if {"x", "y"} <= set(box):  # else they are those of the picture
        box |= {name[0]: column for name in ("width", "height") if name[0] not in box and (column := file.find(name))}
    if {"w", "h"} & set(box) and len(box) < len(BOX_COLUMNS):
        lacking = ", ".join(name for name in BOX_COLUMNS if name not in box)
        raise FerError(f"{file.path}: a face box needs all of the columns x, y, w, h; there is no {lacking}")
    if len(box) < len(BOX_COLUMNS):
        return None
    sides = pd.DataFrame({name: file.numbers(box[name], "a number of pixels or empty") for name in BOX_COLUMNS})
    halves = sides.isna().any(axis=1) & sides.notna().any(axis=1)
    file.refuse(box["x"], halves, "a face box with all of x, y, w, h or none")
    for side in ("w", "h"):
        file.refuse(box[side], sides[side] <= 0, "a number of pixels above 0 or empty")
    for name in BOX_COLUMNS:
        file.refuse(box[name], sides[name].abs() == float("inf"), "a number of pixels or empty")
    return sides


def _labelled(file: TableFile, samples: pd.DataFrame, skipped: Skipped) -> pd.DataFrame:
    """The rows with at least one label."""
    columns = [c for c in samples.columns if c == "emotion" or au_number(c)]
    has_label = samples[columns].notna().any(axis=1)
    skipped.add(NO_LABEL, *(f"line {line}" for line in samples.index[~has_label]))
    if not has_label.any():
        raise FerError(f"{file.path}: no row has a label (columns {', '.join(columns)})")
    return samples[has_label]


def _resolved(places: pd.Series[str], table: Path, root: Path | None) -> pd.Series[str]:
    """The absolute paths of files, missing where one would lie outside a given root."""
    base = os.path.abspath(root or table.parent)
    paths = places.map(lambda place: os.path.normpath(os.path.join(base, place)), na_action="ignore")
    return (
        paths if root is None else paths.where(paths.map(lambda path: _inside(path, base), na_action="ignore").eq(True))
    )


def _inside(path: str, base: str) -> bool:
    try:
        return os.path.commonpath([base, path]) == base
    except ValueError:  # on another drive
        return False


def _existing(file: TableFile, places: pd.Series[str], root: Path | None, skipped: Skipped) -> pd.Series[str]:
    """Absolute paths; missing where there is no such file or it may not be read."""
    paths = _resolved(places, file.path, root)
    exists = paths.map(os.path.isfile, na_action="ignore").eq(True)
    for line in places.index[~exists]:
        skipped.add(OUTSIDE_ROOT if pd.isna(paths[line]) else NOT_FOUND, places[line])
    if not exists.any():
        first, column = paths.iloc[0], file.find(*PATH_COLUMNS)
        if re.match(r"[a-z]+://", places.iloc[0]):
            raise FerError(
                f"{file.path}: column {column} holds addresses ({places.iloc[0]}): fetch the pictures and name their files"
            )
        why = f"{places.iloc[0]} leads out of data.root" if pd.isna(first) else f"{first} does not exist"
        if "\\" in places.iloc[0] and os.sep == "/":
            why += " (a path of another system: here its parts are parted by /)"
        raise FerError(
            f"{file.path}: none of its {len(places)} images can be had: {why}; set data.root to where the paths of column "
            f"{column} start"
        )
    return paths.where(exists)


def _no_image_twice(file: TableFile, paths: pd.Series[str]) -> None:
    again = paths[paths.duplicated()]
    if len(again):
        first = paths.index[paths == again.iloc[0]][0]
        raise FerError(f"{file.path}, line {again.index[0]}: the image of line {first} again: {again.iloc[0]}")


def _found(places: pd.Series[str], reason: str, table: Path, root: Path | None, skipped: Skipped) -> pd.Series[str]:
    """Absolute paths of files that belong to pictures; what is not there is missing, and counted under `reason`."""
    paths = _resolved(places, table, root)
    exists = paths.map(os.path.isfile, na_action="ignore").eq(True)
    skipped.add(reason, *places[places.notna() & ~exists])
    return paths.where(exists)
