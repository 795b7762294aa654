"""What a run does otherwise when its backbone is frozen: learns from kept features, and keeps no copy of the backbone until the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from fer.config import TrainConfig
from fer.data.augment import changes_anything
from fer.data.cache import cache_folder
from fer.data.datamodule import FaceData
from fer.errors import FerError
from fer.model.backbone import Backbone, make_backbone
from fer.model.features import FrozenFeatures, digest
from fer.model.module import FaceModule
from fer.model.weights import Weights
from fer.runs.jobs import Kept

log = logging.getLogger(__name__)


def is_frozen(cfg: TrainConfig) -> bool:
    """Whether the backbone is never trained."""
    return cfg.model.finetune == "frozen"


def first_backbone(cfg: TrainConfig, weights: Weights, kept: Kept) -> Backbone:
    """The backbone before training, seeded. A frozen one is never changed: the jobs of a sweep share it."""

    def make() -> tuple[Backbone, torch.Tensor]:
        torch.manual_seed(cfg.seed)
        backbone = make_backbone(cfg.model.backbone, cfg.data.image_size, *_maps(cfg))
        weights.load_into(backbone.module)
        return backbone, torch.get_rng_state()

    backbone, random_state = kept.get("backbone", _made_of(cfg, weights), make) if is_frozen(cfg) else make()
    backbone.module.train()  # as a new one: the module sets its mode when training starts
    torch.set_rng_state(random_state)  # the heads are drawn from where the backbone stopped, drawn now or not
    return backbone


def _made_of(cfg: TrainConfig, weights: Weights) -> tuple[object, ...]:
    return cfg.model.backbone, cfg.data.image_size, _maps(cfg), weights.source, weights.sha256, cfg.seed


def _maps(cfg: TrainConfig) -> tuple[int, int, bool]:
    return cfg.model.levels, cfg.model.grid, cfg.model.landmarks


def backbone_digest(cfg: TrainConfig, weights: Weights, module: FaceModule, kept: Kept) -> str | None:
    """The hash by which a resume and the kept features know a frozen backbone; None for one that is trained."""
    if not is_frozen(cfg):
        return None
    return kept.get("digest", _made_of(cfg, weights), lambda: digest(module.network))


def backbone_of(module: FaceModule) -> Backbone | None:
    """The frozen backbone of a module, for another module of the same run; None if it is trained and thus in every checkpoint."""
    network = module.network
    made = Backbone(network.backbone, network.n_features, network.levels, network.grid, network.landmarks)
    return made if module.model.finetune == "frozen" else None


def check_same(module: FaceModule, card: dict[str, Any]) -> None:
    """Refuses to go on with another frozen backbone than the run began with.

    Raises:
        FerError: says so.
    """
    if module.model.finetune == "frozen" and digest(module.network) != card["backbone"]:
        raise FerError(
            "model.weights gives other weights now than when this run was started; resume needs the same backbone"
        )


def use_features(
    cfg: TrainConfig, module: FaceModule, data: FaceData, precision: str, device: torch.device, kept: Kept
) -> None:
    """Lets `data` give features for its batches, made now if they are not in the cache, if the settings allow it."""
    n_views = cfg.data.views or 0
    if not is_frozen(cfg) or not cfg.data.cache_features or (changes_anything(cfg.augment) and not n_views):
        return
    backbone = module.card["backbone"]
    pixels = data.prepared.pixels
    made_of = backbone, _maps(cfg), pixels.folder, cfg.augment, n_views, precision
    features = FrozenFeatures(
        module.network,
        backbone,
        pixels,
        cfg.data.image_size,
        cfg.augment,
        n_views,
        cache_folder(cfg.cache_dir),
        device,
        precision,
        kept.get("features", made_of, dict),
    )
    _make_now(features, data, cfg.trainer.progress)
    data.features = features


@contextmanager
def set_aside(module: FaceModule, data: FaceData) -> Iterator[None]:
    """Takes a backbone out of the module while its heads learn from features: Lightning goes through all modules at every turn."""
    if data.features is None:
        yield
        return
    network = module.network
    backbone, network.backbone = network.backbone, nn.Identity()
    try:
        yield
    finally:
        network.backbone = backbone


def _make_now(features: FrozenFeatures, data: FaceData, show: bool) -> None:
    console, started, n_made = Console(stderr=True), time.monotonic(), 0

    def progress(done: int, total: int) -> None:
        nonlocal n_made
        bar.update(task, completed=done, total=total, description=f"features, pass {n_made + 1}")
        n_made += done == total

    with Progress(console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("features", total=None)
        features.progress = progress
        features.views()
        rows = data.prepared.part("val")["pixel"].to_numpy(copy=True)
        features.plain(rows)
        features.mirrored(rows)
        features.progress = None
    if n_made:
        seconds = time.monotonic() - started
        log.info(
            "features of the frozen backbone: %d passes over pictures in %.0f s, kept for later runs", n_made, seconds
        )
    else:
        log.info("features of the frozen backbone: found, nothing to compute")
