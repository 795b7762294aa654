"""The losses, masked for missing labels, and their sum. Pure functions of tensors; letters as in `network`."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fer.config import LossConfig
from fer.labels import MISSING_TARGET


def au_loss(
    logits: Float[Tensor, "N A"], target: Int[Tensor, "N A"], class_weights: Float[Tensor, "A 2"] | None = None
) -> Float[Tensor, ""]:
    """Binary cross-entropy, mean over the labelled cells; 0 with a gradient of 0 if there are none.

    Args:
        target: 1 present, 0 absent, `MISSING_TARGET`.
        class_weights: weight of an absent and of a present label, per unit.
    """
    known = target != MISSING_TARGET
    cells = functional.binary_cross_entropy_with_logits(logits.float(), target.clamp(min=0).float(), reduction="none")
    if class_weights is not None:
        cells = cells * torch.where(target == 1, class_weights[:, 1], class_weights[:, 0])
    return (cells * known).sum() / known.sum().clamp(min=1)


def emotion_loss(
    logits: Float[Tensor, "N E"],
    target: Int[Tensor, " N"],
    class_weights: Float[Tensor, " E"] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Cross-entropy, mean over the labelled rows; 0 with a gradient of 0 if there are none.

    torch's own mean divides by the sum of the weights, which is 0/0 for a batch without labels.
    """
    rows = functional.cross_entropy(
        logits.float(),
        target,
        weight=class_weights,
        ignore_index=MISSING_TARGET,
        label_smoothing=smoothing,
        reduction="none",
    )
    return rows.sum() / (target != MISSING_TARGET).sum().clamp(min=1)


def landmark_loss(found: Float[Tensor, "N P 2"], target: Float[Tensor, "N P 2"]) -> Float[Tensor, ""]:
    """Mean distance of each coordinate (Huber's loss, quadratic below a hundredth of the view), over the pictures that have landmarks.

    Args:
        target: places in [-1, 1]; NaN in pictures that have none.
    """
    known = ~target.isnan()
    cells = functional.smooth_l1_loss(found.float(), target.nan_to_num(), beta=0.02, reduction="none")
    return (cells * known).sum() / known.sum().clamp(min=1)


class TaskBalance(nn.Module):
    """The sum of the losses: with fixed weights, or with weights learned from each task's uncertainty.

    Uncertainty: Kendall, Gal & Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018, with s = log variance.
    """

    def __init__(self, balance: str, au_weight: float, emotion_weight: float, landmark_weight: float = 0.0) -> None:
        super().__init__()
        self.weights = {"au": au_weight, "emotion": emotion_weight}
        if landmark_weight:
            self.weights["landmarks"] = landmark_weight
        self.log_variances = (
            nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in self.weights})
            if balance == "uncertainty"
            else None
        )

    def forward(self, losses: dict[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
        """One loss from those of the tasks at hand, keyed `au`, `emotion` and `landmarks`."""
        if self.log_variances is None:
            return torch.stack([self.weights[task] * loss for task, loss in losses.items()]).sum()
        terms = [
            torch.exp(-self.log_variances[task]) * loss + 0.5 * self.log_variances[task]
            for task, loss in losses.items()
        ]
        return torch.stack(terms).sum()


def balanced_weights(counts: Float[Tensor, "*classes"], most: float) -> Float[Tensor, "*classes"]:
    """Weights n / (k n_c) over the last axis, so that each of the k classes weighs the same in sum; none above `most`, 1 where n_c is 0."""
    n_classes, total = counts.shape[-1], counts.sum(-1, keepdim=True)
    weights = (total / (n_classes * counts.clamp(min=1))).clamp(max=most)
    return torch.where(counts > 0, weights, torch.ones_like(weights))


def class_weights(cfg: LossConfig, au_counts: Tensor, emotion_counts: Tensor) -> dict[str, Any]:
    """The weights per class as plain lists, from the label counts of the training split; empty if `loss.class_weights=none`."""
    if cfg.class_weights == "none":
        return {}
    return {
        "au": balanced_weights(au_counts, cfg.max_weight).tolist(),
        "emotion": balanced_weights(emotion_counts, cfg.max_weight).tolist(),
    }
