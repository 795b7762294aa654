"""One set of settings, ready to be measured: the data as `fer.train` reads it, fresh networks, a folder that is thrown away."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fer.config import TrainConfig, as_dict
from fer.data.datamodule import FaceData
from fer.model import allocator
from fer.model.module import FaceModule
from fer.runs.folder import RunFolder
from fer.runs.jobs import Kept
from fer.steps import building, checks, describing, fitting, frozen, reading


class Bench:
    """What the stages share.

    Args:
        cfg: resolved settings of a training run.
        scratch: a folder for what is written by the way.
        label: is put before the names of the stages.
        kept: data and weights of an earlier bench, for equal settings.
    """

    def __init__(self, cfg: TrainConfig, scratch: Path, label: str = "", kept: Kept | None = None) -> None:
        self.cfg, self.scratch, self.label = cfg, scratch, label
        allocator.keep_memory()  # as training does
        checks.check_early(cfg, scratch / "none")
        self.data = reading.read_data(cfg, kept)
        self.weights = building.read_weights(cfg)
        self.batch_size = min(cfg.data.batch_size, len(self.data.prepared.part("train")))
        self.folder = self.new_folder("first")
        self.precision: str = self.folder.about["precision"]
        wanted = cfg.trainer.accelerator
        gpu = wanted in ("auto", "gpu") and torch.cuda.is_available()
        self.device = torch.device("cuda" if gpu else "mps" if wanted == "mps" else "cpu")
        if frozen.is_frozen(cfg):
            module = building.build_module(cfg, self.data, self.weights)
            frozen.use_features(cfg, module, self.data, self.precision, self.device, kept or Kept())

    def new_folder(self, name: str) -> RunFolder:
        """A run folder such as `fer.train` makes."""
        folder = RunFolder.create(self.scratch / f"{self.label}{name}", as_dict(self.cfg), "")
        describing.describe(folder, self.cfg, self.data, self.weights)
        return folder

    def module(self) -> FaceModule:
        """A new network in training mode, on the device, compiled if that is set."""
        module = building.build_module(self.cfg, self.data, self.weights)
        if self.cfg.trainer.compile:
            fitting.compile_backbone(module)
        module.to(self.device).freeze_for(0)
        return module

    def data_of(self, n_images: int, part: str = "train") -> FaceData:
        """The same data with a table of `n_images` rows of one split (`train` or `all`), repeated if need be."""
        data = copy.copy(self.data)
        rows = self.data.prepared.part(part)
        table = rows.iloc[np.arange(n_images) % len(rows)].assign(split="val").reset_index(drop=True)
        data.prepared = dataclasses.replace(self.data.prepared, table=table)
        return data

    def batch(self) -> dict[str, Tensor]:
        """The first batch of training, on the device and ready for the network."""
        batch: dict[str, Any] = next(iter(self.data.loader("train", shuffled=True)))
        on_device = {name: tensor.to(self.device) for name, tensor in batch.items()}
        return self.data.on_after_batch_transfer(on_device, 0)

    def autocast(self) -> torch.autocast:
        """The precision of training."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed")
