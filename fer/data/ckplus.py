"""CK+ reader: the original four-folder tree in, a sample table out (a row per chosen frame). No image is opened.

    cohn-kanade-images/S005/001/S005_001_00000011.png      the last frame is the peak, the first is neutral
    FACS/S005/001/S005_001_00000011_facs.txt               lines `AU intensity`; 0 = present but not graded
    Emotion/S005/001/S005_001_00000011_emotion.txt         one code, see `labels.CKPLUS_EMOTION_CODES`
    Landmarks/S005/001/S005_001_00000011_landmarks.txt     68 lines `x y`, one file per frame

The folders are found by name up to two levels below the root (unzipping often adds a level); all but the first are
optional. A label belongs to the sequence in whose folder it lies, whichever of its frames it names; but where it names a later
frame than the last three before it, the peak is not there. The first frame is that of number 1 (or 0): of copies that begin later the
first one is not neutral. An AU that the FACS
file lists is 1, one that it does not list is 0; a sequence without a (readable) FACS file has no AU labels.
`ckplus_labels` says how odd label files are taken.

Whatever is left out stands in `Samples.skipped` under a reason from here or from `ckplus_labels`, with its path
relative to the root.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fer.data import ckplus_labels
from fer.data.samples import Samples, Skipped, checked
from fer.data.there import FOLDER_NAMES, of_system, tree_folders
from fer.errors import FerError
from fer.labels import NEUTRAL

log = logging.getLogger(__name__)

FRAMES = ("peak", "peak3", "neutral+peak3")

SYSTEM_FILE = "file of an operating system"
OTHER_FILE = "file or folder not named as CK+ names its own"
OTHER_SEQUENCE = "file named after another sequence than its folder"
SECOND_FILE = "second file for the same frame or label"
SECOND_FOLDER = "second folder of the same name"
UNKNOWN_FOLDER = "folder of subjects whose name is none of " + ", ".join(
    name for names in FOLDER_NAMES.values() for name in names
)
NO_IMAGES = "sequence folder without images"
NO_LABEL = "sequence with neither FACS nor emotion label"
NO_PEAK = "label of a frame that is not there, nor one just before it"
NO_FIRST = "sequence without its first, neutral frame"

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
N_NEAR_PEAK = 3
"""The last frames of a sequence, which are taken to show what the peak does."""

_SUBJECT = re.compile(r"S\d+", re.IGNORECASE)
_SEQUENCE = re.compile(r"\d+")
_STEM = re.compile(r"s(\d+)_(\d+)_(\d{1,18})(?:_(facs|emotion|landmarks))?")

SequenceId = tuple[str, str]
Frames = dict[int, str]
"""Frame number -> path of the file that names it."""


@dataclass
class _Coding:
    """The labels of a sequence at its peak."""

    aus: dict[int, int | None] | None
    """Listed AU -> intensity 1-5, None where it was not graded; None for all = the sequence was not coded."""
    emotion: str | None


@dataclass
class _Tree:
    """What lies in the four folders, and what was left out so far."""

    base: Path
    skipped: Skipped = field(default_factory=Skipped)
    files: dict[str, dict[SequenceId, Frames]] = field(default_factory=dict)

    def skip(self, reason: str, path: str, detail: str = "") -> None:
        self.skipped.add(reason, os.path.relpath(path, self.base) + (f": {detail}" if detail else ""))

    def skip_stray(self, entry: os.DirEntry[str]) -> None:
        self.skip(SYSTEM_FILE if of_system(entry.name) else OTHER_FILE, entry.path)

    def reporter(self, path: str) -> ckplus_labels.Report:
        return lambda reason, detail: self.skip(reason, path, detail)


def read(root: Path, frames: str, reference: bool = False) -> Samples:
    """Reads a CK+ tree.

    Args:
        root: the folder that holds `cohn-kanade-images`, `FACS`, `Emotion` and `Landmarks`, or that they were unzipped
            into.
        frames: `peak` = the last frame of each sequence; `peak3` = the last three (never the first, which is neutral),
            all with the labels of the peak, intensities on the peak alone; `neutral+peak3` = also the first frame, as
            `neutral` with every AU 0. The only frame of a sequence is its peak.
        reference: whether each row names the first frame of its sequence as `reference`, if that is not the peak.

    Returns:
        Rows of all sequences that have a label, with `AU<n>` for every AU that any FACS file lists, `AU<n>_intensity`
        where it is graded anywhere, and `landmarks` and `reference_landmarks` (the paths of the files of the frame and of the first one
        of its sequence) where there are any.

    Raises:
        FerError: `root` is no CK+ tree, or holds no image or no label.
    """
    if frames not in FRAMES:
        raise ValueError(f"frames must be one of {', '.join(FRAMES)}, got {frames!r}")
    try:
        tree = _scan(Path(os.path.abspath(root.expanduser())))
    except OSError as error:
        raise FerError(f"{error.filename}: can't be read: {error.strerror}") from error
    images = {sequence: files for sequence, files in sorted(tree.files["images"].items()) if files}
    codings = {sequence: _coding(tree, sequence, max(files)) for sequence, files in images.items()}
    coded = {s: coding for s, coding in codings.items() if coding.aus is not None or coding.emotion is not None}
    tree.skipped.add(NO_LABEL, *("/".join(sequence) for sequence in codings if sequence not in coded))
    if not coded:
        raise FerError(f"{tree.base}: there are images but no readable label in a folder FACS or Emotion (data.root)")
    units = sorted({unit for coding in coded.values() for unit in coding.aus or {}})
    rows = [
        row for sequence, coding in coded.items() for row in _rows(tree, sequence, coding, units, frames, reference)
    ]
    table = pd.DataFrame(rows).dropna(axis="columns", how="all")
    return Samples(checked(table, str(tree.base)), tree.skipped)


def _scan(base: Path) -> _Tree:
    folders = tree_folders(base)
    tree = _Tree(base)
    for kind, names in FOLDER_NAMES.items():
        named = [f for f in folders if os.path.basename(f).lower() in names]
        full = [f for f in named if any(map(_SUBJECT.fullmatch, os.listdir(f)))]
        for extra in full[1:]:
            tree.skip(SECOND_FOLDER, extra)
        tree.files[kind] = _sequences(tree, full[0], kind) if full else {}
    known = {name for names in FOLDER_NAMES.values() for name in names}
    for other in folders:
        if os.path.basename(other).lower() not in known and any(map(_SUBJECT.fullmatch, os.listdir(other))):
            tree.skip(UNKNOWN_FOLDER, other)
    _report_without_images(tree)
    return tree


def _sequences(tree: _Tree, folder: str, kind: str) -> dict[SequenceId, Frames]:
    """Every sequence folder below `folder` (also the empty ones) with its files of that kind."""
    found: dict[SequenceId, Frames] = {}
    for subject in _named(tree, folder, _SUBJECT):
        for sequence in _named(tree, subject.path, _SEQUENCE):
            files = found.setdefault((f"S{int(subject.name[1:]):03d}", f"{int(sequence.name):03d}"), {})
            _collect(tree, sequence.path, (int(subject.name[1:]), int(sequence.name)), kind, files)
    return found


def _named(tree: _Tree, folder: str, pattern: re.Pattern[str]) -> Iterator[os.DirEntry[str]]:
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_dir() and pattern.fullmatch(entry.name):
            yield entry
        else:
            tree.skip_stray(entry)


def _collect(tree: _Tree, folder: str, owner: tuple[int, int], kind: str, files: Frames) -> None:
    """Adds the files of one sequence folder to `files`; ids count as numbers, since CK+ itself writes `S0005`."""
    suffixes, tails = (IMAGE_SUFFIXES, (None,)) if kind == "images" else ((".txt",), (None, kind))
    for entry in sorted(os.scandir(folder), key=lambda e: (not e.name.lower().endswith(suffixes[0]), e.name)):
        stem, suffix = os.path.splitext(entry.name.lower())
        match = _STEM.fullmatch(stem)
        if match is None or match[4] not in tails or suffix not in suffixes or entry.is_dir():
            tree.skip_stray(entry)
        elif (int(match[1]), int(match[2])) != owner:
            tree.skip(OTHER_SEQUENCE, entry.path)
        elif int(match[3]) in files:
            tree.skip(SECOND_FILE, entry.path)
        else:
            files[int(match[3])] = entry.path


def _report_without_images(tree: _Tree) -> None:
    images = tree.files["images"]
    if not any(images.values()):
        raise FerError(
            f"{tree.base}: no image in {FOLDER_NAMES['images'][0]} (expected S005/001/S005_001_00000011.png and so on)"
        )
    for kind, sequences in tree.files.items():
        for sequence in sequences:
            if not images.get(sequence):
                tree.skipped.add(NO_IMAGES, "/".join((kind, *sequence)))


def _coding(tree: _Tree, sequence: SequenceId, peak: int) -> _Coding:
    facs, emotion = (_label_file(tree, tree.files[kind].get(sequence, {}), peak) for kind in ("facs", "emotion"))
    return _Coding(
        ckplus_labels.read_facs(facs, tree.reporter(facs)) if facs else None,
        ckplus_labels.read_emotion(emotion, tree.reporter(emotion)) if emotion else None,
    )


def _label_file(tree: _Tree, files: Frames, peak: int) -> str | None:
    """The file that names the peak, else the one that names the latest frame; None where the peak was lost."""
    if not files:
        return None
    if max(files) >= peak + N_NEAR_PEAK and peak not in files:
        tree.skip(NO_PEAK, files[max(files)])
        return None
    chosen = peak if peak in files else max(files)
    if chosen != peak:
        log.info("%s names frame %d, the peak is frame %d: taken for its sequence", files[chosen], chosen, peak)
    for other in sorted(files.keys() - {chosen}):
        tree.skip(SECOND_FILE, files[other])
    return files[chosen]


def _rows(
    tree: _Tree, sequence: SequenceId, coding: _Coding, units: list[int], frames: str, reference: bool
) -> Iterator[dict[str, object]]:
    images = tree.files["images"][sequence]
    landmarks = tree.files["landmarks"].get(sequence, {})
    numbers = sorted(images)
    first = numbers[0] if numbers[0] <= 1 and len(numbers) > 1 else None
    if first is None and len(numbers) > 1 and (reference or frames == FRAMES[2]):
        tree.skipped.add(NO_FIRST, "/".join(sequence))
    for number in _chosen(numbers, first, frames):
        neutral = number == first
        aus: dict[int, int | None] | None = {} if neutral else coding.aus
        graded = aus if aus and number == numbers[-1] else {}
        yield {
            "path": images[number],
            "subject": sequence[0],
            "sequence": sequence[1],
            "frame": number,
            "emotion": NEUTRAL if neutral else coding.emotion,
            **{f"AU{unit}": None if aus is None else int(unit in aus) for unit in units},
            **{f"AU{unit}_intensity": graded.get(unit) for unit in units},
            "landmarks": landmarks.get(number),
            "reference_landmarks": None if first is None else landmarks.get(first),
            "reference": images[first] if reference and first is not None else None,
        }


def _chosen(numbers: list[int], first: int | None, frames: str) -> list[int]:
    """The frames to take of a sequence with these frame numbers (rising), whose neutral one is `first`."""
    if frames == "peak":
        return numbers[-1:]
    last = [number for number in numbers if number != first][-N_NEAR_PEAK:]
    return last if frames == "peak3" or first is None else [first, *last]
