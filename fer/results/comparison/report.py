"""The page of a comparison: in, findings; out, `compare.html`, one file that opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from fer.results.comparison.figures import curves_overlaid, parallel_coordinates, score_by_setting
from fer.results.comparison.findings import Findings
from fer.results.comparison.run_settings import short_keys
from fer.results.comparison.tables import duration, p_value, signed, span
from fer.results.page import render
from fer.runs import write_text

_CURVES = {"Validation score": "val/score", "Validation loss": "val/loss", "Training loss": "train/loss"}


def write_page(findings: Findings, folder: Path, name: str, line: str) -> Path:
    """Writes `compare.html` into the folder and returns its path.

    Args:
        findings: what is shown.
        folder: an existing one.
        name: the heading.
        line: the command that repeats the comparison.
    """
    page = render(
        "fer.results.comparison",
        "compare.html.j2",
        _context(findings, name, line),
        signed=signed,
        span=span,
        p_value=p_value,
        duration=duration,
    )
    write_text(folder / "compare.html", page)
    return folder / "compare.html"


def _context(findings: Findings, name: str, line: str) -> dict[str, Any]:
    whom, won, above, *rest = findings.sentences()
    curves = {title: figure for title, tag in _CURVES.items() if (figure := curves_overlaid(findings, tag))}
    parallel = parallel_coordinates(findings)
    return {
        "name": name,
        "line": line,
        "whom": whom,
        "won": won,
        "above": above,
        "notes": rest,
        "heads": list(short_keys(list(findings.settings.columns)).values()) or ["run"],
        "rows": [_row(findings, k) for k in findings.order],
        "versus": "reference" if findings.reference_named else "best",
        "reach": _reach(findings),
        "by_setting": {key: Markup(figure) for key, figure in score_by_setting(findings).items()},
        "parallel": Markup(parallel) if parallel else None,
        "curves": {title: Markup(figure) for title, figure in curves.items()},
    }


def _row(findings: Findings, k: int) -> dict[str, Any]:
    named = list(findings.settings.loc[k]) or [findings.labels[k]]
    return {
        "cells": named,
        "standing": findings.standing(k),
        "seconds": findings.runs[k].seconds,
        "folder": str(findings.runs[k].path),
        "won": findings.won(k),
        "dead": findings.dead(k),
    }


def _reach(findings: Findings) -> float:
    """The largest end of an interval of a difference: the bars of all rows share one scale."""
    ends = [abs(end) for standing in findings.comparison.standings for end in standing.difference_ci or ()]
    return max(ends, default=0) or 1
