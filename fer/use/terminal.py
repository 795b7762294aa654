"""Answers for people at a terminal: all about one picture, a line for each of many."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fer.errors import printable
from fer.labels import au_meaning
from fer.use.answers import Face
from fer.use.facts import Facts
from fer.use.stream import Seen

FOUND = {
    "detector": "found by the detector",
    "box": "given",
    "landmarks": "given",
    "whole": "the whole picture",
}
"""What `Face.how` means."""

NO_FACE = "no face found: the answers are about the whole picture"

BAR = 20
SHOWN_IN_FULL = 3
"""Pictures with more faces get a line per face."""


def print_picture(seen: Seen, facts: Facts, console: Console) -> None:
    """Everything that the model says about one picture."""
    if len(seen.faces) > SHOWN_IN_FULL:
        console.print(_all_in_brief(seen))
        return
    for k, face in enumerate(seen.faces, start=1):
        x, y, w, h = face.box
        place = f"face {k} of {len(seen.faces)} at x {x:.0f} y {y:.0f}, {w:.0f} x {h:.0f} pixels ({FOUND[face.how]})"
        if face.how == "whole":
            place = NO_FACE if face.missed else FOUND["whole"]
        console.print(Text(f"{printable(seen.item.path)}: {place}", style="bold"), soft_wrap=True)
        if face.emotion is not None:
            console.print(_emotions(face))
        if face.au_prob:
            console.print(_units(face, facts))
        console.print()


def _all_in_brief(seen: Seen) -> Table:
    table = Table(
        box=None, pad_edge=False, title=Text(printable(seen.item.path)), title_justify="left", header_style=""
    )
    for column in ("face", "box", "emotion", "active units"):
        table.add_column(column)
    for k, face in enumerate(seen.faces, start=1):
        emotion = f"{face.emotion} {face.emotion_prob[face.emotion]:.2f}" if face.emotion else ""
        table.add_row(str(k), " ".join(f"{v:.0f}" for v in face.box), Text(emotion), " ".join(face.active_aus))
    return table


def _emotions(face: Face) -> Table:
    table = Table(box=None, pad_edge=False, title="emotion", title_justify="left")
    for name, probability in sorted(face.emotion_prob.items(), key=lambda pair: -pair[1]):
        style = "bold green" if name == face.emotion else ""
        table.add_row(Text(name, style=style), f"{probability:.2f}", _bar(probability))
    table.show_header = False
    return table


def _units(face: Face, facts: Facts) -> Table:
    table = Table(box=None, pad_edge=False, title="action units", title_justify="left", header_style="")
    for column in ("", "", "prob", "", "active from", ""):
        table.add_column(column, justify="right" if column else "left")
    for au, probability in sorted(face.au_prob.items(), key=lambda pair: (not face.au_active[pair[0]], -pair[1])):
        style = "bold green" if face.au_active[au] else "dim"
        limit = f"{facts.thresholds[au]:.2f}"
        mark = "active" if face.au_active[au] else ""
        table.add_row(au, au_meaning(au), f"{probability:.2f}", _bar(probability), limit, mark, style=style)
    return table


def _bar(probability: float) -> str:
    return "█" * round(BAR * probability)


def line(seen: Seen) -> str:
    """The decisions about one picture in one line: `photo.jpg: happy .93, AU6 AU12 · sadness .51, no AU`."""
    path = printable(seen.item.path)
    where = path if seen.item.time is None else f"{path} {seen.item.time:8.2f} s"
    return f"{where}: {' · '.join(map(_decisions, seen.faces))}"


def _decisions(face: Face) -> str:
    parts = []
    if face.emotion is not None:
        parts.append(f"{face.emotion} {face.emotion_prob[face.emotion]:.2f}")
    if face.au_prob:
        parts.append(" ".join(face.active_aus) or "no AU")
    return f"{', '.join(parts)}{' (no face found)' if face.missed else ''}"
