"""The optimizers and schedules that the settings name: torch's own."""

from __future__ import annotations

from typing import Any

from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR, StepLR

from fer.config import OptimizerConfig, SchedulerConfig


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
