"""The page of an exploration: in, what was found; out, `report.html`, one file that opens offline, and the tables as csv files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from fer.config import DataConfig
from fer.data.faces import VIEW_OVER_BOX
from fer.labels import au_meaning
from fer.results.exploration.explore import Exploration
from fer.results.exploration.figures import face_sizes, per_person, sizes
from fer.results.exploration.findings import findings
from fer.results.exploration.label_checks import CRITERIA, NAMED_UNITS
from fer.results.page import render
from fer.runs.folder import write_text

SHOWN = 30
"""Rows of a list on the page; the csv file has all."""

PAIRS_SHOWN = 12

IMAGE_COLUMNS = ("path", "subject", "split", "stated", "width", "height", "color", "bits", "format", "how")


def write_tables(found: Exploration, folder: Path) -> None:
    """Writes each table that has rows into an existing folder."""
    tables = {
        "images": found.table[list(IMAGE_COLUMNS)],
        "people": found.people.reset_index(),
        "split": found.people["split"].reset_index(),
        "emotions": found.emotions,
        "aus": found.units,
        "au_cooccurrence": found.together.rename_axis("AU").reset_index(),
        "au_by_emotion": found.by_emotion.round(4).rename_axis("emotion").reset_index(),
        "inconsistent": _inconsistent(found),
        "near_duplicates": found.shared,
        "skipped": found.skipped,
    }
    for name, table in tables.items():
        if len(table):
            write_text(folder / f"{name}.csv", table.to_csv(index=False))


def _inconsistent(found: Exploration) -> pd.DataFrame:
    """Columns `why`, then what the finding has."""
    broken = found.broken_rules.drop(columns="agrees").assign(why="emotion and AUs contradict Table 2")
    varying = found.sequences.assign(why="labels vary within a sequence")
    pairs = found.contradicting.assign(why="near-identical pictures with different emotions")
    listed = [rows for rows in (broken, varying, pairs) if len(rows)]
    return pd.concat(listed).pipe(lambda rows: rows[["why", *rows.columns.drop("why")]]) if listed else broken


def write_page(
    found: Exploration, cfg: DataConfig, folder: Path, about: Mapping[str, Any], sheets: Mapping[str, Any]
) -> Path:
    """Writes `report.html` into the folder and returns its path.

    Args:
        about: content of `run.json`.
        sheets: `faces`, `views`, `shared`, `contradicting` of `fer.results.exploration.pictures`; empty without pictures.
    """
    page = render(
        "fer.results.exploration",
        "explore.html.j2",
        page_context(found, cfg, about, sheets),
        percent=_percent,
        file_name=_file_name,
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def page_context(
    found: Exploration, cfg: DataConfig, about: Mapping[str, Any], sheets: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the template shows."""
    graded = [grade for grade in (*"12345", "not graded") if found.units[grade].any()]
    return {
        "name": about["name"],
        "image_size": cfg.image_size,
        "augment": about["augment"],
        "about": about,
        "findings": findings(found, cfg),
        "facts": facts(found, cfg),
        "splits": list(found.splits.index),
        "found": found,
        "emotions": found.emotions.to_dict("records"),
        "units": found.units.to_dict("records"),
        "grades": graded if graded != ["not graded"] else [],
        "meaning": {unit: au_meaning(unit) for unit in found.together.columns},
        "together": _shares(found.together),
        "criteria": CRITERIA,
        "named": {emotion: {f"AU{unit}" for unit in units} for emotion, units in NAMED_UNITS.items()},
        "agreement": agreement(found.rules),
        "broken_rules": found.broken_rules.head(SHOWN).to_dict("records"),
        "sequences": found.sequences.head(SHOWN).to_dict("records"),
        "shared": found.shared.head(PAIRS_SHOWN).to_dict("records"),
        "contradicting": found.contradicting.head(PAIRS_SHOWN).to_dict("records"),
        "skipped": found.skipped.groupby("reason").agg(n=("item", "size"), item=("item", "first")).to_dict("index"),
        "figures": _figures(found, cfg),
        "sheets": sheets,
    }


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _file_name(path: str) -> str:
    return "/".join(Path(path).parts[-2:])


def facts(found: Exploration, cfg: DataConfig) -> list[tuple[str, str]]:
    """(term, words): what there is, in short."""
    table, people = found.table, found.people
    size = table.groupby(["width", "height"]).size().sort_values(ascending=False)
    common = f"{size.index[0][0]:.0f} x {size.index[0][1]:.0f}"
    kinds = (table["color"] + " " + table["bits"].map("{:.0f} bit ".format) + table["format"]).value_counts()
    frames = found.table.groupby(["subject", "sequence"]).size()
    facts = {
        "Data": f"{cfg.name} {cfg.table or cfg.root or ''}".strip(),
        "Pictures": f"{len(table)} of {len(people)} people, {_span(people['pictures'])} of each",
        "Sequences": f"{len(frames)}, {_span(frames)} of each" if len(frames) else "",
        "Size": f"{common} ({size.iloc[0]} pictures)" + (f" and {len(size) - 1} more" if len(size) > 1 else ""),
        "Kind": ", ".join(f"{n} {kind}" for kind, n in kinds.items()),
        "Faces found by": ", ".join(f"{how} {n}" for how, n in table["how"].value_counts().items()),
        "Labels": f"{found.splits['with_emotion'].sum()} with an emotion, {found.splits['with_aus'].sum()} with AUs",
        "Heads": f"{len(found.aus)} AUs, {len(found.classes)} emotions ({cfg.emotions})",
    }
    return [(term, words) for term, words in facts.items() if words]


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high} (median {counts.median():g})"


def agreement(rules: pd.DataFrame) -> list[dict[str, Any]]:
    """Per emotion: pictures with AU labels, how many meet the criterion, and which other criteria they meet."""
    rows = []
    for emotion, part in rules.groupby("emotion"):
        also = part["also"].str.split().explode().value_counts()
        words = ", ".join(f"{name} {n}" for name, n in also.items() if name)
        rows.append({"emotion": emotion, "n": len(part), "agree": int(part["agrees"].sum()), "also": words})
    return sorted(rows, key=lambda row: list((*CRITERIA, row["emotion"])).index(row["emotion"]))


def _shares(together: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Of the pictures with the AU of the row, the share that show the AU of the column."""
    shares = together.div(together.to_numpy().diagonal(), axis="index")
    return {str(unit): dict(row) for unit, row in shares.iterrows()}


def _figures(found: Exploration, cfg: DataConfig) -> dict[str, Markup]:
    figures = {
        "Sizes of the files": sizes(found.table, cfg.image_size),
        "Pictures per person": per_person(found.people),
    }
    located = found.table[found.table["how"] != "whole"]
    if len(located):
        figures["Sizes of the faces"] = face_sizes(located["box"], cfg.image_size / VIEW_OVER_BOX)
    return figures
