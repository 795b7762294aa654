"""The optimizers and schedules that the settings name: torch's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR, StepLR

from fer.config import OptimizerConfig, SchedulerConfig

PARTS = ("backbone", "heads")
"""What has a learning rate of its own."""


def make_optimizer(cfg: OptimizerConfig, groups: list[dict[str, Any]]) -> Optimizer:
    """The chosen optimizer over parameter groups that bring their own rates; fused, where torch can, takes a third of the time."""
    match cfg.name:
        case "sgd":
            return SGD(groups, lr=cfg.lr, momentum=cfg.momentum, weight_decay=cfg.weight_decay, fused=True)
        case "rmsprop":
            return RMSprop(groups, lr=cfg.lr, momentum=cfg.momentum, weight_decay=cfg.weight_decay)
        case "adam":
            return Adam(groups, lr=cfg.lr, weight_decay=cfg.weight_decay, fused=True)
        case _:
            return AdamW(groups, lr=cfg.lr, weight_decay=cfg.weight_decay, fused=True)


def make_schedule(
    cfg: SchedulerConfig, optimizer: Optimizer, max_epochs: int
) -> LRScheduler | ReduceLROnPlateau | None:
    """The chosen schedule, in epochs; None for constant rates."""
    match cfg.name:
        case "none":
            return None
        case "plateau":
            return ReduceLROnPlateau(optimizer, factor=cfg.factor, patience=cfg.patience)
        case "step":
            return StepLR(optimizer, cfg.step_epochs, cfg.factor)
    warmup = min(cfg.warmup_epochs, max_epochs - 1)
    cosine = CosineAnnealingLR(optimizer, max(1, max_epochs - warmup))
    if not warmup:
        return cosine
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rise, cosine], [warmup])


def parameter_groups(
    cfg: OptimizerConfig, parameters: Iterable[tuple[str, nn.Parameter]], backbone: str, *, frozen: bool
) -> Iterator[dict[str, Any]]:
    """Backbone and the rest, each with and without weight decay: there from the start, still frozen or not, so that a resume fits.

    Args:
        parameters: with their names.
        backbone: how the names of the backbone's begin.
        frozen: for good: there is nothing of it to go through at each step.
    """
    named = list(parameters)
    backbone_lr = cfg.backbone_lr if cfg.backbone_lr is not None else cfg.lr
    for part, lr in zip(PARTS, (backbone_lr, cfg.lr), strict=True):
        if part == "backbone" and frozen:
            continue
        mine = [p for name, p in named if name.startswith(backbone) == (part == "backbone")]
        yield {"name": part, "lr": lr, "params": [p for p in mine if p.ndim > 1]}
        # biases and norms: decay would only pull them from where they belong
        yield {"name": f"{part}_no_decay", "lr": lr, "weight_decay": 0.0, "params": [p for p in mine if p.ndim <= 1]}
