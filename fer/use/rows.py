"""Answers as a table: a row per face, in CSV or JSON Lines, written as it goes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import IO, Any

from fer.errors import FerError, printable
from fer.use.answers import Face
from fer.use.facts import Facts
from fer.use.stream import Seen


def columns(facts: Facts, video: bool) -> list[str]:
    """`path`, of a video `frame`, `time` (seconds) and `face` (a number that stays with it), the box and how it was found, answers."""
    place = ["path", *(("frame", "time", "face") if video else ()), "x", "y", "w", "h", "how"]
    units = [f"{au}_{what}" for au in facts.aus for what in ("prob", "pred")]
    emotions = ["emotion_pred", *(f"emotion_prob_{name}" for name in facts.emotions)] if facts.emotions else []
    return [*place, *units, *emotions]


def rows(seen: Seen) -> list[dict[str, Any]]:
    """A row per face, keyed by column."""
    moment = {} if seen.item.frame is None else {"frame": seen.item.frame, "time": seen.item.time}
    found = []
    for face, number in zip(seen.faces, seen.numbers, strict=True):
        track = {} if seen.item.frame is None else {"face": number}
        found.append({"path": seen.item.path, **moment, **track, **_answers(face)})
    return found


def _answers(face: Face) -> dict[str, Any]:
    row: dict[str, Any] = {side: round(value, 1) for side, value in face.box._asdict().items()}
    row["how"] = face.how
    for au, probability in face.au_prob.items():
        row |= {f"{au}_prob": round(probability, 6), f"{au}_pred": int(face.au_active[au])}
    if face.emotion is not None:
        row["emotion_pred"] = face.emotion
        row |= {f"emotion_prob_{name}": round(probability, 6) for name, probability in face.emotion_prob.items()}
    return row


class RowFile:
    """The file of `output=`. It comes into being with its first row, and what was written is whole lines, whatever happens then.

    Args:
        path: ends in `.csv` or `.jsonl`.
        names: see `columns`.
    """

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path, self.names = path, names
        self._file: IO[str] | None = None

    @property
    def begun(self) -> bool:
        """Whether it is there: it comes into being with its first row."""
        return self._file is not None

    def write(self, seen: Seen) -> None:
        """Adds the rows of one picture, on disk when this returns.

        Raises:
            FerError: the file can't be written.
        """
        try:
            file = self._open()
            if self.path.suffix == ".csv":
                csv.DictWriter(file, self.names, lineterminator="\n").writerows(map(_of_one_line, rows(seen)))
            else:
                file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows(seen))
            file.flush()
        except OSError as error:
            raise FerError(f"output={self.path} can't be written: {error.strerror}") from error

    def _open(self) -> IO[str]:
        if self._file is None:
            self._file = open(self.path, "w", encoding="utf-8", errors="backslashreplace", newline="")  # noqa: SIM115 (`close` ends it)
            if self.path.suffix == ".csv":
                csv.DictWriter(self._file, self.names, lineterminator="\n").writeheader()
        return self._file

    def close(self) -> None:
        """Ends it.

        Raises:
            FerError: the file can't be written.
        """
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:  # of what did not fit when it was written
            raise FerError(f"output={self.path} can't be written: {error.strerror}") from error


def _of_one_line(row: dict[str, Any]) -> dict[str, Any]:
    """Before Python 3.13 the csv writer leaves a carriage return without quotes, and readers take it for the end of a line."""
    return {key: printable(value) if isinstance(value, str) and "\r" in value else value for key, value in row.items()}
