"""Drawn faces against faces made from scans: how people differ at rest, and how far units move what they move.

Where the corners of drawn mouths all stood level at rest and AU15 pulled them twice too far, it was told by them alone, and hardly on
other faces. The measures are lengths over the distance of the eyes, from the 68 landmarks. Skipped without the rendered data.
"""

import numpy as np
import pandas as pd
import pytest
from conftest import extra_data
from numpy.typing import NDArray

from fer.data.synthetic.expression import drivers
from fer.data.synthetic.head import face_points, landmarks, make_head
from fer.data.synthetic.identity import sample_identity

USUAL = 0.65
"""Strength of a unit in a sequence of the scanned set, on average: grades C and D."""
PEOPLE = 60

MOVED = {
    1: "inner brow", 2: "outer brow", 4: "between the brows", 5: "lids", 7: "lids", 9: "nose", 10: "nose", 12: "corners", 15: "corners",
    17: "corners", 20: "mouth", 23: "red", 24: "red", 25: "gap", 27: "gap",
}  # fmt: skip


def measures(points: NDArray[np.floating]) -> dict[str, float]:
    """Of 68 points, [68, 2], y down; turned so that the eyes are level."""
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    across = right - left
    turn = np.array([[across[0], across[1]], [-across[1], across[0]]]) / (across @ across)
    x, y = ((points - (left + right) / 2) @ turn.T).T
    return {
        "inner brow": y[[39, 42]].mean() - y[[21, 22]].mean(),
        "outer brow": y[[36, 45]].mean() - y[[18, 25]].mean(),
        "between the brows": x[22] - x[21],
        "lids": y[[40, 41, 46, 47]].mean() - y[[37, 38, 43, 44]].mean(),
        "nose": y[33] - y[27],
        "corners": y[[48, 54]].mean() - y[[62, 66]].mean(),
        "mouth": x[54] - x[48],
        "red": y[62] - y[51] + y[57] - y[66],
        "gap": y[66] - y[62],
    }


@pytest.fixture(scope="module")
def scanned() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures at rest, a row per person; and how far each unit moves them, a row per unit (least squares over all sequences)."""
    root = extra_data() / "ict-faces"
    rest, moved, shown = [], [], []
    for facs in sorted((root / "FACS").glob("*/*/*_facs.txt")):
        files = sorted((root / "Landmarks" / facs.parent.parent.name / facs.parent.name).glob("*.txt"))
        first, last = (measures(np.loadtxt(file)) for file in (files[0], files[-1]))
        rest.append({"person": facs.parent.parent.name, **first})
        moved.append({name: last[name] - first[name] for name in first})
        units = {int(float(line.split()[0])) for line in facs.read_text().splitlines() if line.strip()}
        shown.append([*(au in units for au in range(1, 28)), True])
    found = np.linalg.lstsq(np.array(shown, float), pd.DataFrame(moved).to_numpy(), rcond=None)[0]
    return pd.DataFrame(rest).groupby("person").mean(), pd.DataFrame(found[:-1], range(1, 28), list(moved[0]))


@pytest.fixture(scope="module")
def drawn() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of drawn people."""
    rest, moved = [], []
    for k in range(PEOPLE):
        person = sample_identity(np.random.default_rng([11, k]))
        head = make_head(person, "small")

        def seen(aus: dict[int, float]) -> dict[str, float]:
            points = face_points(head, drivers(aus, parted=person.parted))  # noqa: B023
            return measures(landmarks(points, "small", person.brow)[:, :2] * [1, -1])  # noqa: B023

        rest.append(seen({}))
        moved += [{"au": au} | {name: new - rest[-1][name] for name, new in seen({au: USUAL}).items()} for au in MOVED]
    return pd.DataFrame(rest), pd.DataFrame(moved).groupby("au").mean()


def test_drawn_people_differ_at_rest_as_scanned_ones_do(
    scanned: tuple[pd.DataFrame, pd.DataFrame], drawn: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    theirs, ours = scanned[0], drawn[0]
    off = (ours.mean() - theirs.mean()).abs() / theirs.std()
    spread = ours.std() / theirs.std()
    assert (off < 2.5).all(), off
    assert (spread > 0.5).all(), spread
    assert (spread < 2.5).all(), spread


def test_drawn_units_move_as_far_as_scanned_ones_do(
    scanned: tuple[pd.DataFrame, pd.DataFrame], drawn: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    share = pd.Series({au: drawn[1].loc[au, name] / scanned[1].loc[au, name] for au, name in MOVED.items()})
    assert share.between(0.6, 1.7).all(), share
