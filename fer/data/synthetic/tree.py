"""Writes a synthetic set as a CK+ tree: four folders, names and number formats of the original (its ReadMe, 2010).

In: a folder, a number of subjects, a seed. Out: the folder, whole or not at all; or a cached one.
"""

import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fer.data import store
from fer.data.synthetic.cast import N_SUBJECTS, plan
from fer.data.synthetic.identity import sample_identity
from fer.data.synthetic.render import Drawing, draw_face
from fer.data.synthetic.view import jitter, sample_view
from fer.errors import FerError
from fer.labels import CKPLUS_EMOTION_CODES
from fer.runs.surroundings import usable_cores

IMAGES = "cohn-kanade-images"

VERSION = 4
"""Part of the name of cached sets: goes up when the same seed gives other pictures."""

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]  # a third faster than trying all filters
_EMOTION_CODE = {name: code for code, name in CKPLUS_EMOTION_CODES.items()}
_log = logging.getLogger(__name__)

_UNFINISHED = ".part"

Progress = Callable[[int, int], None]


def write_tree(
    root: Path,
    n_subjects: int = N_SUBJECTS,
    seed: int = 0,
    frames: int = 4,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Draws a set and writes it to `root`, which appears only when it is complete.

    Processes are spawned: a script that calls this with more than one job needs `if __name__ == "__main__":`.

    Args:
        root: Folder to write; must not exist, or be empty.
        n_subjects: People in the set; 123 gives the counts of CK+.
        seed: The same seed gives the same bytes, for any number of jobs.
        frames: Frames a sequence, at least 2: the neutral first one, then the last ones up to the peak.
        jobs: Processes to draw in; default: one for each processor.
        progress: Called with the number of sequences done and of all.

    Raises:
        FerError: If `root` holds something, or a setting is out of range.
    """
    root = root.expanduser().resolve()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FerError(f"{root} exists and is not empty: name a new folder, or remove this one first")
    if jobs is not None and jobs < 1:
        raise FerError(f"jobs={jobs}: drawing takes at least 1 process")
    if frames < 2:
        raise FerError(f"frames={frames}: a sequence has at least 2 frames, the neutral one and the peak")
    table = plan(n_subjects, seed)
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{root.name}.", suffix=_UNFINISHED, dir=root.parent) as folder:
        part = Path(folder) / root.name
        for name in (IMAGES, "FACS", "Emotion", "Landmarks"):
            (part / name).mkdir(parents=True)
        _draw_all(part, table, seed, frames, usable_cores() if jobs is None else jobs, progress)
        if root.exists():  # may be a mount point, which can't be replaced
            _move_into(root, part)
        else:
            part.rename(root)


def _move_into(root: Path, part: Path) -> None:
    """All or nothing; the pictures last, without which a folder is no tree."""
    names = sorted((folder.name for folder in part.iterdir()), key=lambda name: name == IMAGES)
    try:
        for name in names:
            shutil.move(part / name, root / name)
    except BaseException:
        for name in names:
            shutil.rmtree(root / name, ignore_errors=True)
        raise


def _is_whole(root: Path, table: pd.DataFrame, frames: int) -> bool:
    """Whether all pictures are there: those who tidy up a disk take files one by one."""
    there = sum(file.endswith(".png") for _, _, files in os.walk(root / IMAGES) for file in files)
    return there == sum(len(_frame_numbers(int(peak), frames)) for peak in table["peak"])


def cached_tree(
    cache_dir: Path,
    n_subjects: int = N_SUBJECTS,
    seed: int = 0,
    frames: int = 4,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """The set with these settings, drawn on the first call; safe when several processes ask at once.

    Args:
        cache_dir: Folder of caches; the set gets a folder of its own in it, safe to delete.
        n_subjects: As for `write_tree`, like the rest.
        seed: See there.
        frames: See there.
        jobs: See there.
        progress: See there; not called when the set is there already.

    Returns:
        The root of the tree.
    """
    root = cache_dir.expanduser().absolute() / f"synthetic-v{VERSION}-n{n_subjects}-s{seed}-f{frames}"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f"{root.name}.lock")):
        if not _is_whole(root, plan(n_subjects, seed), frames):
            shutil.rmtree(root, ignore_errors=True)
            for leftover in root.parent.glob(f".{root.name}.*{_UNFINISHED}"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            _log.info("drawing the synthetic set into %s", root)
            write_tree(root, n_subjects, seed, frames, jobs, progress)
        store.use(root)
    return root


def _draw_all(root: Path, table: pd.DataFrame, seed: int, frames: int, jobs: int, progress: Progress | None) -> None:
    people = [(root, rows.to_dict("records"), seed, frames) for _, rows in table.groupby("subject")]
    done = 0
    for count in _in_turn(people) if jobs == 1 else _in_pool(people, jobs):
        done += count
        if progress:
            progress(done, len(table))


def _in_turn(people: list[tuple[Any, ...]]) -> Iterator[int]:
    return (_draw_subject(*person) for person in people)


def _in_pool(people: list[tuple[Any, ...]], jobs: int) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(people)), mp_context=context) as pool:
        waiting = [pool.submit(_draw_subject, *person) for person in people]
        try:
            for finished in as_completed(waiting):
                yield finished.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _draw_subject(root: Path, rows: list[dict[str, Any]], seed: int, frames: int) -> int:
    """Draws all sequences of one person; returns how many."""
    number = int(rows[0]["subject"][1:])
    rng = np.random.default_rng([seed, number])
    person = sample_identity(rng)
    size = (480, 640) if rng.random() < 0.2 else (490, 640)
    color = bool(rng.random() < 0.08)
    with _one_thread():
        for row in rows:
            _draw_sequence(root, row, (seed, number, int(row["sequence"])), frames, person, size, color)
    return len(rows)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums must not depend on how many threads share them, and the processes share the processors already."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(threads)


def _draw_sequence(
    root: Path, row: dict[str, Any], stream: tuple[int, ...], frames: int, person: Any, size: Any, color: bool
) -> None:
    rng = np.random.default_rng(stream)
    grades = {int(key[2:]): int(value) for key, value in row.items() if key.startswith("AU") and not pd.isna(value)}
    strength = {au: grade / 5 if grade else float(rng.uniform(0.4, 0.9)) for au, grade in grades.items()}
    lean = _imbalance(strength, rng)
    view = sample_view(rng, size)
    for number in _frame_numbers(row["peak"], frames):
        share = 1.0 - ((row["peak"] - number) / (row["peak"] - 1)) ** 1.5  # quick at first, then it settles
        aus = {au: value * share for au, value in strength.items()} if share else {}
        # a stream of its own for each frame: the peak is the same picture however many frames come before it
        own = np.random.default_rng([*stream, number])
        drawing = draw_face(own, aus, person, jitter(view, own), color=color, imbalance=lean)
        _write_frame(
            root, f"{row['subject']}/{row['sequence']}/{row['subject']}_{row['sequence']}_{number:08d}", drawing
        )
    _write_labels(root, row, grades)


def _frame_numbers(peak: int, frames: int) -> list[int]:
    return [1, *range(max(peak - frames + 2, 2), peak + 1)]


def _imbalance(strength: dict[int, float], rng: np.random.Generator) -> dict[int, float]:
    """Faces are never quite even; the dimple of contempt is mostly on one side."""
    lean = {au: float(np.clip(rng.normal(0, 0.1), -0.3, 0.3)) for au in strength}
    if 14 in lean and rng.random() < 0.7:
        lean[14] = float(rng.choice([-1.0, 1.0]))
        if 12 in lean:
            lean[12] = 0.8 * lean[14]
    return lean


def _write_frame(root: Path, stem: str, drawing: Drawing) -> None:
    image = root / IMAGES / f"{stem}.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    pixels = drawing.image if drawing.image.ndim == 2 else drawing.image[..., ::-1]
    if not cv2.imwrite(str(image), pixels, _PNG):
        raise OSError(f"can't write {image}")
    _write_numbers(root / "Landmarks" / f"{stem}_landmarks.txt", drawing.landmarks.tolist())


def _write_labels(root: Path, row: dict[str, Any], grades: dict[int, int]) -> None:
    folder = f"{row['subject']}/{row['sequence']}"
    stem = f"{folder}/{row['subject']}_{row['sequence']}_{row['peak']:08d}"
    _write_numbers(root / "FACS" / f"{stem}_facs.txt", [[au, grade] for au, grade in grades.items()])
    if not pd.isna(row["emotion"]):
        _write_numbers(root / "Emotion" / f"{stem}_emotion.txt", [[_EMOTION_CODE[row["emotion"]]]])


def _write_numbers(path: Path, lines: list[list[float]]) -> None:
    """Numbers as CK+ writes them: three spaces, seven decimals, exponent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("".join(f"   {value:.7e}" for value in line) + "\n" for line in lines), encoding="ascii")
