"""Hydra sweeps: a folder per job, a bad job does not lose the rest, and nobody looks at the test people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from conftest import SMALL


def test_sweep_leaves_a_run_per_setting_without_test_scores(tree: Path, cache: Path, tmp_path: Path) -> None:
    settings = [s for s in SMALL if not s.startswith("model.dense")]
    words = ["data=ckplus", f"data.root={tree}", *settings, f"cache_dir={cache}", "name=s", "trainer.max_epochs=1"]
    # the second job finds no such unit in its training split: it fails alone
    grid = ["model.dense=4,8", "data.aus=auto,[45]"]
    done = subprocess.run(
        [sys.executable, "-m", "fer.train", "-m", *words, *grid],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    runs = sorted(p.parent for p in (tmp_path / "outputs" / "sweeps" / "s").glob("*/run.json"))
    assert len(runs) == 2, done.stderr
    for run in runs:
        assert "epoch 1 of 1" in (run / "train.log").read_text() and "faces found by" in (run / "train.log").read_text()
        assert json.loads((run / "run.json").read_text())["finished"] is True
        assert set(json.loads((run / "metrics.json").read_text())) == {"val"}
        assert set(pd.read_csv(run / "predictions.csv")["split"]) == {"val"}
    assert {run.name for run in runs} == {"data.aus-auto,model.dense-4", "data.aus-auto,model.dense-8"}
    assert done.returncode == 2 and "AU45 never occurs" in done.stderr
    assert not (tmp_path / "multirun").exists()
