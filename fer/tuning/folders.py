"""The folders of a study's trials: each one is a run folder of `fer.train`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import optuna

from fer.runs.folder import RunFolder
from fer.terminal import span
from fer.tuning.study import best_trial


def trial_folder(folder: Path, number: int) -> Path:
    """Where trial `number` ran."""
    return folder / "trials" / f"{number:04d}"


def note_pruned(run_dir: Path) -> None:
    """Marks a run that was ended because it was hopeless."""
    RunFolder.open(run_dir).note(pruned=True)


def keep_checkpoints(folder: Path, study: optuna.Study, which: str) -> None:
    """Deletes what no one goes on from: a resnet50 leaves 0.4 GB per trial.

    Args:
        which: `all` keeps every trial's best checkpoint, `best` that of the study's best trial alone.
    """
    trials = study.get_trials(deepcopy=False)  # one look: a best that another worker tells between two would be deleted
    best = best_trial(trials)
    for trial in trials:
        checkpoints = trial_folder(folder, trial.number) / "checkpoints"
        if not trial.state.is_finished():
            continue
        (checkpoints / "last.ckpt").unlink(missing_ok=True)
        if which == "best" and best is not None and trial.number != best.number:
            shutil.rmtree(checkpoints, ignore_errors=True)


def score_interval(folder: Path, number: int) -> str:
    """The 95 % interval of a trial's validation score as `.41-.58`; empty if its folder is on another machine."""
    try:
        metrics = json.loads((trial_folder(folder, number) / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    interval = metrics.get("val", {}).get("score_ci")
    return span(interval, 2) if interval else ""
