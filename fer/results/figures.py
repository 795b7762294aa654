"""Figures of the report: in, curves and predictions; out, inline SVG text that takes its colours from the page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from fer.results.predictions import BoolArray, FloatArray
from fer.results.svg import FIRST, INK, SECOND, STYLE, svg

_MAX_POINTS = 200
"""Points kept of one ROC or PR curve: more are not visible at the size of a small multiple."""

_CURVE = {"left": 0.13, "right": 0.97, "bottom": 0.18, "top": 0.91}
_SIDE_BY_SIDE = {"left": 0.085, "right": 0.98, "bottom": 0.17, "top": 0.97, "wspace": 0.26}
_RELIABILITY = {"left": 0.17, "right": 0.97, "bottom": 0.15, "top": 0.97, "hspace": 0.12}
"""Where axes lie: what stands beside them has its place, and a layout for each figure would take longer than drawing it."""


def learning_curve(curves: pd.DataFrame, tags: Sequence[str], best_epoch: int | None) -> Markup:
    """One panel: each tag over the epochs, training first, with the epoch of the best checkpoint marked.

    Args:
        curves: columns `epoch` (from 0; drawn from 1, as the log counts them) and the tags; empty cells are skipped.
        tags: the columns to draw, at most two, such as `train/loss` and `val/loss`.
        best_epoch: where early stopping took the checkpoint, None to mark nothing.
    """
    with context(STYLE):
        figure = Figure(figsize=(3.6, 2.4))
        axes = figure.subplots(gridspec_kw=_CURVE)
        for tag in tags:
            known = curves[["epoch", tag]].dropna()
            style, colour = ("--", SECOND) if tag == "lr/backbone" or tag.startswith("train/") else ("-", FIRST)
            marker = "o" if len(known) == 1 else None
            axes.plot(
                known["epoch"] + 1,
                known[tag],
                style,
                color=colour,
                label=tag.removeprefix("lr/").split("/")[0],
                marker=marker,
            )
        if best_epoch is not None:
            axes.axvline(best_epoch + 1, color=INK, linewidth=1, linestyle=":", label="best epoch")
        axes.set_xlabel("epoch")
        axes.ticklabel_format(axis="y", scilimits=(-2, 4))  # rates are small: their power of ten is written once, above
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)
        return svg(figure)


class RocAndPr:
    """ROC and precision-recall curve of one label side by side: one pair of axes for all labels: making it takes longer than the rest."""

    def __init__(self) -> None:
        with context(STYLE):
            self.figure = Figure(figsize=(3.4, 1.75))
            self.roc, self.pr = self.figure.subplots(1, 2, gridspec_kw=_SIDE_BY_SIDE)
            for axes, x_label, y_label in (
                (self.roc, "false positive rate", "recall"),
                (self.pr, "recall", "precision"),
            ):
                axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 1), yticks=(0, 1))
                axes.set_xlabel(x_label, labelpad=-6)
                axes.set_ylabel(y_label, labelpad=-6)

    def draw(self, targets: FloatArray, scores: FloatArray, decided: BoolArray | None) -> Markup:
        """The two curves, what chance makes of them (dotted), and what was decided as a dot.

        Args:
            targets: (images,), 0 or 1, both present.
            scores: (images,).
            decided: (images,), what was called present; None draws no dot. Of folds with thresholds of their own it lies off the curves.
        """
        false_rate, true_rate, _ = roc_curve(targets, scores)
        precision, recall, _ = precision_recall_curve(targets, scores)
        with context(STYLE):
            drawn = [
                _curve(self.roc, false_rate, true_rate),
                *self.roc.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8),
                _curve(self.pr, recall, precision),
                self.pr.axhline(targets.mean(), linestyle=":", color=INK, linewidth=0.8),
                *(() if decided is None else _marks(self.roc, self.pr, targets == 1, decided)),
            ]
            picture = svg(self.figure)
        for line in drawn:
            line.remove()
        return picture


def reliability_diagram(bins: Mapping[str, list[Any]], bins_before: Mapping[str, list[Any]]) -> Markup:
    """What was predicted against what came true, after calibration and (dashed) before; below, how often each was said.

    Args:
        bins: of `fer.results.reliability.reliability_bins`.
        bins_before: the same, before calibration.
    """
    with context(STYLE):
        figure = Figure(figsize=(3.4, 2.9))
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1), gridspec_kw=_RELIABILITY)
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
        _reliability_line(axes, bins_before, "before", "--", SECOND)
        _reliability_line(axes, bins, "calibrated", "-", FIRST)
        axes.set(xlim=(0, 1), ylim=(0, 1), yticks=(0, 0.5, 1))
        axes.set_ylabel("came true")
        axes.legend(fontsize=8)
        edges = np.linspace(0, 1, len(bins["n"]) + 1)
        counts.stairs(bins_before["n"], edges, color=SECOND, linestyle="--")
        counts.stairs(bins["n"], edges, color=FIRST, fill=True, alpha=0.4)
        counts.set_yscale("symlog")
        counts.yaxis.set_major_formatter("{x:g}")  # the usual one writes formulas, which are not parsed here
        counts.set_xlabel("predicted probability")
        counts.set_ylabel("n")
        for each in (axes, counts):
            each.yaxis.set_label_coords(-0.15, 0.5)
        return svg(figure)


def _reliability_line(axes: Axes, bins: Mapping[str, list[Any]], label: str, style: str, colour: str) -> None:
    filled = [pair for pair in zip(bins["predicted"], bins["observed"], strict=True) if pair[0] is not None]
    axes.plot(*zip(*filled, strict=True), style, color=colour, marker="o", markersize=3, label=label, clip_on=False)


def _curve(axes: Axes, x: FloatArray, y: FloatArray) -> Line2D:
    kept = np.unique(np.linspace(0, len(x) - 1, _MAX_POINTS).astype(int))
    return axes.plot(x[kept], y[kept], color=FIRST, clip_on=False)[0]


def _marks(roc: Axes, pr: Axes, positive: BoolArray, decided: BoolArray) -> Iterator[Line2D]:
    recall = decided[positive].mean()
    yield from roc.plot(decided[~positive].mean(), recall, "o", color=SECOND, markersize=5, clip_on=False)
    if decided.any():
        yield from pr.plot(recall, positive[decided].mean(), "o", color=SECOND, markersize=5, clip_on=False)
