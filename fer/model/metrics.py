"""Scores of both heads while training: torchmetrics over the whole split, never means of batch scores.

`fer.results` judges a finished model; these are for the curves, for early stopping and for choosing the best checkpoint.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_f1_score,
    multiclass_accuracy,
    multiclass_f1_score,
)
from torchmetrics.utilities import dim_zero_cat

from fer.labels import MISSING_TARGET


class HeadScores(Metric):
    """Keeps a split's probabilities and targets and scores them at its end; subclasses say how."""

    full_state_update = False
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("probabilities", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Adds a batch. Probabilities, not logits: torchmetrics guesses from the values what it got."""
        self.probabilities.append(probabilities.detach().float())
        self.targets.append(targets)

    def collected(self) -> tuple[Tensor, Tensor]:
        return dim_zero_cat(self.probabilities), dim_zero_cat(self.targets)


class AuScores(HeadScores):
    """Accuracy over labelled cells at 0.5; AP, AUC and F1 per unit and their means over the units with positives and negatives."""

    def __init__(self, aus: list[int]) -> None:
        super().__init__()
        self.aus = aus

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        probabilities, targets = self.collected()  # [N, A]
        known = targets != MISSING_TARGET
        correct = ((probabilities > 0.5) == (targets == 1))[known]
        scores = {"au_accuracy": correct.float().mean() if len(correct) else torch.tensor(torch.nan)}
        scored = [self._of_unit(probabilities[known[:, k], k], targets[known[:, k], k]) for k in range(len(self.aus))]
        for name in ("au_ap", "au_auc", "au_f1"):
            values = [unit[name] for unit in scored if unit]
            if values:
                scores[name] = torch.stack(values).mean()
        for au, unit in zip(self.aus, scored, strict=True):
            if unit:
                scores[f"au_f1_each/AU{au}"] = unit["au_f1"]
        return scores

    @staticmethod
    def _of_unit(probabilities: Float[Tensor, " n"], targets: Int[Tensor, " n"]) -> dict[str, Tensor]:
        # a unit that never (or always) occurs has no AUC, and torchmetrics would score it 0 and drag the mean down
        if len(targets) == 0 or targets.min() == targets.max():
            return {}
        return {
            "au_ap": binary_average_precision(probabilities, targets),
            "au_auc": binary_auroc(probabilities, targets),
            "au_f1": binary_f1_score(probabilities, targets),
        }


class EmotionScores(HeadScores):
    """Accuracy and macro F1 (over the classes that occur or are predicted) of the most probable class."""

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        probabilities, targets = self.collected()  # [N, E], [N]
        known = targets != MISSING_TARGET
        if not known.any():
            return {}
        probabilities, targets = probabilities[known], targets[known]
        n_classes = probabilities.shape[1]
        return {
            "emotion_accuracy": multiclass_accuracy(probabilities, targets, n_classes, average="micro"),
            "emotion_f1": multiclass_f1_score(probabilities, targets, n_classes, average="macro"),
        }
