"""Figures of the report: in, curves and predictions; out, inline SVG text that takes its colours from the page.

Drawn with placeholder colours that are replaced by CSS variables: one figure serves the light and the dark page.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from fer.results.predictions import BoolArray, FloatArray

_INK, _FAINT, _FIRST, _SECOND = "#010203", "#040506", "#070809", "#0a0b0c"
_CSS = {_INK: "var(--ink)", _FAINT: "var(--faint)", _FIRST: "var(--first)", _SECOND: "var(--second)"}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fer",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "lines.linewidth": 1.5,
}
_MAX_POINTS = 200
"""Points kept of one ROC or PR curve: more are not visible at the size of a small multiple."""


def learning_curve(curves: pd.DataFrame, tags: Sequence[str], best_epoch: int | None) -> str:
    """One panel: each tag over the epochs, training first, with the epoch of the best checkpoint marked.

    Args:
        curves: columns `epoch` and the tags; empty cells are skipped.
        tags: the columns to draw, at most two, such as `train/loss` and `val/loss`.
        best_epoch: where early stopping took the checkpoint, None to mark nothing.
    """
    with context(_STYLE):
        figure = Figure(figsize=(3.6, 2.4), layout="constrained")
        axes = figure.subplots()
        for tag in tags:
            known = curves[["epoch", tag]].dropna()
            style, colour = ("--", _SECOND) if tag.startswith("train/") else ("-", _FIRST)
            marker = "o" if len(known) == 1 else None
            axes.plot(
                known["epoch"],
                known[tag],
                style,
                color=colour,
                label=tag.removeprefix("lr/").split("/")[0],
                marker=marker,
            )
        if best_epoch is not None:
            axes.axvline(best_epoch, color=_INK, linewidth=1, linestyle=":", label="best epoch")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)
        return _svg(figure)


def roc_and_pr(targets: FloatArray, scores: FloatArray, threshold: float | None) -> str:
    """ROC and precision-recall curve of one label side by side, with the chosen threshold as a dot.

    Args:
        targets: (images,), 0 or 1, both present.
        scores: (images,).
        threshold: a probability at or above it means present; None draws no dot.
    """
    with context(_STYLE):
        figure = Figure(figsize=(3.4, 1.75), layout="constrained")
        roc_axes, pr_axes = figure.subplots(1, 2)
        false_rate, true_rate, _ = roc_curve(targets, scores)
        _square(roc_axes, false_rate, true_rate, "false positive rate", "recall")
        roc_axes.plot([0, 1], [0, 1], ":", color=_INK, linewidth=0.8)
        precision, recall, _ = precision_recall_curve(targets, scores)
        _square(pr_axes, recall, precision, "recall", "precision")
        pr_axes.axhline(targets.mean(), linestyle=":", color=_INK, linewidth=0.8)
        if threshold is not None:
            _mark(roc_axes, pr_axes, targets == 1, scores >= threshold)
        return _svg(figure)


def _square(axes: Axes, x: FloatArray, y: FloatArray, x_label: str, y_label: str) -> None:
    kept = np.unique(np.linspace(0, len(x) - 1, _MAX_POINTS).astype(int))
    axes.plot(x[kept], y[kept], color=_FIRST, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 1), yticks=(0, 1))
    axes.set_xlabel(x_label, labelpad=-6)
    axes.set_ylabel(y_label, labelpad=-6)


def _mark(roc_axes: Axes, pr_axes: Axes, positive: BoolArray, decided: BoolArray) -> None:
    recall = decided[positive].mean()
    roc_axes.plot(decided[~positive].mean(), recall, "o", color=_SECOND, markersize=5, clip_on=False)
    if decided.any():
        pr_axes.plot(recall, positive[decided].mean(), "o", color=_SECOND, markersize=5, clip_on=False)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1", text, count=1)  # the page decides the size
    text = re.sub(r' id="[a-z2]*(\.axis)?_\d+"', "", text)  # several figures share one page
    text = re.sub(r"font-family: [^;]*; ", "", text)
    for placeholder, variable in _CSS.items():
        text = text.replace(placeholder, variable)
    return text
