"""What `input=` means: a picture, a folder, a glob, a table, a video, a camera. In, the word; out, pictures one after the other."""

from __future__ import annotations

import glob
import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fer.data.faces import Box
from fer.errors import FerError
from fer.use.items import Item, Source
from fer.use.video import VIDEOS, open_camera, open_video

log = logging.getLogger(__name__)

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
"""Endings by which pictures are known in a folder; a file that is named by itself may end in anything."""

TABLES = (".csv", ".tsv")

MOST_DIGITS = 3
"""Of a camera's number."""


def open_source(word: str, every: int = 1) -> Source:
    """The pictures that `input=<word>` means.

    Args:
        every: of a video or a camera, every how many frames.

    Raises:
        FerError: there is nothing of that name, no picture in it, or it can't be opened.
    """
    path = Path(word).expanduser()
    if path.is_dir():
        problem = f"input={word}: no picture in this folder or below it ({' '.join(IMAGES)})"
        return _of_files(_in_folder(path), path, problem)
    if path.suffix.lower() in VIDEOS:
        return open_video(path, every)
    if path.suffix.lower() in TABLES and path.is_file():
        return _of_table(path)
    if path.is_file():
        return Source(iter([Item(str(path), path)]), 1, single=True, folders=_folders([str(path)]))
    if word.isdecimal() and len(word) <= MOST_DIGITS:
        return open_camera(int(word), every)
    if glob.has_magic(word):
        found = (f for f in sorted(glob.glob(str(path), recursive=True)) if _is_image(f))
        # a spreadsheet would take a name that begins so for a formula
        matches = [os.path.join(os.curdir, f) if f.startswith(("=", "+", "-", "@")) else f for f in found]
        fixed = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
        return _of_files(matches, Path(*fixed), f"input={word}: no picture fits this pattern")
    raise FerError(f"input={word}: there is no such file or folder")


def _of_files(files: list[str], root: Path, problem: str) -> Source:
    if not files:
        raise FerError(problem)
    return Source((Item(file, Path(file)) for file in files), len(files), root=root, folders=_folders(files))


def _folders(paths: list[str], start: Path = Path()) -> dict[str, set[Path]]:
    found: dict[str, set[Path]] = {}
    for path in paths:
        folder = os.path.dirname(path)
        places = found.setdefault(folder, {start / folder})
        if os.path.islink(start / path):  # a folder of links is a usual way to choose pictures
            places.add((start / path).resolve().parent)
    return found


def _is_image(file: str) -> bool:
    return file.lower().endswith(IMAGES) and os.path.isfile(file)


def _in_folder(root: Path) -> list[str]:
    """The pictures below a folder in the order of their names; hidden ones and other files are counted aloud."""
    found: list[str] = []
    others: Counter[str] = Counter()
    for folder, below, names in os.walk(root, onerror=_left_out):
        linked = [name for name in below if os.path.islink(os.path.join(folder, name))]
        others["links to folders"] += len(linked)
        others["hidden folders"] += sum(name.startswith(".") and name not in linked for name in below)
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in linked)
        for name in sorted(names):
            if name.lower().endswith(IMAGES):
                file = os.path.join(folder, name)
                # not a pipe, which might be waited for; of a link that leads nowhere it is said that it can't be read
                there = os.path.isfile(file) or os.path.islink(file)
                if there and name.startswith("."):
                    others["hidden pictures"] += 1
                elif there:
                    found.append(file)
            else:
                others[Path(name).suffix.lower() or "no ending"] += 1
    if others := +others:
        log.info("left out: %s", ", ".join(f"{n} x {end}" for end, n in others.most_common(5)))
    return found


def _left_out(error: OSError) -> None:
    log.warning("left out: %s: %s", error.filename, error.strerror)


def _of_table(table: Path) -> Source:
    """The rows of a table with a path column; faces are where `landmarks` or x, y, w, h say, if it has them, as in training.

    Paths start from the table's folder.

    Raises:
        FerError: not a table, no path column, or a box that training would refuse.
    """
    from fer.data.csv import PATH_COLUMNS, face_boxes  # pandas: only where there is a table
    from fer.data.table_file import TableFile

    file = TableFile.read(table, "input")
    column = file.find(*PATH_COLUMNS)
    if column is None:
        raise FerError(f"{table}: no column with the path of the picture; name it one of {', '.join(PATH_COLUMNS)}")
    paths = file.filled(column).tolist()
    given = face_boxes(file)
    boxes: list[tuple[Box, ...] | None] = [None] * len(paths)
    if given is not None:
        boxes = [_box(values) for values in given.astype(float).itertuples(index=False, name=None)]
    points = file.find("landmarks")
    landmarks = [""] * len(paths) if points is None else file.cells[points].tolist()
    lost = [name for name in landmarks if name and not (table.parent / name).is_file()]
    if lost:
        log.warning("%d files of landmarks are not there, e.g. %s: these faces are looked for", len(lost), lost[0])
    folders = _folders(paths, table.parent)
    return Source(_rows(table.parent, paths, landmarks, boxes), len(paths), root=Path(), folders=folders)


def _rows(folder: Path, paths: list[str], landmarks: list[str], boxes: list[tuple[Box, ...] | None]) -> Iterator[Item]:
    for path, points, box in zip(paths, landmarks, boxes, strict=True):
        yield Item(path, folder / path, box, landmarks=folder / points if points else None)


def _box(values: tuple[float, ...]) -> tuple[Box, ...] | None:
    return (Box(*values),) if all(value == value for value in values) else None  # nan: an empty cell
