"""Figures of a comparison: in, findings; out, inline SVG text that takes its colours from the page. The winner stands out in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator

from fer.results.comparison.findings import Findings
from fer.results.comparison.run_settings import short_keys
from fer.results.course import read_curves
from fer.results.predictions import FloatArray
from fer.results.svg import CARD, FAINT, FIRST, INK, SECOND, STYLE, svg

_MOST_VALUES = 12
"""Values on an axis beyond which names can't be read: those of a random search, say."""
_MOST_AXES = 8
_LONGEST = 18


def score_by_setting(findings: Findings) -> dict[str, Markup]:
    """Setting -> one panel: a dot per run, and the mean of the runs that share a value."""
    scores = np.array([standing.score for standing in findings.comparison.standings])
    found = {}
    for key, short in short_keys(list(findings.settings.columns)).items():
        values = findings.settings[key]
        places, names = _places(values)
        with context(STYLE):
            figure = Figure(figsize=(3.6, 2.4), layout="constrained")
            axes = figure.subplots()
            axes.plot(places, scores, "o", color=FIRST, markersize=4, alpha=0.55, clip_on=False)
            means = pd.Series(scores).groupby(places).mean()
            axes.plot(means.index, means, "-", color=FIRST)
            axes.plot(places[findings.winner], scores[findings.winner], "o", color=SECOND, clip_on=False)
            _name_places(axes, names)
            axes.set_ylabel("score")
            found[short] = svg(figure)
    return found


def parallel_coordinates(findings: Findings) -> Markup | None:
    """One line per run over the differing settings to its score; the higher the score, the stronger the line.

    None with a single setting, which `score_by_setting` shows.
    """
    keys = list(findings.settings.columns)[:_MOST_AXES]
    if len(keys) < 2:
        return None
    scores = np.array([standing.score for standing in findings.comparison.standings])
    axes_of = [_places(findings.settings[key]) for key in keys]
    columns = [_scaled(places, len(names) - 1) for places, names in axes_of]
    low, high = float(scores.min()), float(scores.max())
    heights = np.column_stack([*columns, (scores - low) / ((high - low) or 1)])
    # runs that share values would lie on one another: each crosses an axis a little apart
    heights[:, :-1] += 0.03 * (heights[:, -1:] - 0.5)
    with context(STYLE):
        figure = Figure(figsize=(max(9.0, 1.5 * (len(keys) + 2)), 3.2), layout="constrained")
        axes = figure.subplots()
        axes.spines[:].set_visible(False)
        axes.set(xlim=(-0.3, len(keys) + 0.3), ylim=(-0.08, 1.08), yticks=())
        for k in findings.order[::-1]:
            won = k == findings.winner
            strength = 0.2 + 0.6 * heights[k, -1] ** 2
            axes.plot(
                heights[k], color=SECOND if won else FIRST, alpha=1 if won else strength, linewidth=2 if won else 1
            )
        short = short_keys(keys)
        for x, (key, (_, names)) in enumerate(zip(keys, axes_of, strict=True)):
            _axis(axes, x, list(zip(_scaled(np.arange(len(names), dtype=float), len(names) - 1), names, strict=True)))
            axes.text(x, 1.1, short[key], ha="center", fontweight="bold", color=INK)
        _axis(axes, len(keys), [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")])
        axes.text(len(keys), 1.1, "score", ha="center", fontweight="bold", color=INK)
        axes.set_xticks([])
        return svg(figure)


def _axis(axes: Axes, x: float, marks: Sequence[tuple[float, str]]) -> None:
    axes.axvline(x, ymin=0.07, ymax=0.93, color=FAINT, linewidth=1)
    shown = marks if len(marks) <= _MOST_VALUES else [marks[0], marks[-1]]
    for y, name in shown:
        axes.text(
            x,
            y,
            name,
            ha="center",
            va="center",
            fontsize=8,
            color=INK,
            bbox={"facecolor": CARD, "pad": 1.5, "linewidth": 0},
        )


def curves_overlaid(findings: Findings, tag: str) -> Markup | None:
    """One logged number over the epochs, a line per run, the winner's on top; None where no run logged it."""
    with context(STYLE):
        figure = Figure(figsize=(4.8, 3), layout="constrained")
        axes = figure.subplots()
        others = [k for k in findings.order[::-1] if k != findings.winner]
        drawn = [k for k in [*others, findings.winner] if _curve(findings, k, tag, axes)]
        if not drawn:
            return None
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)
        return svg(figure)


def _curve(findings: Findings, k: int, tag: str, axes: Axes) -> bool:
    curves = read_curves(findings.runs[k].path / "curves.csv")
    if curves is None or tag not in curves or not curves[tag].notna().any():
        return False
    known = curves[["epoch", tag]].dropna()
    won = k == findings.winner
    axes.plot(
        known["epoch"] + 1,
        known[tag],
        color=SECOND if won else FIRST,
        alpha=1 if won else max(0.15, 0.7 - 0.01 * len(findings.runs)),
        linewidth=2 if won else 1,
        marker="o" if len(known) == 1 else None,
        markersize=3,
        label=(("winner" if findings.won(k) else "highest score") if won else None if axes.lines else "other runs"),
    )
    return True


def _places(values: pd.Series) -> tuple[FloatArray, list[str]]:
    """(runs,) places on an axis, 0, 1, 2 ..., and the names of the places: numbers by size, the rest as they came."""
    names = list(dict.fromkeys(values))
    numbers = pd.to_numeric(pd.Series(names), errors="coerce")
    if numbers.notna().all():
        names = [names[k] for k in numbers.argsort()]
    places = values.map({name: float(k) for k, name in enumerate(names)})
    return places.to_numpy(dtype=float), [_cut(name) for name in names]


def _scaled(places: FloatArray, last: int) -> FloatArray:
    return places / last if last else np.full(len(places), 0.5)


def _cut(name: str) -> str:
    """Long values keep their end: paths begin alike."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _name_places(axes: Axes, names: Sequence[str]) -> None:
    shown = range(len(names)) if len(names) <= _MOST_VALUES else (0, len(names) - 1)
    tilted = sum(len(name) + 2 for name in names) > 40
    axes.set_xticks(
        list(shown), [names[k] for k in shown], rotation=35 if tilted else 0, ha="right" if tilted else "center"
    )
    axes.set_xlim(-0.4, len(names) - 0.6)
