"""The notebooks: each runs from top to bottom, on a smaller data set than its own, and is kept without outputs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL

from fer.data import ckplus

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def cells_of(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_there_are_three() -> None:
    names = ["1_explore.ipynb", "2_train_and_read_a_run.ipynb", "3_compare_a_sweep.ipynb"]
    assert sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")) == names


@pytest.fixture(scope="module")
def emotions_alone(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the same pictures with nothing but emotions."""
    table = ckplus.read(tree, "peak").table[["path", "subject", "emotion"]].dropna()
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("1_explore", "all"),
        ("1_explore", "emotions"),
        ("2_train_and_read_a_run", "all"),
        ("2_train_and_read_a_run", "emotions"),
        ("3_compare_a_sweep", "all"),
    ],
)
def test_it_runs_from_top_to_bottom(
    name: str,
    labels: str,
    tree: Path,
    emotions_alone: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # set by the commands, too: undone after the test
    small = [word for word in SMALL if name != "1_explore" or word.startswith("data.")]
    known: dict[str, Any] = {"__name__": "__main__"}
    for k, cell in enumerate(cells_of(NOTEBOOKS / f"{name}.ipynb")):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        exec(compile("".join(cell["source"]), f"{name}, code cell {k}", "exec"), known)
        if "parameters" in cell["metadata"].get("tags", []):
            assert known["DATA"][0] == "data=synthetic"
            where = ["data=ckplus", f"data.root={tree}"]
            known["DATA"] = where if labels == "all" else ["data=csv", f"data.table={emotions_alone}"]
            known["DATA"] += [f"cache_dir={cache}"]
            known["SMALL"] = small
            known["GRID"] = known.get("GRID", [])[:1]
    import matplotlib.pyplot as plt

    assert plt.get_fignums() or (name, labels) == ("1_explore", "emotions")
    plt.close("all")
