"""The module of a run: a new one on the given weights, or that of an interrupted run."""

from __future__ import annotations

import logging

import pandas as pd
import torch

from fer.config import TrainConfig, as_dict
from fer.data.datamodule import FaceData
from fer.data.faces import PIXELS_VERSION
from fer.data.splits import split_hash
from fer.errors import FerError
from fer.model.checkpoints import load_checkpoint
from fer.model.finished import module_of
from fer.model.losses import au_given_emotion, class_weights
from fer.model.module import FaceModule
from fer.model.weights import Weights, find_weights
from fer.runs.folder import RunFolder
from fer.runs.jobs import Kept
from fer.steps import frozen
from fer.steps.describing import make_card, seen_of, split_of

log = logging.getLogger(__name__)


def read_weights(cfg: TrainConfig, kept: Kept | None = None) -> Weights:
    """The backbone's first weights; those of an earlier job or fold, if they are the same.

    Raises:
        FerError: there is no such backbone, or its weights can't be had.
    """
    wanted = cfg.model.backbone, cfg.model.weights or "none"
    weights = (kept or Kept()).get("weights", wanted, lambda: find_weights(*wanted))
    if not weights.pretrained and cfg.model.finetune != "full":
        log.warning("model.finetune=%s keeps random weights frozen: they will not learn", cfg.model.finetune)
    return weights


def build_module(cfg: TrainConfig, data: FaceData, weights: Weights, kept: Kept | None = None) -> FaceModule:
    """A new module on the given weights, seeded."""
    kept = kept or Kept()
    backbone = frozen.first_backbone(cfg, weights, kept)
    optimizer = as_dict(cfg.optimizer)
    if optimizer["backbone_lr"] is None:
        optimizer["backbone_lr"] = cfg.optimizer.lr / 10 if weights.pretrained else cfg.optimizer.lr
    module = FaceModule(
        labels={"aus": data.aus, "emotions": list(data.emotions)},
        preprocessing={
            "image_size": cfg.data.image_size,
            "crop": cfg.data.crop,
            "color": cfg.data.color,
            "reference": cfg.data.reference == "neutral",
            "pixels_version": PIXELS_VERSION,
            "mean": list(weights.mean),
            "std": list(weights.std),
        },
        model=as_dict(cfg.model),
        loss=as_dict(cfg.loss),
        optimizer=optimizer,
        scheduler=as_dict(cfg.scheduler),
        class_weights=class_weights(cfg.loss, *data.label_counts()),
        max_epochs=cfg.trainer.max_epochs,
        seed=cfg.seed,
        mixup=cfg.augment.mixup,
        au_given_emotion=au_given_emotion(data.aus_by_emotion()).tolist() if cfg.loss.consistency_weight else None,
        backbone=backbone,
    )
    if cfg.model.carry_heads:
        _carry_heads(module, weights)
    module.card = make_card(cfg, data, weights, kept)
    if frozen.is_frozen(cfg):
        module.card["backbone"] = frozen.backbone_digest(cfg, weights, module, kept)
    return module


def _carry_heads(module: FaceModule, weights: Weights) -> None:
    if weights.heads is None:
        log.warning(
            "model.carry_heads: model.weights (%s) holds no dense layer and heads: they start anew", weights.source
        )
        return
    found = weights.heads.load_into(module.network, module.aus, module.emotions)
    log.info("dense layer from %s, and of the heads: %s", weights.source, ", ".join(found) or "nothing")


def rebuild_module(cfg: TrainConfig, folder: RunFolder, data: FaceData, kept: Kept | None = None) -> FaceModule:
    """The module of an interrupted run, to be filled from its `last.ckpt`.

    Raises:
        FerError: nothing was saved yet, or the data or a frozen backbone is not what the run was started with.
    """
    checkpoints, path = folder.path / "checkpoints", folder.path / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise FerError(f"{folder.path} stopped before its first checkpoint: start it anew with run_dir={folder.path}")
    for unfinished in checkpoints.glob("*.tmp*"):  # of a process that was killed while it wrote
        unfinished.unlink()
    last = load_checkpoint(path)
    n_done = int(last["epoch"]) + 1
    if cfg.trainer.max_epochs < n_done:
        raise FerError(f"{folder.path} has been trained for {n_done} epochs: trainer.max_epochs must be no less")
    backbone = frozen.first_backbone(cfg, read_weights(cfg, kept), kept or Kept()) if frozen.is_frozen(cfg) else None
    module, card = module_of(last, path, backbone)
    frozen.check_same(module, card)
    split = pd.read_csv(folder.path / "split.csv", dtype=str, keep_default_na=False)  # a person may be called NA
    same = card["data_fingerprint"] == data.prepared.fingerprint and split_hash(split) == split_hash(split_of(data))
    if not same or not torch.equal(card["seen"], seen_of(data, kept or Kept())["seen"]):
        raise FerError(
            f"{folder.path}: the data or its split is not what this run was started with; resume needs the same"
        )
    module.card = card
    module.train()
    return module
