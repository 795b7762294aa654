"""A sample table in, its pixels out as one memory-mapped array: decoded, cropped and written once, then only read."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import PIL
import platformdirs

from fer.data.faces import PIXELS_VERSION, Box, Crop, How, face_pixels, read_landmarks, stored_size
from fer.data.images import BadImage, Pixels8, decode
from fer.data.samples import BOX_COLUMNS, FILE_COLUMNS, REFERENCE_BOX_COLUMNS
from fer.data.store import MAX_BYTES, obtain
from fer.runs.surroundings import usable_cores

HOW = ("landmarks", "box", "detector", "whole", "broken")
CHUNK = 32
"""Pictures in flight per thread: enough to keep all busy, few enough that memory stays flat."""

PASSING = "passing.json"
"""Beside pixels of which some could not be read for reasons that may pass: their rows, which are tried again."""

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class _Made(NamedTuple):
    pixels: Pixels8
    box: Box
    how: How
    digest: int


@dataclass(frozen=True)
class Pixels:
    """The cached pixels of a sample table, row for row.

    Pickles as the name of its folder: a data-loader worker maps the file again instead of receiving a copy.

    Attributes:
        folder: Where it lies.
        array: [n, S, S, C] uint8, read-only, zeros where the picture is broken; S is `stored_size(image_size)`. The channels of the
            neutral picture that it is compared with, if there is one, come after its own.
        how: [n] text: where each face box came from (`fer.data.faces.How`), or `broken`.
        boxes: [n, 4] x, y, w, h in pixels of the upright picture; NaN where it is broken.
        digests: [n] int64: a hash of each file's content, whatever it is called and however its face is cropped; 0 where it is broken.
        problems: Row number -> why its picture could not be read.
    """

    folder: Path
    array: Pixels8 = field(repr=False)
    how: npt.NDArray[np.str_] = field(repr=False)
    boxes: npt.NDArray[np.float64] = field(repr=False)
    digests: npt.NDArray[np.int64] = field(repr=False)
    problems: dict[int, str] = field(repr=False)

    def __reduce__(self) -> tuple[Callable[[Path], Pixels], tuple[Path]]:
        return _load, (self.folder,)


class _Row(NamedTuple):
    path: str
    landmarks: str | None
    box: Box | None
    reference: str | None = None
    reference_landmarks: str | None = None
    reference_box: Box | None = None


def default_cache_dir() -> Path:
    """The user's cache folder by platform convention (`$XDG_CACHE_HOME/fer` on Linux)."""
    return Path(platformdirs.user_cache_dir("fer", appauthor=False))


def cache_folder(cache_dir: str | None) -> Path:
    """The folder that `cache_dir=` means."""
    return Path(cache_dir).expanduser().absolute() if cache_dir else default_cache_dir()


def build_pixels(
    table: pd.DataFrame,
    *,
    image_size: int,
    crop: Crop,
    color: bool,
    cache_dir: Path,
    jobs: int | None = None,
    progress: Progress | None = None,
    max_bytes: int = MAX_BYTES,
) -> Pixels:
    """The pixels of every row of `table`, from the cache, or made now and kept there.

    Args:
        table: A sample table (`fer.data.samples`): `path` and, where present, `landmarks`, `x y w h` and `reference` are used.
        image_size: Side of the network's input in pixels.
        crop: `face` or `full`.
        color: Three channels, else one of brightness.
        cache_dir: Where caches live; see `fer.data.store`.
        jobs: Threads that decode; None takes `usable_cores()`.
        progress: Called with (rows done, rows) while pixels are made, not when they are found.
        max_bytes: Bound of everything under `cache_dir`.

    Raises:
        FerError: `cache_dir` can't be written, or its disk is full.
    """
    rows = _rows(table)
    side = stored_size(image_size)
    pair = 2 if "reference" in table else 1
    shape = (len(rows), side, side, (3 if color else 1) * pair)

    made_now = False

    def fill(folder: Path) -> None:
        nonlocal made_now
        made_now = True
        _write(folder, shape, _made(rows, image_size, crop, color, jobs), progress)

    def load(folder: Path) -> Pixels:
        failed = json.loads((folder / PASSING).read_text()) if (folder / PASSING).exists() and not made_now else []
        if not isinstance(failed, list) or not all(type(row) is int and 0 <= row < len(rows) for row in failed):
            raise ValueError(f"{folder} is damaged")
        again = _made([rows[row] for row in failed], image_size, crop, color, jobs)
        if any(not isinstance(made, BadImage) for made in again):
            log.info("pictures that could not be read when the pixels were made can be read now: they are made anew")
            raise ValueError("out of date")
        pixels = _load(folder)
        if pixels.array.shape != shape:
            raise ValueError(f"{folder} is damaged")
        return pixels

    folder = cache_dir.absolute() / "pixels" / _key(rows, image_size, crop, color)
    return obtain(folder, load, fill, math.prod(shape), max_bytes)


def make_pixels(table: pd.DataFrame, image_size: int, crop: Crop, color: bool) -> Iterator[object]:
    """The work behind `build_pixels`, kept nowhere: something for each row, in order."""
    yield from _made(_rows(table), image_size, crop, color, None)


def _rows(table: pd.DataFrame) -> list[_Row]:
    n = len(table)
    columns = [table[name] if name in table else [None] * n for name in FILE_COLUMNS]
    files = [[None if pd.isna(path) else str(path) for path in column] for column in columns]
    boxes = [_boxes(table, names) for names in (BOX_COLUMNS, REFERENCE_BOX_COLUMNS)]
    every = zip(table["path"], *files, *boxes, strict=True)
    return [_Row(str(path), marks, box, other, others, its) for path, marks, other, others, box, its in every]


def _boxes(table: pd.DataFrame, names: tuple[str, ...]) -> list[Box | None]:
    if not set(names) <= set(table.columns):
        return [None] * len(table)
    numbers = table[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)
    return [Box(*box.tolist()) if np.isfinite(box).all() else None for box in numbers]


def _key(rows: list[_Row], image_size: int, crop: Crop, color: bool) -> str:
    # use decodes and looks for faces with the libraries of today: what is learned from must not be of yesterday's
    libraries = (PIL.__version__, cv2.__version__)
    digest = hashlib.sha256(repr((PIXELS_VERSION, libraries, image_size, crop, color)).encode())
    for row in rows:
        said: tuple[object, ...] = (row[:3], _stamp(row.path), _stamp(row.landmarks))
        if row.reference:
            said += (row[3:], _stamp(row.reference), _stamp(row.reference_landmarks))
        digest.update(repr(said).encode())
    return digest.hexdigest()


def _stamp(file: str | None) -> tuple[int, int, int] | None:
    """What changes when a file does: files that change names keep size and time of writing, but not that of the last change."""
    try:
        status = os.stat(file) if file else None
    except OSError:
        return None
    return status and (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _pixels_of(row: _Row, *, image_size: int, crop: Crop, color: bool) -> _Made | BadImage:
    try:
        image, digest = decode(Path(row.path)), _digest(row.path)
        landmarks = read_landmarks(Path(row.landmarks)) if row.landmarks else None
    except BadImage as error:
        return error
    except OSError as error:  # gone since it was decoded
        return BadImage(f"{row.path}: {error.strerror}", passing=True)
    pixels, box, how = face_pixels(image, image_size, crop, color, landmarks, row.box)
    if row.reference is None:
        return _Made(pixels, box, how, digest)
    neutral = _pixels_of(
        _Row(row.reference, row.reference_landmarks, row.reference_box), image_size=image_size, crop=crop, color=color
    )
    if isinstance(neutral, BadImage):
        return neutral
    return _Made(np.concatenate((pixels, neutral.pixels), axis=2), box, how, digest)


def _digest(path: str) -> int:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=8)).digest()
    return int.from_bytes(digest, "little", signed=True)


def _made(rows: list[_Row], image_size: int, crop: Crop, color: bool, jobs: int | None) -> Iterator[_Made | BadImage]:
    make, jobs = partial(_pixels_of, image_size=image_size, crop=crop, color=color), jobs or usable_cores()
    with ThreadPoolExecutor(jobs) as pool:
        for start in range(0, len(rows), CHUNK * jobs):
            yield from pool.map(make, rows[start : start + CHUNK * jobs])


def _write(
    folder: Path, shape: tuple[int, ...], pictures: Iterator[_Made | BadImage], progress: Progress | None
) -> None:
    n = shape[0]
    how = np.full(n, HOW.index("broken"), np.uint8)
    boxes = np.full((n, 4), np.nan)
    digests = np.zeros(n, np.int64)
    problems: dict[int, str] = {}
    passing: list[int] = []
    # Appended, not assigned through a writable map: on a full disk that is an error, not a killed process.
    with open(folder / "pixels.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for row, made in enumerate(pictures):
            if isinstance(made, BadImage):
                problems[row] = str(made)
                passing += [row] if made.passing else []
                file.write(bytes(math.prod(shape[1:])))
            else:
                boxes[row], digests[row] = made.box, made.digest
                how[row] = HOW.index(made.how)
                file.write(made.pixels.tobytes())
            if progress:
                progress(row + 1, n)
    np.save(folder / "how.npy", how, allow_pickle=False)
    np.save(folder / "boxes.npy", boxes, allow_pickle=False)
    np.save(folder / "digests.npy", digests, allow_pickle=False)
    (folder / "problems.json").write_text(json.dumps(problems), encoding="utf-8")
    if passing:
        (folder / PASSING).write_text(json.dumps(passing))


def _load(folder: Path) -> Pixels:
    problems = json.loads((folder / "problems.json").read_text(encoding="utf-8"))
    array = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
    how = np.load(folder / "how.npy", allow_pickle=False)
    boxes = np.load(folder / "boxes.npy", allow_pickle=False)
    digests = np.load(folder / "digests.npy", allow_pickle=False)
    n = len(array)
    whole = (how.shape, how.dtype, boxes.shape, digests.shape) == ((n,), np.uint8, (n, 4), (n,))
    if not whole or not isinstance(problems, dict) or how.max(initial=0) >= len(HOW):
        raise ValueError(f"{folder} is damaged")
    reasons = {int(row): reason for row, reason in problems.items()}
    return Pixels(folder, array, np.array(HOW)[how], boxes, digests, reasons)
