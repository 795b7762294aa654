"""What can be refused before pictures are drawn or decoded: no such data, backbone, weights or processor, a folder that is taken."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import torch

from fer.config import TrainConfig, TrainerConfig
from fer.errors import FerError
from fer.model.backbone import make_backbone
from fer.steps.early import check_names


def check_early(cfg: TrainConfig, run_dir: Path) -> None:
    """Refuses what can be refused before pictures are drawn or decoded.

    Raises:
        FerError: no such data, backbone, weights or processor, or the run folder is taken.
    """
    check_names(cfg, run_dir)
    check_maps(cfg)
    check_machine(cfg)


def check_machine(cfg: TrainConfig) -> None:
    """Refuses what this machine can't do.

    Raises:
        FerError: there is no such processor, not so many of them, or no compiler for `trainer.compile`.
    """
    check_accelerator(cfg.trainer.accelerator)
    _check_devices(cfg.trainer)
    if cfg.trainer.compile and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++", "cl"))):
        raise FerError(
            "trainer.compile needs a C++ compiler, and none is found here (g++ or clang++): install one, or leave it off"
        )


def check_maps(cfg: TrainConfig) -> None:
    """Refuses a backbone that does not take such pictures, or without the maps that the heads are to see.

    Raises:
        FerError: says which; or batches of one picture, over which features of maps can't be standardised.
    """
    model = cfg.model
    if cfg.data.batch_size == 1 and (model.levels * model.grid > 1 or model.landmarks):
        raise FerError(
            f"data.batch_size=1: with model.levels={model.levels}, model.grid={model.grid}, "
            f"model.landmarks={str(model.landmarks).lower()} features are standardised over a batch: "
            "take two at least"
        )
    _check_backbone(model.backbone, cfg.data.image_size, model.levels, model.grid, model.landmarks)


@cache
def _check_backbone(name: str, image_size: int, levels: int, grid: int, landmarks: bool) -> None:
    """Once for all jobs of a sweep, and without memory: only whether it can be made counts."""
    with torch.device(
        "cpu" if name.startswith("regnet") else "meta"
    ):  # RegNets reckon with tensors while they are made
        make_backbone(name, image_size, levels, grid, landmarks)


def _check_devices(cfg: TrainerConfig) -> None:
    there = torch.cuda.device_count()
    if cfg.accelerator in ("auto", "gpu") and 0 < there < cfg.devices:
        raise FerError(f"trainer.devices={cfg.devices}: this machine has {there} of them; or trainer.accelerator=cpu")


def check_accelerator(name: str) -> None:
    """Refuses a processor that is not there.

    Raises:
        FerError: `trainer.accelerator` names a GPU, and torch finds none.
    """
    found = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found.get(name, True):
        raise FerError(f"trainer.accelerator={name}: torch finds none on this machine; use auto or cpu")
