"""The rules between settings, and what is settled before a run begins. Never imports torch."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from fer.config.commands import BenchmarkConfig, CrossvalConfig, TrainConfig, TuneConfig
from fer.config.groups import DataConfig
from fer.config.of_commands import bad_source, bad_split, of_command
from fer.config.setting import bad_values
from fer.errors import FerError

FROZEN_VIEWS = 8
"""The `data.views` of `model.finetune=frozen`, where each costs one pass through the backbone and some disk."""


LEAST_MIXUP = 0.01
"""Of smaller ones the beta distribution in single precision gives .5 where it means 0 or 1."""


def conf_dir() -> Path:
    """The folder of the YAML files: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise FerError(f"conf/train.yaml was found neither in {package} nor beside it: the installation is not complete")


def check(cfg: Any) -> None:
    """Looks at every value and at the rules between values.

    Raises:
        FerError: names every bad value by its key, with what is allowed.
    """
    problems = list(bad_values(cfg, "")) + bad_name(getattr(cfg, "name", None))
    if isinstance(cfg, TrainConfig):
        problems += _bad_combinations(cfg)
    problems += of_command(cfg)
    if problems:
        raise FerError("; ".join(problems))


def _bad_combinations(cfg: TrainConfig) -> list[str]:
    data, found = cfg.data, bad_source(cfg.data) + bad_split(cfg.data)
    if cfg.loss.landmark_weight and not cfg.model.landmarks:
        found.append("loss.landmark_weight teaches a network to find landmarks: it needs model.landmarks=true")
    if cfg.loss.landmark_weight and data.reference == "neutral":
        found.append(
            "loss.landmark_weight must be 0 with data.reference=neutral: where points are can't be seen in what has changed"
        )
    if data.fresh_pictures and data.name != "synthetic":
        found.append("data.fresh_pictures is for data=synthetic only: pictures of other data can't be drawn")
    if cfg.model.finetune == "gradual" and cfg.model.freeze_epochs >= cfg.trainer.max_epochs:
        found.append(
            f"model.freeze_epochs must be below trainer.max_epochs={cfg.trainer.max_epochs}, got {cfg.model.freeze_epochs}"
        )
    if cfg.loss.landmark_weight and cfg.augment.mixup:
        found.append(
            "loss.landmark_weight must be 0 with augment.mixup: landmarks of two blended pictures mean nothing"
        )
    if 0 < cfg.augment.mixup < LEAST_MIXUP:
        found.append(
            f"augment.mixup must be 0 or at least {LEAST_MIXUP:g}, got {cfg.augment.mixup:g}: below, halves would be drawn"
        )
    if data.fresh_pictures and data.crop == "full":
        found.append("data.fresh_pictures are drawn as faces: data.crop must be face")
    if cfg.loss.landmark_weight and cfg.model.finetune == "frozen":
        found.append(
            "loss.landmark_weight must be 0 with model.finetune=frozen: it teaches the backbone, which stays as it is"
        )
    found += _bad_features(cfg)
    if cfg.trainer.compile and cfg.model.finetune == "frozen":
        found.append("trainer.compile is not for model.finetune=frozen: it would change features that are kept")
    if cfg.trainer.ema and cfg.model.finetune == "frozen":
        found.append("trainer.ema must be 0 with model.finetune=frozen: averaging would cost more than the heads do")
    if cfg.loss.consistency_weight and cfg.loss.name != "bce":
        found.append(
            f"loss.consistency_weight must be 0 with loss={cfg.loss.name}: how probable a unit is can't be told from what that learns"
        )
    if cfg.loss.au_weight == 0 and cfg.loss.emotion_weight == 0:
        found.append("loss.au_weight and loss.emotion_weight are both 0: nothing would be learned")
    return found + _bad_processes(cfg)


def _bad_processes(cfg: TrainConfig) -> list[str]:
    n = cfg.trainer.devices * cfg.trainer.num_nodes
    if n == 1:
        return []
    found = []
    if isinstance(cfg, BenchmarkConfig | CrossvalConfig | TuneConfig):
        found.append(
            "trainer.devices and trainer.num_nodes are for fer.train: each run of this command takes one processor"
        )
    if cfg.trainer.accelerator == "mps":
        found.append("trainer.accelerator=mps is one processor: trainer.devices and trainer.num_nodes must be 1")
    if cfg.data.batch_size < n:
        found.append(
            f"data.batch_size is shared by all processes: it must be at least {n} for so many, got {cfg.data.batch_size}"
        )
    return found


def _bad_features(cfg: TrainConfig) -> list[str]:
    """What features that are computed once can't be."""
    if cfg.model.finetune != "frozen" or not cfg.data.cache_features:
        return []
    found = []
    if cfg.data.fresh_pictures:
        found.append(
            "data.fresh_pictures means new pictures each epoch, whose features can't be kept for model.finetune=frozen: type "
            "data.fresh_pictures=0, or data.cache_features=false"
        )
    if cfg.augment.mixup:
        found.append(
            f"augment.mixup={cfg.augment.mixup:g} blends pictures, and model.finetune=frozen learns from features kept for "
            "each picture: type augment.mixup=0, or data.cache_features=false"
        )
    if cfg.data.views == 0:
        found.append(
            "data.views=0 means new views each epoch, which can't be kept as features: type a number of views, or "
            "data.cache_features=false"
        )
    return found


def resolve(cfg: TrainConfig) -> TrainConfig:
    """Fills in what depends on other settings and makes folders absolute, so that the saved settings mean the same anywhere."""
    cache_dir = _full(cfg.cache_dir)
    weights = cfg.model.weights or ("auto" if cfg.data.name == "synthetic" else "DEFAULT")
    if is_file_name(weights):
        weights = str(Path(weights).expanduser().absolute())
    data = absolute(cfg.data)
    if data.views is None:
        data = dataclasses.replace(data, views=FROZEN_VIEWS if cfg.model.finetune == "frozen" else 0)
    return dataclasses.replace(
        cfg, data=data, model=dataclasses.replace(cfg.model, weights=weights), cache_dir=cache_dir
    )


def is_file_name(weights: str) -> bool:
    """Whether `model.weights` names a file rather than weights of torchvision."""
    return "/" in weights or bool(Path(weights).suffix)


def absolute(data: DataConfig) -> DataConfig:
    """The same settings with folders that do not depend on where the command was typed."""
    return dataclasses.replace(data, root=_full(data.root), table=_full(data.table))


def _full(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())


def bad_name(name: str | None) -> list[str]:
    """What is wrong with a name that becomes a folder: it must not lead anywhere else."""
    if name is None or re.fullmatch(r"[\w+=,@-][\w+=,@ .-]*", name):
        return []
    return [f"name must be letters, digits, spaces and +=,@.-_ without a slash; got {name}"]
