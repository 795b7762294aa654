"""The label files of CK+: the path of a FACS or emotion file in, its labels out; oddities are reported, never raised.

- An AU that a FACS file lists is present, whatever its intensity; 0 means present but not graded.
- A FACS file of blank lines is a coding without any AU. One without a byte is what a full disk leaves, and malformed; one
  malformed line voids its file, because a lost line would turn a 1 into a 0.
- An intensity that is not a whole number from 0 to 5, an AU that FACS does not have and an unknown emotion code are
  left out one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fer.data.samples import BAD_EMOTION, BAD_FACS
from fer.data.small_text import read_small
from fer.labels import AU_NAMES, CKPLUS_EMOTION_CODES

UNKNOWN_AU = "AU that FACS does not have"
BAD_INTENSITY = "AU intensity outside 0 to 5"
UNKNOWN_CODE = "emotion code outside 0 to 7"

Report = Callable[[str, str], None]
"""Takes the reason and a detail of the file (empty: the whole file is left out)."""


def read_facs(path: str, report: Report) -> dict[int, int | None] | None:
    """Listed AU -> its intensity 1-5, or None where it is not graded; None for all when the file can't be used."""
    lines = _numbers(path)
    if lines == [] and not Path(path).stat().st_size:
        lines = None
    if lines is None or any(len(line) != 2 or not line[0].is_integer() for line in lines):
        report(BAD_FACS, "")
        return None
    aus: dict[int, int | None] = {}
    for unit, intensity in ((int(line[0]), line[1]) for line in lines):
        if unit not in AU_NAMES:
            report(UNKNOWN_AU, f"AU{unit}")
            continue
        if intensity not in range(6):
            report(BAD_INTENSITY, f"AU{unit} {intensity:g}")
            intensity = 0
        aus[unit] = max(int(intensity), aus.get(unit) or 0) or None
    return aus


def read_emotion(path: str, report: Report) -> str | None:
    """The emotion that the file's one number stands for, or None when it stands for none."""
    lines = _numbers(path)
    if lines is None or [len(line) for line in lines] != [1]:
        report(BAD_EMOTION, "")
        return None
    code = lines[0][0]
    if code not in CKPLUS_EMOTION_CODES:
        report(UNKNOWN_CODE, f"{code:g}")
        return None
    return CKPLUS_EMOTION_CODES[int(code)]


def _numbers(path: str) -> list[list[float]] | None:
    """The numbers of each line that has any, or None where something else stands in the file."""
    try:
        lines = read_small(Path(path)).splitlines()
        return [[float(word) for word in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError):
        return None
