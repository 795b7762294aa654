"""What TensorBoard shows of the checkpoint that was kept: in, what it said of the validation people; out, curves and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from fer.model.curves import FINAL_SCORE
from fer.results.predictions import by_label
from fer.results.wording import alarms, dead_line, unjudged, verdicts
from fer.runs.folder import RunFolder

N_FACES = 8
COLUMNS = 4

Faces = Callable[["pd.Series[str]"], Sequence[np.ndarray]]


def log_best(
    folder: RunFolder, decided: pd.DataFrame, scores: Mapping[str, Any], faces: Faces | None, brief: bool = False
) -> None:
    """Adds to the run's TensorBoard folder, at the epoch of the checkpoint.

    Args:
        decided: rows of `predictions.csv`; those of the validation split are looked at.
        scores: their part of `metrics.json`.
        faces: gives pictures by their paths, [S, S, 1 or 3] uint8 each; None: pictures stay out of it.
        brief: without the confusion matrix, which takes longer to draw than an epoch on kept features.
    """
    rows = decided[decided["split"] == "val"].reset_index(drop=True)
    epoch = folder.about["best_epoch"] + 1
    with SummaryWriter(str(folder.path / "tensorboard")) as writer:
        if scores["score"] is not None:
            writer.add_scalar(FINAL_SCORE, scores["score"], epoch)
        writer.add_text("verdict", "\n\n".join(_verdict(scores)), epoch)
        for name, (targets, probabilities) in pr_curves(rows).items():
            writer.add_pr_curve(f"val/{name}", targets, probabilities, epoch)
        if "emotion" in scores and not brief:
            writer.add_figure("val_pictures/confusion", confusion(scores["emotion"]["confusion"]), epoch)
        if faces is not None:
            writer.add_figure("val_pictures/predictions", predictions(rows, faces), epoch)


def _verdict(scores: Mapping[str, Any]) -> list[str]:
    dead, few = dead_line(scores), unjudged(scores)
    found = [*verdicts(scores), *([few] if few else [])]
    lines = [f"**{verdict.head}:** {verdict.text}" for verdict in found]
    return [*([f"**{dead}**"] if dead else []), *lines, *(f"**Look closer:** {alarm}" for alarm in alarms(scores))]


def pr_curves(rows: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """AU or emotion -> targets, 0 or 1, and probabilities of the labelled rows, where both answers occur."""
    known = {name: (t[~np.isnan(t)], p[~np.isnan(t)]) for name, t, p, _ in by_label(rows)}
    return {name: pair for name, pair in known.items() if len(np.unique(pair[0])) == 2}


def confusion(block: Mapping[str, Any]) -> Figure:
    """The matrix with its counts; the colour is the share of the row."""
    counts, labels = np.array(block["matrix"]), block["labels"]
    figure = Figure(figsize=(1.6 + 0.8 * len(labels), 1.2 + 0.7 * len(labels)), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black"
        )
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 4 else 0)
    axes.set_yticks(range(len(labels)), labels)
    return figure


def predictions(rows: pd.DataFrame, faces: Faces) -> Figure:
    """A few faces of as many people, each with what is true and what was answered."""
    order = rows.groupby("subject").cumcount().sort_values(kind="stable").index[:N_FACES].tolist()
    lines = -(-len(order) // COLUMNS)
    figure = Figure(figsize=(2.1 * COLUMNS, 2.9 * lines), layout="constrained")
    for axes in figure.subplots(lines, COLUMNS, squeeze=False).flat:
        axes.set_axis_off()
    for axes, row, face in zip(figure.axes, order, faces(rows["path"].loc[order]), strict=False):
        axes.imshow(face.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_title("\n".join(_answer(rows.loc[row])), fontsize=8, loc="left")
    return figure


def _answer(row: pd.Series) -> list[str]:
    lines = []
    if "emotion_pred" in row.index:
        answer, truth = row["emotion_pred"], row["emotion"]
        of = "no label" if pd.isna(truth) else "right" if truth == answer else f"is {truth}"
        lines.append(f"{answer} {row[f'emotion_prob_{answer}']:.2f} ({of})")
    names = [
        name.removesuffix("_pred") for name in row.index if str(name).startswith("AU") and str(name).endswith("_pred")
    ]
    said = {name for name in names if row[f"{name}_pred"] == 1}
    true = {name for name in names if not pd.isna(row[name]) and row[name] == 1}
    coded = any(not pd.isna(row[name]) for name in names)
    sets = {"found": said & true, "missed": true - said, "wrong": said - true} if coded else {"said": said}
    return lines + [f"{word} {_units(units, names)}" for word, units in sets.items() if units]


def _units(units: set[str], names: list[str]) -> str:
    listed = [name.removeprefix("AU") for name in names if name in units]
    return " ".join(listed[:8]) + (" ..." if len(listed) > 8 else "")
