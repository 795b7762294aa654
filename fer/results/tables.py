"""The terminal table: in, the splits of `metrics.json`; out, text of at most 100 columns, plain off a terminal.

Terminals narrower than that get fewer columns, never cut numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fer.labels import au_meaning
from fer.results.measures import MEASURES
from fer.results.wording import PARTLY_CHOSEN, alarms, dead_line, number_name, unjudged, verdicts
from fer.terminal import fitted, short, span, table

_SHORT = {"precision": "P", "recall": "R", "f1": "F1", "auc": "AUC", "ap": "AP"}
_COLOURS = {True: "green", False: "red", None: "yellow"}
_WIDE_ENOUGH = 98
"""The widest table, to the last column."""

_FEW_FOLDS = 20
"""With more, their rows would only hide the mean."""

_Columns = Sequence[tuple[str, str]]
"""(micro or macro, score) of each average in the headline."""


def print_scores(metrics: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Prints verdict and headline scores with intervals and baselines of every split; of the last one also each AU and emotion."""
    fitted(console)
    for split, scores in metrics.items():
        if dead := dead_line(scores):
            console.print(Text(dead, style="bold red"))
        people = f"{scores['n_images']} images of {scores['n_subjects']} people"
        blind = f", {short(scores['score_constant'])} without looking" if "score_constant" in scores else ""
        score = f"score {short(scores['score'])} [{span(scores['score_ci'])}]{blind}"
        console.print(Text(f"{split}: {people}, {score}", style="bold"))
        for verdict in verdicts(scores):
            line = Text(f"{verdict.head}: {verdict.text}", style=_COLOURS[verdict.good])
            console.print(line)
        if few := unjudged(scores):
            console.print(Text(f"{few.head}: {few.text}", style="yellow"))
        if split in PARTLY_CHOSEN:
            console.print(Text(f"Mind: {PARTLY_CHOSEN[split]}", style="yellow"))
        for alarm in alarms(scores):
            console.print(Text(f"Look closer: {alarm}", style="yellow"))
        for made in _tables(scores, wide=console.width >= _WIDE_ENOUGH)[: None if split == list(metrics)[-1] else 1]:
            console.print(made)
            console.print()


def print_folds(folds: Mapping[str, Any], console: Console) -> None:
    """Prints the numbers of each fold of a cross-validation, their mean and standard deviation (`fer.results.pooling`)."""
    fitted(console)
    names = list(folds["mean"])
    made = table("fold", *map(number_name, names))
    if len(folds["each"]) <= _FEW_FOLDS:
        for number, scores in zip(folds["numbers"], folds["each"], strict=True):
            made.add_row(str(number), *(short(scores.get(name)) for name in names))
        made.add_section()
    made.add_row("mean", *(short(folds["mean"][name]) for name in names), style="bold")
    made.add_row("sd", *(short(folds["sd"][name]) for name in names))
    console.print(made)


def _tables(scores: Mapping[str, Any], wide: bool) -> list[Table]:
    tables = [_headline(scores, wide)]
    if au := scores.get("au"):
        tables.append(_per_au(au["per_au"], wide))
    if emotion := scores.get("emotion"):
        tables += [_per_class(emotion["per_class"]), _confusion(emotion["confusion"])]
    return tables


def _headline(scores: Mapping[str, Any], wide: bool) -> Table:
    micro = MEASURES if wide else ("f1", "auc")
    columns = [("macro", name) for name in MEASURES] + [("micro", name) for name in micro]
    heads = [f"{kind}\n{_SHORT[name]}" for kind, name in columns]
    made = table("", "\nloss", "\nacc", *heads)
    if au := scores.get("au"):
        baselines = {"constant": "best constant", "base_rate": "base rates"}
        _headline_rows(made, ("AUs", au, "binary_accuracy"), columns, baselines)
    if emotion := scores.get("emotion"):
        _headline_rows(made, ("Emotion", emotion, "accuracy"), columns, {"majority": "majority"})
    return made


def _headline_rows(
    made: Table, head: tuple[str, Mapping[str, Any], str], columns: _Columns, baselines: Mapping[str, str]
) -> None:
    words, section, accuracy = head
    made.add_row(f"{words} ({section['n_images']})", *_headline_cells(section, accuracy, columns), style="bold")
    intervals = [section[f"{name}_ci"] for name in ("loss", accuracy)]
    intervals += [section[f"{kind}_{name}_ci"] for kind, name in columns]
    for end, label in enumerate(("  95% from", "  95% to")):
        made.add_row(label, *(short(ci[end] if ci else None) for ci in intervals))
    for key, label in baselines.items():
        cells = _headline_cells(section["baselines"][key], accuracy, columns)
        made.add_row(f"  {label}", *cells, style="dim")
    made.add_section()


def _headline_cells(section: Mapping[str, Any], accuracy: str, columns: _Columns) -> list[str]:
    averages = [section[kind][name] for kind, name in columns]
    return [short(value) for value in (section["loss"], section[accuracy], *averages)]


def _per_au(per_au: Mapping[str, Mapping[str, Any]], wide: bool) -> Table:
    made = table("AU", "n", "pos", "thr", *_LABEL_HEADS)
    for name, row in per_au.items():
        counts = (str(row["n"]), str(row["n_positive"]), short(row["threshold"], 2))
        words = f"{name:<4} {au_meaning(name)}" if wide else name
        made.add_row(words, *counts, *_label_cells(row))
    return made


def _per_class(per_class: Mapping[str, Mapping[str, Any]]) -> Table:
    made = table("emotion", "n", *_LABEL_HEADS)
    for name, row in per_class.items():
        made.add_row(name, str(row["n"]), *_label_cells(row))
    return made


# "all+": the F1 of saying "present" for every picture, the baseline of the F1 before it.
_LABEL_HEADS = ("P", "R", "F1", "95%", "all+", "AUC", "95%", "AP", "95%")


def _label_cells(row: Mapping[str, Any]) -> list[str]:
    cells = [short(row["precision"], 2), short(row["recall"], 2)]
    for name in ("f1", "auc", "ap"):
        cells += [short(row[name], 2), span(row[f"{name}_ci"], 2)]
    cells.insert(4, short(row["f1_constant"], 2))
    return cells


def _confusion(confusion: Mapping[str, Any]) -> Table:
    made = table("truth \\ answer", *confusion["labels"])
    for name, row in zip(confusion["labels"], confusion["matrix"], strict=True):
        made.add_row(name, *map(str, row))
    return made
