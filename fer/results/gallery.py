"""Which pictures tell most about a model: in, its decisions on one split; out, of each label the best and the worst pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.results.predictions import BoolArray, FloatArray, by_label

PER_KIND = {"found": 3, "missed": 2, "seen where it is not": 2}
"""How many of each kind: shown and said, shown and not said, not shown and said."""


@dataclass(frozen=True)
class Example:
    """A picture that stands for one kind of answer.

    Attributes:
        row: its place in the table of the split.
        subject: who it is.
        probability: of the label, as answered.
        truth: the emotion that it is labelled with; empty for AUs.
    """

    row: int
    subject: str
    probability: float
    truth: str


Gallery = dict[str, dict[str, list[dict[str, Any]]]]
"""What the report shows of `Examples`: `face` and `heat` (`data:` addresses; heat is None where the backbone keeps no map), `subject`,
`probability`, `truth`."""

Examples = dict[str, dict[str, list[Example]]]
"""Label -> kind -> pictures, the surest first: the best of the found ones, the worst of the others."""


def choose(decided: pd.DataFrame) -> Examples:
    """The pictures to show of each AU and emotion; a label without any is left out.

    Args:
        decided: rows of `predictions.csv`, of one split.
    """
    found = {name: _kinds(decided, shown, said, probability) for name, shown, probability, said in by_label(decided)}
    return {label: kinds for label, kinds in found.items() if any(kinds.values())}


def _kinds(
    decided: pd.DataFrame, shown: FloatArray, said: BoolArray, probability: FloatArray
) -> dict[str, list[Example]]:
    chosen = ((shown == 1) & said, (shown == 1) & ~said, (shown == 0) & said)
    order = (-probability, probability, -probability)
    return {
        kind: [
            _example(decided, row, probability[row])
            for row in _of_many_people(np.flatnonzero(rows), by, decided["subject"], most)
        ]
        for (kind, most), rows, by in zip(PER_KIND.items(), chosen, order, strict=True)
    }


def _of_many_people(rows: npt.NDArray[np.intp], by: FloatArray, subjects: pd.Series, most: int) -> npt.NDArray[np.intp]:
    """The first `most` of the rows in the order `by`, one of each person."""
    ordered = rows[np.argsort(by[rows], kind="stable")]
    first = ~pd.Series(subjects.to_numpy()[ordered]).duplicated().to_numpy()
    return ordered[first][:most]


def _example(decided: pd.DataFrame, row: int, probability: float) -> Example:
    truth = decided["emotion"].iloc[row] if "emotion" in decided else None
    return Example(
        int(row), str(decided["subject"].iloc[row]), float(probability), "" if pd.isna(truth) else str(truth)
    )
