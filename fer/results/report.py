"""The report: in, a run folder; out, `report.html` in it, one file that opens offline.

A section whose data is missing is left out. Pictures of people are on it only if they are given.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from omegaconf import OmegaConf

from fer.errors import FerError
from fer.labels import au_meaning
from fer.results.caveats import NEUTRAL_PROTOCOL
from fer.results.course import overfitted, read_curves, why_it_ended
from fer.results.figures import RocAndPr, learning_curve, reliability_diagram
from fer.results.gallery import Gallery
from fer.results.page import render
from fer.results.predictions import by_label, read_predictions
from fer.results.wording import PARTLY_CHOSEN, Verdict, alarms, dead_of_run, number_name, unjudged, verdicts
from fer.runs.folder import FOLDS, read_json, write_text

_SPLITS_BY_INTEREST = ("test", "all", "val", "train")
_CURVES = {
    "Loss": ("train/loss", "val/loss"),
    "Action unit loss": ("train/au_loss", "val/au_loss"),
    "Emotion loss": ("train/emotion_loss", "val/emotion_loss"),
    "Action unit macro F1 (at .5)": ("train/au_f1", "val/au_f1"),
    "Emotion macro F1": ("train/emotion_f1", "val/emotion_f1"),
    "Score": ("train/score", "val/score"),
    "Learning rate": ("lr/heads", "lr/backbone"),
}


def write_report(run_dir: Path, gallery: Gallery | None = None) -> Path:
    """Writes `report.html` from what lies in the run folder and returns its path.

    Reads `metrics.json` (needed) and `predictions.csv`, `run.json`, `config.yaml`, `split.csv`, `curves.csv` (each optional;
    `curves.csv` has the column `epoch` and one per logged tag, such as `val/loss`).

    Args:
        gallery: pictures of the split that is shown; None shows none.

    Raises:
        FerError: `metrics.json` is missing.
    """
    path = run_dir / "report.html"
    write_text(path, render("fer.results", "report.html.j2", report_context(run_dir, gallery)))
    return path


def report_context(run_dir: Path, gallery: Gallery | None = None) -> dict[str, Any]:
    """Everything that the template shows; an absent section is None or empty."""
    if not (run_dir / "metrics.json").is_file():
        raise FerError(
            f"report: no metrics.json in {run_dir}; give a run folder of fer.train, fer.evaluate or fer.crossval"
        )
    metrics: dict[str, Any] = read_json(run_dir / "metrics.json")
    run: dict[str, Any] = read_json(run_dir / "run.json") if (run_dir / "run.json").is_file() else {}
    split = shown_split(metrics)
    scores = metrics[split]
    config_path = run_dir / "config.yaml"
    config, curves, best_epoch = _read_config(config_path), read_curves(run_dir / "curves.csv"), run.get("best_epoch")
    return {
        "name": run.get("name") or run_dir.name,
        "run": run,
        "facts": _facts(run, config, _people(run_dir / "split.csv")),
        "split": split,
        "scores": scores,
        "dead": dead_of_run(metrics, split),
        "mind": PARTLY_CHOSEN,
        "weights_warning": (run.get("weights") or {}).get("warning"),
        "verdicts": _verdicts(scores, curves, best_epoch),
        "alarms": alarms(scores),
        "others": {name: part for name, part in metrics.items() if name != split},
        "curves": _curves(curves, best_epoch),
        "ended": None
        if curves is None or best_epoch is None
        else why_it_ended(curves, best_epoch, config.get("trainer") or {}),
        "folds": _folds(run_dir, scores.get("folds")),
        "gallery": gallery or {},
        "has_heat": any(
            each["heat"] for kinds in (gallery or {}).values() for shown in kinds.values() for each in shown
        ),
        "panels": _panels(run_dir / "predictions.csv", split, scores),
        "calibration": _calibration(scores),
        "au_meaning": au_meaning,
        "number_name": number_name,
        "config": config_path.read_text(encoding="utf-8") if config_path.is_file() else None,
    }


def shown_split(metrics: Mapping[str, Any]) -> str:
    """The split that the page is about."""
    return min(metrics, key=lambda name: (*_SPLITS_BY_INTEREST, name).index(name))


def _read_config(path: Path) -> Mapping[str, Any]:
    config = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}


def _people(path: Path) -> str:
    """`86 train, 18 val, 19 test`; of a cross-validation, where all are in every part, nothing."""
    people = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else pd.DataFrame()
    counts: dict[Any, int] = people["split"].value_counts().to_dict() if "split" in people else {}
    return ", ".join(f"{counts[part]} {part}" for part in ("train", "val", "test") if part in counts)


def _verdicts(scores: Mapping[str, Any], curves: pd.DataFrame | None, best_epoch: int | None) -> list[Verdict]:
    course = None if curves is None or best_epoch is None else overfitted(curves, best_epoch)
    return [*verdicts(scores), *(found for found in (course, unjudged(scores)) if found)]


def _folds(run_dir: Path, folds: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`names` of the numbers, `rows` (label, link or None, numbers) and the rows `mean` and `sd` of a cross-validation."""
    if not folds:
        return None
    names = list(folds["mean"])
    own = sorted(
        (file.parent for file in (run_dir / FOLDS).glob("*/run.json") if FOLD.fullmatch(file.parent.name)),
        key=lambda path: _fold_order(path.name),
    )
    pages = {k: f"{FOLDS}/{path.name}/report.html" for k, path in enumerate(own) if (path / "report.html").is_file()}
    rows = [(str(k), pages.get(k), each) for k, each in zip(folds["numbers"], folds["each"], strict=True)]
    repeats = 1 + max((_fold_order(path.name)[0] for path in own), default=0)
    return {"names": names, "rows": rows, "mean": folds["mean"], "sd": folds["sd"], "repeats": repeats}


FOLD = re.compile(r"\d+(-repeat\d+)?")
"""What the folder of a fold is called."""


def _fold_order(name: str) -> tuple[int, int]:
    """Folders `0`, `1`, ... then `0-repeat1`, ...: as they were trained."""
    fold, _, repeat = name.partition("-repeat")
    return int(repeat or 0), int(fold)


def _facts(run: Mapping[str, Any], config: Mapping[str, Any], people: str) -> list[tuple[str, str]]:
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
        "Protocol": NEUTRAL_PROTOCOL if (config.get("data") or {}).get("reference") == "neutral" else "",
        "People": people,
        "Optimizer": _joined(optimizer.get("name"), _after("lr", optimizer.get("lr"))),
        "Best epoch": _epoch(run),
        "Ran on": _joined(
            run.get("device"), _after("precision", run.get("precision")), _after("seed", run.get("seed"))
        ),
    }
    return [(term, words) for term, words in facts.items() if words]


def _epoch(run: Mapping[str, Any]) -> str:
    best, ended = run.get("best_epoch"), run.get("epochs")
    return "" if best is None else f"{best + 1}{f' of {ended}' if ended else ''}"


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part not in (None, ""))


def _after(word: str, value: object) -> str:
    return f"{word} {value}" if value not in (None, "") else ""


def _curves(curves: pd.DataFrame | None, best_epoch: int | None) -> dict[str, Markup]:
    """Title -> figure, for the panels that have a value."""
    if curves is None:
        return {}
    found = {}
    for title, tags in _CURVES.items():
        present = [tag for tag in tags if tag in curves and curves[tag].notna().any()]
        if present:
            found[title] = learning_curve(curves, present, best_epoch)
    return found


def _panels(path: Path, split: str, scores: Mapping[str, Any]) -> dict[str, Markup]:
    """AU column or emotion name -> its ROC and PR curves, for the labels that have both answers in the split."""
    if not path.is_file():
        return {}
    rows = read_predictions(path)
    rows = rows if split == "all" else rows[rows["split"] == split]
    units = scores.get("au", {}).get("per_au", {})
    panel = RocAndPr()
    return {
        name: panel.draw(targets[known], probabilities[known], decided[known] if name in units else None)
        for name, targets, probabilities, decided in by_label(rows)
        if len(np.unique(targets[known := ~np.isnan(targets)])) == 2
    }


def _calibration(scores: Mapping[str, Any]) -> dict[str, tuple[Mapping[str, Any], Markup]]:
    """Head in words -> its `calibration` block and reliability diagram, for the heads that have one."""
    found = {}
    for title, head in (("Action units", "au"), ("Emotion", "emotion")):
        if block := scores.get(head, {}).get("calibration"):
            found[title] = (block, reliability_diagram(block["bins"], block["bins_before"]))
    return found
