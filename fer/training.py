"""The steps of `fer.train`, each a function: read the data, build the module, fit, judge. What they share is passed in plain sight."""

from __future__ import annotations

import logging
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from fer import __version__, judging
from fer.config import TrainConfig, as_dict
from fer.data.datamodule import FaceData
from fer.data.faces import PIXELS_VERSION
from fer.data.splits import split_hash
from fer.errors import FerError
from fer.model.callbacks import Interrupted, best_precision, make_callbacks
from fer.model.checkpoints import AtomicCheckpointIO, load_checkpoint
from fer.model.curves import log_final_score, start_curves
from fer.model.module import FaceModule, class_weights
from fer.model.weights import Weights, find_weights
from fer.results.baselines import au_base_rates, emotion_base_rates
from fer.runs import RunFolder

__all__ = [
    "Interrupted",
    "build_module",
    "describe",
    "fit",
    "judge_best",
    "read_data",
    "read_weights",
    "rebuild_module",
]

log = logging.getLogger(__name__)


def read_data(cfg: TrainConfig) -> FaceData:
    """The data, read, split and cached.

    Raises:
        FerError: see `fer.data.prepare.prepare`; or no label is left for either head.
    """
    data = FaceData(cfg.data, cfg.augment, cfg.seed, judging.cache_folder(cfg.cache_dir))
    judging.progress_data(data, cfg.trainer.progress)
    prepared = data.prepared
    if not data.aus and not data.emotions:
        raise FerError(
            f"the training split has no emotion label and no AU with data.min_au_count={cfg.data.min_au_count} positives: "
            "nothing can be learned"
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


def read_weights(cfg: TrainConfig) -> Weights:
    """The backbone's first weights."""
    weights = find_weights(cfg.model.backbone, cfg.model.weights or "none")
    if not weights.pretrained and cfg.model.finetune != "full":
        log.warning("model.finetune=%s keeps random weights frozen: they will not learn", cfg.model.finetune)
    return weights


def build_module(cfg: TrainConfig, data: FaceData, weights: Weights) -> FaceModule:
    """A new module on the given weights, seeded."""
    torch.manual_seed(cfg.seed)
    optimizer = as_dict(cfg.optimizer)
    if optimizer["backbone_lr"] is None:
        optimizer["backbone_lr"] = cfg.optimizer.lr / 10 if weights.pretrained else cfg.optimizer.lr
    module = FaceModule(
        labels={"aus": data.aus, "emotions": list(data.emotions)},
        preprocessing={
            "image_size": cfg.data.image_size,
            "crop": cfg.data.crop,
            "color": cfg.data.color,
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
    )
    weights.load_into(module.network.backbone)
    module.card = _card(cfg, data, weights)
    return module


def rebuild_module(folder: RunFolder, data: FaceData) -> FaceModule:
    """The module of an interrupted run, to be filled from its `last.ckpt`.

    Raises:
        FerError: nothing was saved yet, or the data is not what the run was started with.
    """
    path = folder.path / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise FerError(f"{folder.path} stopped before its first checkpoint: start it anew")
    module, card = judging.load_module(path)
    now, then = data.prepared.fingerprint, card["data_fingerprint"]
    split = pd.read_csv(folder.path / "split.csv", dtype=str)
    if now != then or split_hash(split) != split_hash(_split(data)):
        raise FerError(
            f"{folder.path}: the data or its split is not what this run was started with; resume needs the same"
        )
    module.card = card
    module.train()
    return module


def _card(cfg: TrainConfig, data: FaceData, weights: Weights) -> dict[str, Any]:
    train = data.prepared.part("train")
    seen = data.prepared.table[data.prepared.table["split"] != "test"]
    return {
        "fer_version": __version__,
        "data": as_dict(cfg.data),
        "data_fingerprint": data.prepared.fingerprint,
        "split": dict(_split(data).itertuples(index=False)),
        "weights": weights.source,
        "name": cfg.name,
        "seen": torch.from_numpy(judging.picture_hashes(data.prepared, seen).copy()),
        "thresholds": {f"AU{au}": 0.5 for au in data.aus},
        "au_rates": au_base_rates(train, [f"AU{au}" for au in data.aus]),
        "emotion_rates": emotion_base_rates(train, list(data.emotions)) if data.emotions else {},
    }


def _split(data: FaceData) -> pd.DataFrame:
    assert data.prepared.split is not None
    return data.prepared.split.astype(str)


def describe(folder: RunFolder, cfg: TrainConfig, data: FaceData, weights: Weights) -> None:
    """Writes `split.csv` and what `run.json` says of data, weights and machine."""
    prepared = data.prepared
    _split(data).to_csv(folder.path / "split.csv", index=False)
    folder.note(
        data={**judging.about_data(cfg.data, prepared), "split_hash": split_hash(_split(data))},
        weights={"source": weights.source, "sha256": weights.sha256, "warning": weights.warning},
        precision=_precision(cfg),
        threads=torch.get_num_threads(),
    )


def _precision(cfg: TrainConfig) -> str:
    chosen = {"32": "32-true", "bf16": "bf16-mixed"}
    return chosen.get(cfg.trainer.precision) or best_precision(cfg.trainer.accelerator)


def fit(cfg: TrainConfig, folder: RunFolder, module: FaceModule, data: FaceData) -> None:
    """Trains, or trains on from `last.ckpt`, until early stopping or the last epoch.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
        FerError: the loss became nan, or a checkpoint can't be written.
    """
    console = Console(stderr=True)
    logger = TensorBoardLogger(folder.path, name=None, version="tensorboard", default_hp_metric=False)
    start_curves(logger, cfg, module)
    with judging.quiet_lightning():
        trainer = lightning.Trainer(
            accelerator=cfg.trainer.accelerator,
            devices=1,
            precision=folder.about["precision"],
            max_epochs=cfg.trainer.max_epochs,
            gradient_clip_val=cfg.trainer.gradient_clip or None,
            logger=logger,
            callbacks=make_callbacks(cfg.trainer, folder.path, cfg.trainer.progress and console.is_terminal),
            plugins=[AtomicCheckpointIO()],
            deterministic="warn",
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        folder.note(device=str(trainer.strategy.root_device))
        last = str(folder.path / "checkpoints" / "last.ckpt") if cfg.resume else None
        trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    timings = {**folder.about.get("timings", {})}
    timings["fit_s"] = round(timings.get("fit_s", 0) + folder.seconds(), 1)
    folder.note(timings=timings, epochs=trainer.current_epoch)


def judge_best(cfg: TrainConfig, folder: RunFolder, data: FaceData, *, test: bool) -> float | None:
    """Chooses thresholds on validation, then judges the best checkpoint. The test people are looked at here, once, and only if `test`.

    Returns:
        The validation score.
    """
    path = folder.path / "checkpoints" / "best.ckpt"
    module, card = judging.load_module(path)
    parts = ["val", "test"] if test and len(data.prepared.part("test")) else ["val"]
    predictions = judging.predict(module, data, parts, cfg.trainer.accelerator)
    card["thresholds"] = judging.keep_thresholds(path, predictions)
    folder.note(best_epoch=int(load_checkpoint(path)["epoch"]))
    metrics = judging.judge_and_write(folder, predictions, card)
    score: float | None = metrics["val"]["score"]
    log_final_score(folder.path / "tensorboard", cfg, score)
    log.info("curves: tensorboard --logdir %s", folder.path.parent)
    return score
