"""A trained network's answers in; temperatures, thresholds, scores and the report out. What `fer.train` and `fer.evaluate` share."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import Progress

from fer.config import AugmentConfig, DataConfig
from fer.data.cache import cache_folder
from fer.data.datamodule import FaceData
from fer.data.duplicates import across_splits
from fer.data.prepare import Prepared
from fer.data.seen import of_known_people
from fer.errors import FerError
from fer.jobs import Kept
from fer.model.checkpoints import CARD, all_seen, load_checkpoint, write_atomically
from fer.model.finished import BACKBONE_FILE, sweep_folder
from fer.model.losses import emotion_weights, shift_learned
from fer.model.module import FaceModule
from fer.model.network import TwoHeadNetwork
from fer.model.weights import save_backbone
from fer.results.au_offsets import fit_au_offsets
from fer.results.calibration import calibrated, fit_temperatures
from fer.results.card import write_model_card
from fer.results.emotion_offsets import answered_by_others, fit_emotion_offsets
from fer.results.gallery import Gallery
from fer.results.predictions import au_columns
from fer.results.probes import probe_answers, probe_data
from fer.results.reliability import reliability
from fer.results.report import shown_split, write_report
from fer.results.scores import judge
from fer.results.tables import print_scores
from fer.results.thresholds import choose_thresholds
from fer.results.wording import dead_line
from fer.runs import RunFolder, write_text

log = logging.getLogger(__name__)

EMOTION_OFFSETS, AU_OFFSETS = "emotion_offsets", "au_offsets"
"""The card's keys for what `set_upright` added to the heads' biases."""


def set_up(data: FaceData, show: bool) -> FaceData:
    """Sets the data up behind a progress bar for what takes long: drawing and decoding."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("reading pictures", total=None)
        data.progress = lambda n, total: bar.update(task, completed=n, total=total)
        data.setup()
    return data


def check_accelerator(name: str) -> None:
    """Refuses a processor that is not there.

    Raises:
        FerError: `trainer.accelerator` names a GPU, and torch finds none.
    """
    found = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found.get(name, True):
        raise FerError(f"trainer.accelerator={name}: torch finds none on this machine; use auto or cpu")


def read_data(
    cfg: DataConfig,
    module: FaceModule,
    card: dict[str, Any],
    part: str | None,
    cache_dir: str | None,
    *,
    progress: bool,
) -> tuple[FaceData, str]:
    """Data to judge a finished model on, and the part of it that is judged.

    The people of the run's own data keep the split that the checkpoint remembers. Of other data everything counts as `all`.

    Args:
        part: `train`, `val`, `test`, `all`, or None: `test` for the run's own data, else `all`.

    Raises:
        FerError: see `fer.data.prepare.prepare`; or there is nothing of `part` in this data.
    """
    data = FaceData(
        cfg, AugmentConfig(name="none"), 0, cache_folder(cache_dir), labels=(module.aus, tuple(module.emotions))
    )
    prepared = set_up(data, progress).prepared
    own = prepared.fingerprint == card["data_fingerprint"]
    part = part or ("test" if own else "all")
    if part == "all":
        known = of_known_people(prepared, **all_seen(card))
        if own:
            known |= prepared.table["subject"].astype(str).map(card["split"]).isin(("train", "val"))
        if known.any():
            log.info("left out: %d pictures of people that the model was trained or tuned on", int(known.sum()))
        table = prepared.table[~known].assign(split="all")
    elif own:
        table = prepared.table.assign(split=prepared.table["subject"].astype(str).map(card["split"]))
    else:
        raise FerError(
            f"split={part}: this is not the data that the model was trained on, so nobody in it has a split: use split=all"
        )
    if not (table["split"] == part).any():
        raise FerError(f"split={part}: there is no picture of it in this data")
    data.prepared = dataclasses.replace(prepared, table=table.reset_index(drop=True))
    return data, part


def undo_class_weights(path: Path) -> None:
    """Takes what `loss.class_weights` of training added to each AU's logit back out of the head's bias, once.

    The emotion head keeps its shift, as its decisions have no thresholds to make up for it: see `fer.results.emotion_offsets`. After a
    loss other than cross-entropy the shift is not known: see `set_upright`.
    """
    checkpoint = load_checkpoint(path)
    settings, card = checkpoint["hyper_parameters"], checkpoint[CARD]
    shift = shift_learned(settings["class_weights"])
    if shift is not None and settings["loss"]["name"] == "bce" and "au_shift" not in card:
        checkpoint["state_dict"]["network.au_head.bias"] -= shift
        card["au_shift"] = shift.tolist()
        write_atomically(checkpoint, path)


def set_upright(path: Path, module: FaceModule, validation: Callable[[], pd.DataFrame]) -> None:
    """Adds to the heads' biases what validation shows to be missing, once: in the checkpoint and in the module made of it.

    To the emotion head what makes it favour no class; to the AU head, after a loss other than cross-entropy, what makes its
    probabilities true.

    Args:
        validation: makes the predictions of `module` for the validation rows.
    """
    checkpoint = load_checkpoint(path)
    settings, card, network = checkpoint["hyper_parameters"], checkpoint[CARD], module.network
    missing = []
    if network.emotion_head is not None and EMOTION_OFFSETS not in card:
        missing.append(EMOTION_OFFSETS)
    if network.au_head is not None and settings["loss"]["name"] != "bce" and AU_OFFSETS not in card:
        missing.append(AU_OFFSETS)
    if not missing:
        return
    predictions = validation()
    if EMOTION_OFFSETS in missing:
        offsets = fit_emotion_offsets(predictions, emotion_weights(settings["class_weights"]))
        _add_to_bias(checkpoint, network, "emotion_head", [offsets.get(name, 0.0) for name in module.emotions])
        card[EMOTION_OFFSETS] = offsets
    if AU_OFFSETS in missing:
        offsets = fit_au_offsets(predictions, card["au_rates"])
        _add_to_bias(checkpoint, network, "au_head", [offsets[f"AU{au}"] for au in module.aus])
        card[AU_OFFSETS] = offsets
    write_atomically(checkpoint, path)


def as_of_others(predictions: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`predictions` with the run's validation rows as if the emotion head had been set upright on other people than each of them."""
    checkpoint = load_checkpoint(path)
    card, weights = checkpoint[CARD], emotion_weights(checkpoint["hyper_parameters"]["class_weights"])
    people = [person for person, part in card["split"].items() if part == "val"]
    rows = (predictions["split"] == "val") & predictions["subject"].isin(people)
    found = answered_by_others(predictions[rows], card.get(EMOTION_OFFSETS, {}), weights)
    return pd.concat([found, predictions[~rows]]).loc[predictions.index]


def _add_to_bias(checkpoint: dict[str, Any], network: TwoHeadNetwork, head: str, offsets: list[float]) -> None:
    bias = checkpoint["state_dict"][f"network.{head}.bias"]
    bias += torch.tensor(offsets)
    network.get_parameter(f"{head}.bias").data.copy_(bias)


def keep_decisions(
    path: Path, predictions: pd.DataFrame, module: FaceModule, *, apart: bool, pictures: bool
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, Any]]:
    """Fits temperatures and chooses thresholds on the validation rows, judges by them, and keeps in the checkpoint's card what use needs.

    Args:
        module: whose backbone is written, too, if the checkpoint left it out.
        apart: into a file that the jobs of the sweep share, each of them being little beside it.
        pictures: whether reports of this model may show faces, as settled when the run ended.

    Returns:
        The card, and what `judge_all` returns.
    """
    validation = predictions[predictions["split"] == "val"]
    temperature = fit_temperatures(validation)
    aus = au_columns(validation)
    thresholds = choose_thresholds(calibrated(validation, temperature), aus) if aus else {}
    checkpoint = load_checkpoint(path)
    checkpoint[CARD] |= {"temperature": temperature, "thresholds": thresholds, "pictures": pictures}
    decided, metrics = judge_all(predictions, checkpoint[CARD])
    checkpoint[CARD]["dead"] = dead_line(metrics[shown_split(metrics)])
    if apart:
        file = sweep_folder(path) / f"backbone-{checkpoint[CARD]['backbone']}.safetensors"
        checkpoint[CARD][BACKBONE_FILE] = file.name
        if not file.exists():
            # frozen: it has learned nothing of this data
            save_backbone(module.network, file, seen=checkpoint[CARD].get("seen_in_weights"))
    else:
        checkpoint["state_dict"] = {**module.backbone_state(), **checkpoint["state_dict"]}
    write_atomically(checkpoint, path)
    return checkpoint[CARD], decided, metrics


def judge_all(predictions: pd.DataFrame, card: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Calibrates by the card's temperatures, decides by its thresholds and judges each split.

    Returns:
        The table with calibrated probabilities and decisions, and the content of `metrics.json`.

    Raises:
        FerError: no row has a label that the model has an answer for.
    """
    # a checkpoint of an older version has no temperature
    temperature = {"au": 1.0, "emotion": 1.0, **card.get("temperature", {})}
    decided = _with_decisions(calibrated(predictions, temperature), card["thresholds"])
    metrics = {}
    for part, rows in decided.groupby("split", sort=False):
        scores = judge(rows, card["thresholds"], base_rates=card["au_rates"], emotion_rates=card["emotion_rates"])
        for head, block in reliability(predictions.loc[rows.index], temperature).items():
            scores[head]["calibration"] = block
        metrics[str(part)] = scores
    if not any(head in scores for scores in metrics.values() for head in ("au", "emotion")):
        raise FerError(
            "none of these pictures has a label that the model gives an answer for: there is nothing to judge"
        )
    return decided, metrics


def add_probes(
    metrics: dict[str, Any], decided: pd.DataFrame, features: np.ndarray, prepared: Prepared, kept: Kept
) -> None:
    """Adds the honesty probes of each split to the content of `metrics.json`."""
    for part, scores in metrics.items():
        rows, samples = (decided["split"] == part).to_numpy(), prepared.part(part)
        known = features[rows]
        of_data = kept.get(
            f"probes of {part}",
            (prepared, hashlib.sha256(known.tobytes()).digest()),
            partial(probe_data, samples, known, prepared.shared),
        )
        scores["probes"] = probe_answers(decided[rows], samples) | of_data


def write_scores(folder: RunFolder, decided: pd.DataFrame, metrics: dict[str, Any]) -> None:
    """Leaves `predictions.csv` and `metrics.json`."""
    write_text(folder.path / "predictions.csv", decided.to_csv(index=False))
    folder.write_json("metrics.json", metrics)


def write_results(
    folder: RunFolder, metrics: dict[str, Any], *, brief: bool = False, gallery: Gallery | None = None
) -> None:
    """After `write_scores`: leaves `report.html`, marks the run finished, and prints the table, in this order.

    Args:
        brief: no report and no table.
        gallery: pictures for the report (`fer.picturing`).
    """
    if not brief:
        write_report(folder.path, gallery)
    if (folder.path / "checkpoints").is_dir():  # a run that made a model
        write_model_card(folder.path)
    folder.note(finished=True, timings={**folder.about.get("timings", {}), "total_s": folder.seconds()})
    if not brief:
        print_scores(metrics, Console())
        log.info("report: %s", folder.path / "report.html")


def _with_decisions(predictions: pd.DataFrame, thresholds: dict[str, float]) -> pd.DataFrame:
    decided = predictions.copy()
    for name in au_columns(predictions):
        place = decided.columns.get_loc(f"{name}_prob")
        assert isinstance(place, int)
        decided.insert(place + 1, f"{name}_pred", (decided[f"{name}_prob"] >= thresholds[name]).astype("int8"))
    return decided


def about_data(cfg: DataConfig, prepared: Prepared) -> dict[str, Any]:
    """What `run.json` says of the data."""
    return {
        "name": cfg.name,
        "root": cfg.root or cfg.table,
        "fingerprint": prepared.fingerprint,
        "n_images": len(prepared.table),
        "n_subjects": int(prepared.table["subject"].nunique()),
        "skipped": prepared.skipped.counts(),
        "crops": prepared.crops(),
        "near_identical": {"pairs": len(prepared.shared), "across_splits": len(across_splits(prepared.shared))},
    }
