"""The model card: in, the folder of a finished run; out, `MODEL_CARD.md`: what the model is, how good it is, and what it is not for."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, Template
from omegaconf import OmegaConf

from fer.labels import au_meaning
from fer.results.caveats import FACES, FAIRNESS, FEELINGS, MISUSE, NEUTRAL_PROTOCOL
from fer.results.page import fixed
from fer.results.wording import FEW_POSITIVES, dead_of_run, verdicts
from fer.runs.folder import read_json, write_text

MEASURES = (("f1", "F1"), ("auc", "AUC"), ("ap", "average precision"))
WIDE_BELOW = 30
"""People below which the card says that intervals are wide."""

PURPOSES = {"train": "training", "val": "choosing checkpoint and thresholds", "test": "the numbers below"}
CROPS = {
    "landmarks": "by given landmarks",
    "box": "by given boxes",
    "detector": "by the face detector",
    "whole": "no face found, taken whole",
}
SOURCES = {
    "synthetic": "drawn faces; no real person is among them",
    "ckplus": "a tree of the extended Cohn-Kanade format: expressions acted on demand, from the front, in a laboratory",
    "csv": "a table of the user's",
}


def write_model_card(run_dir: Path) -> Path:
    """Writes `MODEL_CARD.md` from `config.yaml`, `run.json`, `metrics.json` and `split.csv`, and returns its path."""
    path = run_dir / "MODEL_CARD.md"
    write_text(path, _template().render(card_context(run_dir)))
    return path


@cache
def _template() -> Template:
    """Kept: every job of a sweep has a card, and to read the template takes longer than to fill it."""
    environment = Environment(
        loader=PackageLoader("fer.results", "."), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"fixed": fixed, "span": _span, "au_meaning": au_meaning}
    return environment.get_template("model_card.md.j2")


def card_context(run_dir: Path) -> dict[str, Any]:
    """Everything that the template shows."""
    run, metrics = read_json(run_dir / "run.json"), read_json(run_dir / "metrics.json")
    config: Any = OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml"))
    split = "test" if "test" in metrics else "val"
    scores = metrics[split]
    units, emotions = list(scores.get("au", {}).get("per_au", {})), list(scores.get("emotion", {}).get("per_class", {}))
    return {
        "name": run["name"],
        "versions": run["versions"],
        "heads": [
            *([f"{len(units)} action units"] if units else []),
            *([f"{len(emotions)} emotions"] if emotions else []),
        ],
        "dead": dead_of_run(metrics, split),
        "model_facts": list(_model_facts(config, run)),
        "units": [f"{unit} {au_meaning(unit)}" for unit in units],
        "emotions": emotions,
        "data_facts": list(_data_facts(config["data"], run["data"])),
        "parts": _parts(
            run_dir / "split.csv", metrics, run["data"]["n_images"], bool(config["data"].get("fresh_pictures"))
        ),
        "protocol_facts": list(_protocol_facts(config, run)),
        "split": split,
        "scores": scores,
        "measures": MEASURES,
        "verdicts": verdicts(scores),
        "calibration": [
            (head, scores[key]["calibration"])
            for key, head in (("au", "Action units"), ("emotion", "Emotion"))
            if "calibration" in scores.get(key, {})
        ],
        "limits": list(_limits(config, run, scores)),
        "misuse": MISUSE,
    }


def _model_facts(config: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, data, weights = config["model"], config["data"], run["weights"]
    levels, grid = model["levels"], model["grid"]
    maps = f"maps of its {levels} coarsest resolutions in {grid} x {grid} cells, " if levels * grid > 1 else ""
    maps += "the places of 68 landmarks on them, " if model.get("landmarks") else ""
    yield "Network", f"{model['backbone']}, {maps}a dense layer of {model['dense']} units, one head per task"
    yield "Backbone's first weights", str(weights["source"])
    if weights.get("warning"):
        yield "Warning", weights["warning"]
    what = "the face found in a picture" if data["crop"] == "face" else "the whole picture"
    colour = "colour" if data["color"] else "brightness only"
    yield "Input", f"{what}, {data['image_size']} x {data['image_size']} pixels, {colour}"
    if data.get("reference") == "neutral":
        yield "Second input", f"{NEUTRAL_PROTOCOL}: not to be set beside numbers of single pictures"
    if model["flip_average"]:
        yield "Answers", "mean over the picture and its mirror image"


def _data_facts(data: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Source", f"{SOURCES.get(data['name'], data['name'])}"
    yield (
        "Size",
        f"{about['n_images']} pictures of {about['n_subjects']} people (fingerprint {about['fingerprint'][:12]})",
    )
    yield "Faces", ", ".join(f"{n} {CROPS.get(how, how)}" for how, n in about["crops"].items())
    if about["skipped"]:
        yield "Left out", ", ".join(f"{n} x {reason}" for reason, n in about["skipped"].items())


def _protocol_facts(config: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    commit = (run.get("git") or {}).get("commit")
    yield "Command", f"`{run['command']}`"
    best = f"checkpoint of epoch {run['best_epoch']} (the first is 0)"
    yield "Training", f"{run['epochs']} epochs, {best}; seed {run['seed']}, {run['precision']}"
    if fresh := config["data"].get("fresh_pictures"):
        yield (
            "Learned from",
            f"{fresh * run['epochs']:,} pictures drawn anew; baselines know the rates of the training split",
        )
    yield "Split", f"hash {str(run['data'].get('split_hash'))[:12]}"
    yield (
        "Code",
        f"fer {run['versions']['fer']}, torch {run['versions']['torch']}{f', commit {commit[:12]}' if commit else ''}",
    )


def _parts(path: Path, metrics: Mapping[str, Any], n_images: int, fresh: bool) -> list[dict[str, Any]]:
    people = pd.read_csv(path, dtype=str, keep_default_na=False)["split"].value_counts()
    pictures = {part: scores["n_images"] for part, scores in metrics.items()}
    if "test" in pictures or "test" not in people:
        pictures["train"] = n_images - sum(pictures.values())
    purposes = PURPOSES if "test" in metrics else {**PURPOSES, "test": "not looked at"}
    purposes = {**purposes, "train": "not learned from"} if fresh else purposes
    return [
        {"name": part, "people": int(people[part]), "pictures": pictures.get(part, ""), "purpose": purpose}
        for part, purpose in purposes.items()
        if part in people
    ]


def _limits(config: Mapping[str, Any], run: Mapping[str, Any], scores: Mapping[str, Any]) -> Iterator[str]:
    """What follows from this run, then what holds for every model of this kind."""
    data, loss, crops = config["data"], config["loss"], run["data"]["crops"]
    if scores["n_subjects"] < WIDE_BELOW:
        yield f"Judged on {scores['n_subjects']} people: the intervals are wide and say little about people unlike them."
    rare = [unit for unit, s in scores.get("au", {}).get("per_au", {}).items() if s["n_positive"] < FEW_POSITIVES]
    if rare:
        yield f"Shown in fewer than {FEW_POSITIVES} of the judged pictures, so hardly judged at all: {', '.join(rare)}."
    if "emotion" in scores and loss["class_weights"] != "none":
        yield (
            "Its probabilities of emotions are those of a world in which people show each as often as the others "
            f"(loss.class_weights={loss['class_weights']}): a rare one gets more than its share."
        )
    if data["name"] == "synthetic":
        seen = (
            "has seen drawn faces only" if run["weights"]["source"] == "random" else "was trained here on drawn faces"
        )
        yield f"It {seen}. What it says about photographs was not measured here."
    if data["name"] == "ckplus":
        yield "Its people acted on demand. Spontaneous expressions are weaker and mixed, and were not measured here."
    if "landmarks" in crops or "box" in crops:
        yield "Its pictures were cropped by landmarks or boxes that came with the data; in use a face detector takes their place."
    yield from (FACES, FAIRNESS, FEELINGS)


def _span(interval: list[float] | None) -> str:
    return f"[{interval[0]:.3f} to {interval[1]:.3f}]" if interval else ""
