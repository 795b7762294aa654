"""The course of a training in words: in, `curves.csv` and what `run.json` says; out, whether it overfitted and why it ended there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fer.results.wording import Verdict

HEAD = "Overfitting"
GAP = 0.1
"""Between the scores of training and validation people, above which the network knows the first ones better than it knows faces."""

RISE = 1.05
"""A validation loss this many times its least has risen: less is noise."""

_SCORES = {
    "au_f1": "AU macro F1 (at .5)",
    "emotion_f1": "emotion macro F1 (before its offsets)",
    "emotion_accuracy": "emotion accuracy (before its offsets)",
}


def read_curves(path: Path) -> pd.DataFrame | None:
    """`curves.csv`, None where it is missing or empty, as a lost current may leave it."""
    try:
        curves = pd.read_csv(path)
    except (OSError, ValueError):
        return None
    return curves if len(curves) else None


def overfitted(curves: pd.DataFrame, best_epoch: int) -> Verdict | None:
    """Whether the checkpoint knows its training people better than others, and what went on after it; None without both curves.

    Args:
        curves: columns `epoch` (from 0), `train/...` and `val/...`.
        best_epoch: the epoch of the checkpoint, from 0.
    """
    at = curves[curves["epoch"] == best_epoch]
    both = [name for name in _SCORES if _known(at, f"train/{name}") and _known(at, f"val/{name}")]
    if not both or not _known(at, "val/loss"):
        return None
    gaps = {name: float(at[f"train/{name}"].iloc[0] - at[f"val/{name}"].iloc[0]) for name in both}
    worst = max(both, key=lambda name: gaps[name])
    train, val = (float(at[f"{stage}/{worst}"].iloc[0]) for stage in ("train", "val"))
    numbers = (
        f"{_SCORES[worst]} {train:.3f} on training people and {val:.3f} on validation people in epoch {best_epoch + 1}"
    )
    known = curves[curves["val/loss"].notna()]
    least, last = float(at["val/loss"].iloc[0]), float(known["val/loss"].iloc[-1])
    after = f"; later the validation loss rose from {least:.3f} to {last:.3f}, which the checkpoint is spared"
    risen = after if last > RISE * least else ""
    if gaps[worst] > GAP:
        return Verdict(HEAD, False, f"yes, it knows its training people better ({numbers}){risen}")
    if best_epoch == known["epoch"].iloc[-1]:
        return Verdict(HEAD, None, f"no, it was still getting better when it ended: more epochs may help ({numbers})")
    return Verdict(HEAD, True, f"no ({numbers}){risen}")


def _known(rows: pd.DataFrame, tag: str) -> bool:
    return tag in rows and len(rows) > 0 and bool(rows[tag].notna().iloc[0])


def why_it_ended(curves: pd.DataFrame, best_epoch: int, trainer: Mapping[str, Any]) -> str:
    """The early-stopping point in a sentence.

    Args:
        trainer: the settings of the group; `max_epochs`, `patience` and `monitor` are looked at.
    """
    n_epochs, most = int(curves["epoch"].iloc[-1]) + 1, trainer.get("max_epochs")
    kept = f"The checkpoint is that of epoch {best_epoch + 1} (dotted line), the best by {trainer.get('monitor', 'val/loss')}."
    if most and n_epochs < most:
        waited = f"{trainer.get('patience')} epochs without a better one"
        return f"Stopped early, after epoch {n_epochs} of at most {most}: {waited}. {kept}"
    return f"Ended after {n_epochs} epochs, as many as were asked for. {kept}"
