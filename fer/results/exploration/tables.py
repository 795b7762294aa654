"""The terminal summary of an exploration: text of at most 100 columns, plain off a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fer.config import DataConfig
from fer.results.exploration.explore import Exploration
from fer.results.exploration.findings import findings
from fer.results.exploration.report import facts
from fer.terminal import fitted, table

_COLOURS = {True: "green", False: "red", None: ""}


def print_exploration(found: Exploration, cfg: DataConfig, console: Console) -> None:
    """Prints what there is, what to know, and the counts per split."""
    fitted(console)
    for made in (_facts(found, cfg), _splits(found), _emotions(found), _units(found)):
        if made.row_count:
            console.print(made)
            console.print()
    known = _grid()
    for finding in findings(found, cfg):
        known.add_row(finding.topic, Text(finding.text, style=_COLOURS[finding.good]))
    console.print(known)


def _facts(found: Exploration, cfg: DataConfig) -> Table:
    table = _grid()
    for term, words in facts(found, cfg):
        table.add_row(term, Text(words, overflow="fold"))
    return table


def _splits(found: Exploration) -> Table:
    made = table("split", "pictures", "people", "with emotion", "with AUs")
    for part, row in found.splits.iterrows():
        made.add_row(str(part), *map(str, row))
    return made


def _emotions(found: Exploration) -> Table:
    made = table("emotion", "pictures", "people", *found.splits.index)
    for row in found.emotions.to_dict("records"):
        counts = [str(row[column]) for column in ("pictures", "people", *found.splits.index)]
        made.add_row(
            f"  {row['stated']}" if row["stated"] else row["class"], *counts, style="dim" if row["stated"] else ""
        )
    return made


def _units(found: Exploration) -> Table:
    made = table("AU", "positive", "of", "people", *found.splits.index, "in the head")
    for row in found.units.to_dict("records"):
        counts = [str(row[column]) for column in ("positive", "coded", "people", *found.splits.index)]
        words = f"{row['AU']:<4} {row['meaning']}"
        made.add_row(words, *counts, "yes" if row["in_head"] else "no", style="" if row["in_head"] else "dim")
    return made


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    return table
