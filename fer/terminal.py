"""What all tables on a terminal have in common: 100 columns, words to the left, numbers to the right, and how a score is written.

Never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 100
"""Columns that every table fits into."""


def fitted(console: Console) -> Console:
    """The console, no wider than `WIDTH`; a file or a pipe just so: rich assumes 80 there, where nothing limits the width."""
    console.width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    return console


def table(*heads: str, words: int = 1) -> Table:
    """A table without side borders: first `words` columns of words, then numbers."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for place, head in enumerate(heads):
        number = place >= words
        made.add_column(head, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return made


def short(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """`.437`, or `+.437`: without the leading zero, so that twelve scores fit beside each other; `-` for none."""
    if value is None:
        return "-"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def span(ends: Sequence[float] | None, digits: int = 3, *, sign: bool = False) -> str:
    """An interval: `.412-.538`, or with signs `-.031 +.095`; `-` for none."""
    return (" " if sign else "-").join(short(end, digits, sign=sign) for end in ends) if ends else "-"
