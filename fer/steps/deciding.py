"""What validation people settle after the fit: heads set upright, temperatures and thresholds, kept in the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fer.model.checkpoints import CARD, write_atomically
from fer.model.finished import BACKBONE_FILE, sweep_folder
from fer.model.losses import emotion_weights, shift_learned
from fer.model.module import FaceModule
from fer.model.network import TwoHeadNetwork
from fer.model.weight_files import save_backbone
from fer.results.au_offsets import fit_au_offsets
from fer.results.calibration import calibrated, fit_temperatures
from fer.results.emotion_offsets import answered_by_others, fit_emotion_offsets
from fer.results.predictions import au_columns
from fer.results.report import shown_split
from fer.results.thresholds import choose_thresholds
from fer.results.wording import dead_of_run
from fer.steps.judging import judge_all

EMOTION_OFFSETS, AU_OFFSETS = "emotion_offsets", "au_offsets"
"""The card's keys for what `set_upright` added to the heads' biases."""


def undo_class_weights(checkpoint: dict[str, Any]) -> None:
    """Takes what `loss.class_weights` of training added to each AU's logit back out of the head's bias, once.

    The emotion head keeps its shift, as its decisions have no thresholds to make up for it: see `fer.results.emotion_offsets`. After a
    loss other than cross-entropy the shift is not known: see `set_upright`.
    """
    settings, card = checkpoint["hyper_parameters"], checkpoint[CARD]
    shift = shift_learned(settings["class_weights"])
    if shift is not None and settings["loss"]["name"] == "bce" and "au_shift" not in card:
        checkpoint["state_dict"]["network.au_head.bias"] -= shift
        card["au_shift"] = shift.tolist()


def set_upright(checkpoint: dict[str, Any], module: FaceModule, validation: Callable[[], pd.DataFrame]) -> None:
    """Adds to the heads' biases what validation shows to be missing, once: in the checkpoint and in the module made of it.

    To the emotion head what makes it favour no class; to the AU head, after a loss other than cross-entropy, what makes its
    probabilities true.

    Args:
        validation: makes the predictions of `module` for the validation rows.
    """
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


def as_of_others(predictions: pd.DataFrame, module: FaceModule) -> pd.DataFrame:
    """`predictions` with the run's validation rows as if the emotion head had been set upright on other people than each of them."""
    card, weights = module.card, emotion_weights(module.hparams["class_weights"])
    people = [person for person, part in card["split"].items() if part == "val"]
    rows = (predictions["split"] == "val") & predictions["subject"].isin(people)
    found = answered_by_others(predictions[rows], card.get(EMOTION_OFFSETS, {}), weights)
    return pd.concat([found, predictions[~rows]]).loc[predictions.index]


def _add_to_bias(checkpoint: dict[str, Any], network: TwoHeadNetwork, head: str, offsets: list[float]) -> None:
    bias = checkpoint["state_dict"][f"network.{head}.bias"]
    bias += torch.tensor(offsets)
    network.get_parameter(f"{head}.bias").data.copy_(bias)


def keep_decisions(
    checkpoint: dict[str, Any],
    path: Path,
    predictions: pd.DataFrame,
    module: FaceModule,
    *,
    apart: bool,
    pictures: bool,
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, Any]]:
    """Fits temperatures and chooses thresholds on validation rows, judges by them, and writes the checkpoint with all that use needs.

    Args:
        path: where the checkpoint lies.
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
    checkpoint[CARD] |= {"temperature": temperature, "thresholds": thresholds, "pictures": pictures}
    decided, metrics = judge_all(predictions, checkpoint[CARD])
    checkpoint[CARD]["dead"] = dead_of_run(metrics, shown_split(metrics))
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
