"""Drawn action units beside those of scanned people: they move landmarks the same way. Skipped without the rendered data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import extra_data
from numpy.typing import NDArray

from fer.data import ckplus, synthetic
from fer.data.faces import read_landmarks
from fer.data.landmarks import MIRRORED

STEADY = [27, 28, 29, 30, 36, 39, 42, 45]
"""Landmarks by which two frames of a face are laid over each other: the bridge of the nose and the corners of the eyes."""


def travelled(marks: NDArray[np.floating], neutral: NDArray[np.floating]) -> NDArray[np.floating]:
    """How both halves of a face moved on the mean, [68, 2], as shares of the distance between the outer corners of the eyes."""
    a, b = (complex_of(points[STEADY]) for points in (marks, neutral))
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    laid = (complex_of(marks) - a.mean()) * turn + b.mean()
    shift = np.stack([laid.real, laid.imag], 1) - neutral
    other = shift[MIRRORED] * [-1, 1]
    return (shift + other) / 2 / np.linalg.norm(neutral[45] - neutral[36])


def complex_of(points: NDArray[np.floating]) -> NDArray[np.complexfloating]:
    return points[:, 0] + 1j * points[:, 1]


def test_units_move_landmarks_as_those_of_scanned_faces() -> None:
    """The share of each unit in the movements of rendered sequences, by least squares, beside that of the drawn unit."""
    units = (1, 2, 4, 5, 7, 9, 10, 12, 15, 16, 17, 20, 23, 24, 25, 26, 27)
    root = extra_data() / "ict-faces"
    table = ckplus.read(root, "neutral+peak3", False).table
    shown, moved_by = [], []
    for _, frames in table.groupby(["subject", "sequence"]):
        marks = [read_landmarks(Path(file)) for file in frames.sort_values("frame")["landmarks"]]
        peak = frames.sort_values("frame").iloc[-1]
        graded = [
            (peak[f"AU{u}"] == 1) * (3 if pd.isna(peak[f"AU{u}_intensity"]) else peak[f"AU{u}_intensity"])
            for u in units
        ]
        if not pd.isna(peak["AU1"]):
            shown.append([grade / 5 for grade in graded])
            moved_by.append(travelled(marks[-1], marks[0]).ravel())
    design = np.column_stack([np.array(shown, float), np.ones(len(shown))])
    shares = np.linalg.solve(design.T @ design + 0.3 * np.eye(len(units) + 1), design.T @ np.array(moved_by))
    face = np.random.default_rng(0)
    for unit, share in zip(units, shares, strict=False):
        rest = {25: 1.0} if unit in (16, 26, 27) else {}
        person, view = (
            synthetic.sample_identity(face),
            replace(synthetic.sample_view(face, (600, 600)), yaw=0, pitch=0, roll=0),
        )
        before, after = (synthetic.draw_face(face, aus, person, view).landmarks for aus in (rest, rest | {unit: 1.0}))
        drawn = travelled(after, before).ravel()
        alike = drawn @ share / np.linalg.norm(drawn) / np.linalg.norm(share)
        assert alike > 0.5, f"AU{unit}: {alike:.2f}"
