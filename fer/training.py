"""The steps of `fer.train`, each a function: read the data, build the module, fit, judge. What they share is passed in plain sight."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fer import frozen, judging
from fer.best_curves import log_best
from fer.config import POINT_TASKS, TrainConfig, TrainerConfig, as_dict
from fer.data.cache import cache_folder
from fer.data.datamodule import FaceData
from fer.data.faces import PIXELS_VERSION
from fer.data.landmarks import NEEDED
from fer.data.readers import check_there
from fer.data.splits import split_hash
from fer.describing import make_card, seen_of, split_of
from fer.errors import FerError
from fer.jobs import Kept
from fer.model.backbone import check_backbone, make_backbone
from fer.model.carried import heads_of
from fer.model.checkpoints import all_seen, load_checkpoint
from fer.model.finished import load_module
from fer.model.losses import au_given_emotion, class_weights
from fer.model.module import FaceModule
from fer.model.weights import Weights, check_weights, find_weights, save_backbone
from fer.picturing import gallery, views
from fer.predicting import predict
from fer.results.report import shown_split
from fer.runs import RunFolder, check_free

log = logging.getLogger(__name__)

OF_BATCHES: dict[str, Any] = {"batch_size": 1, "workers": 0, "views": 0, "cache_features": False}
"""Settings of `data` that say how it is drawn from, not what it is."""


def check_early(cfg: TrainConfig, run_dir: Path) -> None:
    """Refuses what can be refused before pictures are drawn or decoded.

    Raises:
        FerError: no such data, backbone, weights or processor, or the run folder is taken.
    """
    check_maps(cfg)
    check_there(cfg.data)
    check_weights(cfg.model.backbone, cfg.model.weights or "none")
    check_free(run_dir)
    check_machine(cfg)


def check_machine(cfg: TrainConfig) -> None:
    """Refuses what this machine can't do.

    Raises:
        FerError: there is no such processor, not so many of them, or no compiler for `trainer.compile`.
    """
    judging.check_accelerator(cfg.trainer.accelerator)
    _check_devices(cfg.trainer)
    if cfg.trainer.compile and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++", "cl"))):
        raise FerError(
            "trainer.compile needs a C++ compiler, and none is found here (g++ or clang++): install one, or leave it off"
        )


def check_maps(cfg: TrainConfig) -> None:
    """Refuses a backbone that torchvision has not, or has without the maps that the heads are to see.

    Raises:
        FerError: says which; or batches of one picture, over which their features can't be standardised.
    """
    model = cfg.model
    check_backbone(model.backbone)
    if model.levels == model.grid == 1:
        return
    if cfg.data.batch_size == 1:
        raise FerError(
            f"data.batch_size=1: with model.levels={model.levels}, model.grid={model.grid} features are standardised over a batch: "
            "take two at least"
        )
    with torch.device("meta"):
        make_backbone(model.backbone, cfg.data.image_size, model.levels, model.grid)


def _check_devices(cfg: TrainerConfig) -> None:
    there = torch.cuda.device_count()
    if cfg.accelerator in ("auto", "gpu") and 0 < there < cfg.devices:
        raise FerError(f"trainer.devices={cfg.devices}: this machine has {there} of them; or trainer.accelerator=cpu")


def read_data(cfg: TrainConfig, kept: Kept | None = None) -> FaceData:
    """The data, read, split and cached; that of an earlier job of the sweep, if it is the same.

    Raises:
        FerError: see `fer.data.prepare.prepare`; or no label is left for either head.
    """
    data = FaceData(cfg.data, cfg.augment, cfg.seed, cache_folder(cfg.cache_dir))
    data.point_tasks = tuple(cfg.loss.point_weights())
    settings = as_dict(dataclasses.replace(cfg.data, **OF_BATCHES)), cfg.cache_dir
    made = (kept or Kept()).get("data", settings, lambda: judging.set_up(data, cfg.trainer.progress).prepared)
    data.prepared = prepared = made
    data.setup()
    if not data.aus and not data.emotions:
        raise FerError(
            f"the training split has no emotion label and no AU with data.min_au_count={cfg.data.min_au_count} positives: "
            "nothing can be learned"
        )
    _refuse_empty(data)
    _refuse_no_points(cfg, data)
    if cfg.loss.consistency_weight and not (data.aus and data.emotions and data.aus_by_emotion().any()):
        raise FerError(
            "loss.consistency_weight: no picture of the training split has both AU labels and an emotion; set it to 0"
        )
    if not data.aus:
        log.info("no AU labels to learn from: the emotion head is trained alone")
    if not data.emotions:
        log.info("no emotion labels to learn from: the AU head is trained alone")
    sizes = {part: (len(rows), rows["subject"].nunique()) for part, rows in prepared.table.groupby("split")}
    log.info(
        "data: %s",
        ", ".join(
            f"{part} {sizes[part][0]} pictures of {sizes[part][1]} people"
            for part in ("train", "val", "test")
            if part in sizes
        ),
    )
    log.info("faces found by: %s", ", ".join(f"{how} {n}" for how, n in prepared.crops().items()))
    log.info("AUs: %s; emotions: %s", ", ".join(map(str, data.aus)) or "none", ", ".join(data.emotions) or "none")
    return data


def _refuse_no_points(cfg: TrainConfig, data: FaceData) -> None:
    train = data.prepared.part("train")
    for task in () if cfg.data.fresh_pictures else data.point_tasks:
        if train.reindex(columns=list(NEEDED[task])).isna().any(axis="columns").all():
            first = " of its own and of the first frame" if task == "movement" else ""
            raise FerError(
                f"loss.{POINT_TASKS[task]}: no picture of the training split has landmarks{first} to learn from; set it to 0"
            )


def _refuse_empty(data: FaceData) -> None:
    for part in ("train", "val"):
        rows = data.prepared.part(part)
        labelled = [f"AU{au}" for au in data.aus if rows.get(f"AU{au}", pd.Series(dtype="Int8")).nunique() == 2]
        if not labelled and (not data.emotions or rows["emotion"].isna().all()):
            raise FerError(
                f"the {part} split has {len(rows)} pictures and no label that could be judged: more people or labels are needed, "
                "or another data.val_fraction or data.split_seed"
            )


def read_weights(cfg: TrainConfig) -> Weights:
    """The backbone's first weights.

    Raises:
        FerError: there is no such backbone, or its weights can't be had.
    """
    weights = find_weights(cfg.model.backbone, cfg.model.weights or "none")
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
    checkpoints = folder.path / "checkpoints"
    if not (checkpoints / "last.ckpt").is_file():
        raise FerError(f"{folder.path} stopped before its first checkpoint: start it anew with run_dir={folder.path}")
    for unfinished in checkpoints.glob("*.tmp*"):  # of a process that was killed while it wrote
        unfinished.unlink()
    n_done = int(load_checkpoint(checkpoints / "last.ckpt")["epoch"]) + 1
    if cfg.trainer.max_epochs < n_done:
        raise FerError(f"{folder.path} has been trained for {n_done} epochs: trainer.max_epochs must be no less")
    backbone = frozen.first_backbone(cfg, read_weights(cfg), kept or Kept()) if frozen.is_frozen(cfg) else None
    module, card = load_module(checkpoints / "last.ckpt", backbone)
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


def judge_best(
    cfg: TrainConfig,
    folder: RunFolder,
    data: FaceData,
    trained: FaceModule,
    kept: Kept | None = None,
    brief: bool = False,
) -> float | None:
    """Fits temperatures and thresholds on validation, then judges the best checkpoint; test people here alone, if `cfg.test` says so.

    Args:
        trained: the module after `fit`.
        brief: if it learned from features, without a report and a backbone of its own, which take longer than that.

    Returns:
        The validation score.
    """
    path = folder.path / "checkpoints" / "best.ckpt"
    folder.note(best_epoch=int(load_checkpoint(path)["epoch"]))
    judging.undo_class_weights(path)
    module, _ = load_module(path, frozen.backbone_of(trained))
    judging.set_upright(path, module, lambda: predict(module, data, ["val"], cfg.trainer.accelerator)[0])
    parts = ["val", "test"] if cfg.test and len(data.prepared.part("test")) else ["val"]
    predictions, features = predict(module, data, parts, cfg.trainer.accelerator)
    predictions = judging.as_of_others(predictions, path)
    brief = brief and data.features is not None
    card, decided, metrics = judging.keep_decisions(
        path, predictions, module, apart=brief, pictures=bool(cfg.report.pictures)
    )
    if cfg.trainer.save_backbone:
        heads = heads_of(module.network, module.aus, module.emotions)
        save_backbone(module.network, folder.path / "backbone.safetensors", heads, all_seen(card))
    judging.add_probes(metrics, decided, features, data.prepared, kept or Kept())
    score: float | None = metrics["val"]["score"]
    pictures = cfg.report.pictures and not brief
    judging.write_scores(folder, decided, metrics)  # before anything is drawn: it must not cost the scores
    log_best(folder, decided, metrics["val"], partial(views, data, "val") if pictures else None)
    shown = gallery(module, data, decided, shown_split(metrics)) if pictures else None
    judging.write_results(folder, metrics, brief=brief, gallery=shown)
    log.info("validation score: %s", "undefined" if score is None else f"{score:.3f}")
    log.info("curves: tensorboard --logdir %s", folder.path.parent)
    return score
