"""Figures of a search as inline SVG: in, its trials; out, the course of the search, importances, and the score by value of a setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from statistics import median

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import LogFormatter, MaxNLocator
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from fer.results.svg import FAINT, FIRST, INK, SECOND, STYLE, svg


def history(trials: Sequence[FrozenTrial]) -> Markup:
    """The score of every trial in the order of their start, the best so far, and where the pruned ones stood."""
    with context(STYLE):
        figure = Figure(figsize=(6.4, 2.6), layout="constrained")
        axes = figure.subplots()
        complete = _complete(trials)
        _scatter(axes, [t.number for t in complete], [_value(t) for t in complete], "complete")
        pruned = [t for t in trials if t.state == TrialState.PRUNED and t.intermediate_values]
        if pruned:
            last = [t.intermediate_values[max(t.intermediate_values)] for t in pruned]
            axes.plot([t.number for t in pruned], last, "x", color=SECOND, markersize=4, label="pruned, last epoch")
        if complete:
            best = list(accumulate((_value(t) for t in complete), max))
            axes.step([t.number for t in complete], best, where="post", color=INK, linewidth=1, label="best so far")
        axes.set(xlabel="trial", ylabel="validation score")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)
        return svg(figure)


def importance_bars(importance: dict[str, float]) -> Markup:
    """A bar per setting, the most important one on top."""
    with context(STYLE):
        figure = Figure(figsize=(6.4, 0.5 + 0.26 * len(importance)), layout="constrained")
        axes = figure.subplots()
        names, shares = list(importance), list(importance.values())
        axes.barh(names, shares, color=FIRST, height=0.6)
        for row, share in enumerate(shares):
            axes.text(share, row, f" {share:.2f}".replace("0.", "."), va="center", fontsize=8)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.1 * max(shares)), xticks=[])
        axes.spines["bottom"].set_visible(False)
        return svg(figure)


def value_slice(trials: Sequence[FrozenTrial], key: str, values: BaseDistribution) -> Markup:
    """The score of the complete trials by their value of one setting; choices beside each other, with their median."""
    with context(STYLE):
        figure = Figure(figsize=(3.2, 2.2), layout="constrained")
        axes = figure.subplots()
        complete = [t for t in _complete(trials) if key in t.params]
        scores = [_value(t) for t in complete]
        if isinstance(values, CategoricalDistribution):
            places = [values.choices.index(t.params[key]) for t in complete]
            _scatter(axes, [place + _apart(k) for k, place in enumerate(places)], scores, None)
            for place in sorted(set(places)):
                middle = median(s for s, p in zip(scores, places, strict=True) if p == place)
                axes.plot([place - 0.3, place + 0.3], [middle, middle], color=INK, linewidth=1)
            axes.set_xticks(range(len(values.choices)), [str(choice) for choice in values.choices])
            axes.set_xlim(-0.5, len(values.choices) - 0.5)
        else:
            _scatter(axes, [t.params[key] for t in complete], scores, None)
            if getattr(values, "log", False):
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(
                    LogFormatter()
                )  # the usual ones write formulas, which are not parsed here
                axes.xaxis.set_minor_formatter(LogFormatter())
        axes.set_ylabel("validation score")
        axes.tick_params(which="both", color=FAINT)
        return svg(figure)


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state == TrialState.COMPLETE]


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _scatter(axes: Axes, x: Sequence[float], y: Sequence[float], label: str | None) -> None:
    axes.plot(x, y, "o", color=FIRST, markersize=4, alpha=0.75, label=label)


def _apart(k: int) -> float:
    """Moves points of equal value beside each other, the same way every time (steps of the golden ratio)."""
    return 0.3 * (math.modf(k * 0.618034)[0] - 0.5)
