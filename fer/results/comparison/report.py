"""The page of a comparison: in, findings; out, one file that opens offline."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from fer.config import CompareConfig
from fer.results.comparison.figures import curves_overlaid, parallel_coordinates, score_by_setting
from fer.results.comparison.findings import Findings, find
from fer.results.comparison.judged_runs import read_runs
from fer.results.comparison.run_settings import short_keys
from fer.results.comparison.tables import columns_of, duration, p_value
from fer.results.page import render
from fer.runs.folder import write_text
from fer.terminal import short, span

_CURVES = {"Validation score": "val/score", "Validation loss": "val/loss", "Training loss": "train/loss"}


def write_page(findings: Findings, path: Path, name: str, line: str) -> None:
    """Writes the page.

    Args:
        findings: what is shown.
        path: of the file.
        name: the heading.
        line: the command that repeats the comparison.
    """
    page = render(
        "fer.results.comparison",
        "compare.html.j2",
        _context(findings, name, line),
        short=short,
        span=span,
        p_value=p_value,
        duration=duration,
    )
    write_text(path, page)


def write_sweep_page(folder: Path) -> Path:
    """Writes a sweep's own page, `report.html`, and returns its path: what `fer.compare` says of its runs.

    Raises:
        FerError: there are fewer than two with scores, or they were not judged on the same people and labels.
    """
    page = folder / "report.html"
    page.unlink(missing_ok=True)  # that of an earlier call does not speak of all runs
    findings = find(read_runs([str(folder)]), CompareConfig())
    write_page(findings, page, folder.name, shlex.join(["python", "-m", "fer.compare", str(folder)]))
    return page


def _context(findings: Findings, name: str, line: str) -> dict[str, Any]:
    whom, won, above, *rest = findings.sentences()
    curves = {title: figure for title, tag in _CURVES.items() if (figure := curves_overlaid(findings, tag))}
    return {
        "name": name,
        "line": line,
        "whom": whom,
        "won": won,
        "above": above,
        "notes": rest,
        "heads": list(short_keys(columns_of(findings)).values()) or ["run"],
        "rows": [_row(findings, k) for k in findings.order],
        "versus": "reference" if findings.reference_named else "best",
        "reach": _reach(findings),
        "by_setting": score_by_setting(findings),
        "parallel": parallel_coordinates(findings),
        "curves": curves,
    }


def _row(findings: Findings, k: int) -> dict[str, Any]:
    columns = columns_of(findings)
    return {
        "cells": list(findings.settings.loc[k, columns]) if columns else [findings.labels[k]],
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
