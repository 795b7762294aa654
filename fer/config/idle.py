"""Settings that another one leaves without effect: a word, not a refusal, as a recipe may be changed in one place. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterator

from fer.config.commands import TrainConfig
from fer.config.setting import as_dict, flat

NEEDS = {
    "scheduler.warmup_epochs": ("scheduler.name", ("cosine",)),
    "scheduler.factor": ("scheduler.name", ("plateau", "step")),
    "scheduler.step_epochs": ("scheduler.name", ("step",)),
    "scheduler.patience": ("scheduler.name", ("plateau",)),
    "optimizer.momentum": ("optimizer.name", ("sgd", "rmsprop")),
    "optimizer.backbone_lr": ("model.finetune", ("full", "gradual")),
    "data.cache_features": ("model.finetune", ("frozen",)),
    "data.test_fraction": ("data.folds", (0,)),
    "data.min_au_count": ("data.aus", ("auto",)),
    "data.subjects": ("data.name", ("synthetic",)),
    "model.freeze_epochs": ("model.finetune", ("gradual",)),
    "loss.max_weight": ("loss.class_weights", ("balanced", "logit_adjusted")),
    "loss.au_weight": ("loss.balance", ("fixed",)),
    "loss.emotion_weight": ("loss.balance", ("fixed",)),
}
"""Key -> the key that it hangs on, and the values with which it means something."""


def idle(cfg: TrainConfig) -> Iterator[str]:
    """A line for each setting that is not the default and has no effect."""
    now, default = dict(flat(as_dict(cfg))), dict(flat(as_dict(TrainConfig())))
    for key, (other, values) in NEEDS.items():
        if now[key] != default[key] and now[other] not in values:
            yield f"{key}={now[key]} has no effect with {other.removesuffix('.name')}={now[other]}"
    for key in ("loss.consistency_weight", "loss.landmark_weight"):
        if cfg.loss.balance == "uncertainty" and now[key] not in (0, 1):
            yield f"{key}={now[key]} counts as 1 with loss.balance=uncertainty, which learns how much a task weighs"
