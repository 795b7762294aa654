"""The comparison as text: in, findings; out, the terminal's table of at most 100 columns, and Markdown."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from fer.results.comparison.findings import Findings
from fer.results.comparison.run_settings import short_keys
from fer.terminal import fitted, short, span, table

MOST_COLUMNS = 5
"""Settings that a page has room for, a column each."""
_GAP = 2
_STYLES = {"worse": "red", "dead": "red", "better": "green", "winner": "green"}
HEADS = ("score", "95%", "diff", "95%", "p", "", "time")
"""Of the columns of numbers; p is corrected."""


def print_comparison(findings: Findings, console: Console) -> None:
    """Prints the sentences and a row per run, the best first."""
    width = fitted(console).width
    for number, sentence in enumerate(findings.sentences()):
        console.print(Text(sentence, style=("bold", "bold green", "")[min(number, 2)]))
    console.print()
    numbers = [numbers_of(findings, k) for k in range(len(findings.runs))]
    taken = sum(max(map(len, column)) + _GAP for column in zip(HEADS, *numbers, strict=True)) + len(str(len(numbers)))
    heads, rows = _settings_columns(findings, width - taken)
    made = table("", *heads, *HEADS, words=1 + len(heads))
    for place, k in enumerate(findings.order, start=1):
        cells = [Text(cell, style=_STYLES.get(cell, "")) for cell in numbers[k]]
        made.add_row(str(place), *map(Text, rows[k]), *cells, style="bold" if findings.won(k) else None)
    console.print(made)


def _settings_columns(findings: Findings, room: int) -> tuple[list[str], list[list[str]]]:
    """Heads and cells: a column per setting where they fit beside the numbers, else one with all."""
    short = short_keys(list(findings.settings.columns))
    heads = [short[key].replace("_", "_\n") for key in findings.settings.columns]
    cells: list[list[str]] = findings.settings.to_numpy(dtype=str).tolist()
    columns = zip(heads, *cells, strict=True)
    widths = [max(len(word) for cell in column for word in cell.split("\n")) for column in columns]
    if not heads or sum(widths) + _GAP * len(widths) > room:
        return ["run"], [[label] for label in findings.labels]
    return heads, cells


def numbers_of(findings: Findings, k: int) -> list[str]:
    """The cells under `HEADS` for run `k`."""
    found = findings.standing(k)
    mark = "dead" if findings.dead(k) else "winner" if findings.won(k) else found.verdict
    if k == findings.comparison.reference:
        apart = ["ref." if findings.reference_named else "best", "", ""]
    else:
        apart = [short(found.difference, sign=True), span(found.difference_ci, sign=True), p_value(found.p_holm)]
    return [short(found.score), span(found.score_ci), *apart, mark, duration(findings.runs[k].seconds)]


def p_value(value: float | None) -> str:
    """`.031`, or `<.001`."""
    if value is None:
        return "-"
    return "<.001" if value < 0.001 else short(value)


def duration(seconds: float | None) -> str:
    """`12 s`, `3.4 min` or `2.1 h`."""
    if seconds is None:
        return "-"
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def columns_of(findings: Findings) -> list[str]:
    """The settings with a column each on a page; none where there are too many: then a run is called by its label."""
    keys = list(findings.settings.columns)
    return keys if len(keys) <= MOST_COLUMNS else []


def as_markdown(findings: Findings, title: str) -> str:
    """The content of `compare.md`."""
    keys = columns_of(findings)
    heads = ["", *(keys or ["run"]), *(head or "mark" for head in HEADS)]
    lines = [f"# {title}", "", *(f"- {sentence}" for sentence in findings.sentences()), ""]
    lines += [_row(heads), _row(["---"] * len(heads))]
    for place, k in enumerate(findings.order, start=1):
        named = list(findings.settings.loc[k, keys]) if keys else [findings.labels[k]]
        lines.append(_row([str(place), *named, *numbers_of(findings, k)]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
