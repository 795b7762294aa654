"""The report: in, a run folder; out, `report.html` in it, one file that opens offline.

A section whose data is missing is left out. The page shows no picture of anybody.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from omegaconf import OmegaConf

from fer.errors import FerError
from fer.results.figures import learning_curve, reliability_diagram, roc_and_pr
from fer.results.page import render
from fer.results.predictions import class_codes, emotion_classes, read_predictions, targets_of
from fer.results.wording import alarms, au_label, dead_line, verdicts

_SPLITS_BY_INTEREST = ("test", "all", "val", "train")
_CURVES = {
    "Loss": ("train/loss", "val/loss"),
    "Action unit loss": ("train/au_loss", "val/au_loss"),
    "Emotion loss": ("train/emotion_loss", "val/emotion_loss"),
    "Score": ("train/score", "val/score"),
    "Learning rate": ("lr/heads", "lr/backbone"),
}


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` from what lies in the run folder and returns its path.

    Reads `metrics.json` (needed) and `predictions.csv`, `run.json`, `config.yaml`, `curves.csv` (each optional;
    `curves.csv` has the column `epoch` and one per logged tag, such as `val/loss`).

    Raises:
        FerError: `metrics.json` is missing.
    """
    path = run_dir / "report.html"
    path.write_text(render("fer.results", "report.html.j2", report_context(run_dir)), encoding="utf-8")
    return path


def report_context(run_dir: Path) -> dict[str, Any]:
    """Everything that the template shows; an absent section is None or empty."""
    if not (run_dir / "metrics.json").is_file():
        raise FerError(
            f"report: no metrics.json in {run_dir}; give a run folder of fer.train, fer.evaluate or fer.crossval"
        )
    metrics: dict[str, Any] = _read_json(run_dir / "metrics.json")
    run: dict[str, Any] = _read_json(run_dir / "run.json")
    split = min(metrics, key=lambda name: (*_SPLITS_BY_INTEREST, name).index(name))
    scores = metrics[split]
    config_path = run_dir / "config.yaml"
    return {
        "name": run.get("name") or run_dir.name,
        "run": run,
        "facts": _facts(run, _read_config(config_path)),
        "split": split,
        "scores": scores,
        "dead": dead_line(scores),
        "weights_warning": (run.get("weights") or {}).get("warning"),
        "verdicts": verdicts(scores),
        "alarms": alarms(scores),
        "others": {name: part for name, part in metrics.items() if name != split},
        "curves": _curves(run_dir / "curves.csv", run.get("best_epoch")),
        "panels": _panels(run_dir / "predictions.csv", split, scores),
        "calibration": _calibration(scores),
        "au_label": au_label,
        "config": config_path.read_text(encoding="utf-8") if config_path.is_file() else None,
    }


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _read_config(path: Path) -> Mapping[str, Any]:
    config = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}


def _facts(run: Mapping[str, Any], config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was trained on what: (term, words), without the terms that nothing is known of."""
    data, model = run.get("data") or {}, config.get("model") or {}
    weights, optimizer = run.get("weights") or {}, config.get("optimizer") or {}
    emotions = (config.get("data") or {}).get("emotions")
    size = [f"{data[key]} {word}" for key, word in (("n_images", "images"), ("n_subjects", "people")) if key in data]
    facts = {
        "Model": _joined(
            model.get("backbone"), _after("dense", model.get("dense")), _after("fine-tuning", model.get("finetune"))
        ),
        "Starting weights": _joined(weights.get("source"), _after("sha256", str(weights.get("sha256") or "")[:12])),
        "Data": _joined(data.get("name"), *size, _after("emotions", emotions)),
        "Optimizer": _joined(optimizer.get("name"), _after("lr", optimizer.get("lr"))),
        "Best epoch": _joined(run.get("best_epoch")),
        "Ran on": _joined(
            run.get("device"), _after("precision", run.get("precision")), _after("seed", run.get("seed"))
        ),
    }
    return [(term, words) for term, words in facts.items() if words]


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part not in (None, ""))


def _after(word: str, value: object) -> str:
    return f"{word} {value}" if value not in (None, "") else ""


def _curves(path: Path, best_epoch: int | None) -> dict[str, Markup]:
    """Title -> figure, for the panels that have a value."""
    if not path.is_file():
        return {}
    curves = pd.read_csv(path)
    found = {}
    for title, tags in _CURVES.items():
        present = [tag for tag in tags if tag in curves and curves[tag].notna().any()]
        if present:
            found[title] = Markup(learning_curve(curves, present, best_epoch))
    return found


def _panels(path: Path, split: str, scores: Mapping[str, Any]) -> dict[str, Markup]:
    """AU column or emotion name -> its ROC and PR curves, for the labels that have both answers in the split."""
    if not path.is_file():
        return {}
    rows = read_predictions(path)
    rows = rows if split == "all" else rows[rows["split"] == split]
    found: dict[str, Markup] = {}
    for name, values in scores.get("au", {}).get("per_au", {}).items():
        targets = targets_of(rows, [name])[:, 0]
        found |= _panel(name, targets, rows[f"{name}_prob"], values["threshold"])
    for name in scores.get("emotion", {}).get("per_class", {}):
        codes = class_codes(rows["emotion"], emotion_classes(rows))
        targets = np.where(codes < 0, np.nan, codes == emotion_classes(rows).index(name))
        found |= _panel(name, targets, rows[f"emotion_prob_{name}"], None)
    return found


def _panel(name: str, targets: Any, scores: pd.Series, threshold: float | None) -> dict[str, Markup]:
    known = ~np.isnan(targets)
    if len(np.unique(targets[known])) < 2:
        return {}
    return {name: Markup(roc_and_pr(targets[known], scores.to_numpy(dtype=float)[known], threshold))}


def _calibration(scores: Mapping[str, Any]) -> dict[str, tuple[Mapping[str, Any], Markup]]:
    """Head in words -> its `calibration` block and reliability diagram, for the heads that have one."""
    found = {}
    for title, head in (("Action units", "au"), ("Emotion", "emotion")):
        if block := scores.get(head, {}).get("calibration"):
            found[title] = (block, Markup(reliability_diagram(block["bins"], block["bins_before"])))
    return found
