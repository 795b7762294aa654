"""The terminal summary of an exploration: text of at most 100 columns, plain off a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fer.config import DataConfig
from fer.results.exploration.explore import Exploration
from fer.results.exploration.findings import findings
from fer.results.exploration.report import facts

_WIDTH = 100
_COLOURS = {True: "green", False: "red", None: ""}


def print_exploration(found: Exploration, cfg: DataConfig, console: Console) -> None:
    """Prints what there is, what to know, and the counts per split."""
    if not console.is_terminal:
        console.width = _WIDTH  # rich assumes 80 in files and pipes, where nothing limits the width
    width = min(_WIDTH, console.width)
    for table in (_facts(found, cfg), _splits(found), _emotions(found), _units(found)):
        if table.row_count:
            console.print(table, width=width)
            console.print()
    known = _grid()
    for finding in findings(found, cfg):
        known.add_row(finding.topic, Text(finding.text, style=_COLOURS[finding.good]))
    console.print(known, width=width)


def _facts(found: Exploration, cfg: DataConfig) -> Table:
    table = _grid()
    for term, words in facts(found, cfg):
        table.add_row(term, Text(words, overflow="fold"))
    return table


def _splits(found: Exploration) -> Table:
    table = _counts("split", "pictures", "people", "with emotion", "with AUs")
    for part, row in found.splits.iterrows():
        table.add_row(str(part), *map(str, row))
    return table


def _emotions(found: Exploration) -> Table:
    table = _counts("emotion", "pictures", "people", *found.splits.index)
    for row in found.emotions.to_dict("records"):
        counts = [str(row[column]) for column in ("pictures", "people", *found.splits.index)]
        table.add_row(
            f"  {row['stated']}" if row["stated"] else row["class"], *counts, style="dim" if row["stated"] else ""
        )
    return table


def _units(found: Exploration) -> Table:
    table = _counts("AU", "positive", "of", "people", *found.splits.index, "in the head")
    for row in found.units.to_dict("records"):
        counts = [str(row[column]) for column in ("positive", "coded", "people", *found.splits.index)]
        words = f"{row['AU']:<4} {row['meaning']}"
        table.add_row(words, *counts, "yes" if row["in_head"] else "no", style="" if row["in_head"] else "dim")
    return table


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    return table


def _counts(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    return table
