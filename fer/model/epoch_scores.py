"""The scores of an epoch: batches of a part in; its losses and scores out, under the names of the curves (`val/au_f1`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from fer.model.metrics import AuScores, EmotionScores, HeadScores
from fer.model.network import Logits, probabilities


class EpochScores(nn.Module):
    """What the heads said of `train` and `val` in one epoch.

    Args:
        aus: units of the AU head, none without it.
        emotions: whether there is an emotion head.
        total: of a loss per head, the one that is shown as `loss`.
    """

    def __init__(self, aus: list[int], *, emotions: bool, total: Callable[[dict[str, Tensor]], Tensor]) -> None:
        super().__init__()
        self.total, self.heads = total, nn.ModuleDict()
        for stage in ("train", "val"):
            if aus:
                self.heads[f"{stage}_au"] = AuScores(aus, brief=stage == "train")
            if emotions:
                self.heads[f"{stage}_emotion"] = EmotionScores()

    def add(self, stage: str, losses: Mapping[str, Tensor], logits: Logits, batch: Mapping[str, Tensor]) -> None:
        """Adds a batch."""
        for head, probability in probabilities(logits).items():
            self._of(stage, head).update(probability, batch[head], losses[head])

    def taken(self, stage: str) -> dict[str, Tensor]:
        """Losses and scores of what was added, which is then forgotten. A head without a labelled cell has none."""
        losses: dict[str, Tensor] = {}
        scores: dict[str, Tensor] = {}
        for head in ("au", "emotion"):
            if f"{stage}_{head}" in self.heads and (metric := self._of(stage, head)).update_called:
                found = metric.compute()
                if torch.isfinite(found["loss"]):
                    losses[head] = found.pop("loss")
                    scores |= found
                metric.reset()
        if losses:
            scores |= {"loss": self.total(losses), **{f"{head}_loss": loss for head, loss in losses.items()}}
        return {f"{stage}/{name}": value.detach() for name, value in scores.items()}

    def begun(self, stage: str) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """What was added so far, by all processes: probabilities, targets and mean loss of each head."""
        seen: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for head in ("au", "emotion"):
            if f"{stage}_{head}" in self.heads and (metric := self._of(stage, head)).update_called:
                with metric.sync_context():
                    seen[head] = *metric.collected(), metric.loss().nan_to_num()
        return seen

    def go_on(self, stage: str, begun: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> None:
        """Goes on from what `begun` returned, and forgets all else."""
        for head in ("au", "emotion"):
            if f"{stage}_{head}" in self.heads:
                self._of(stage, head).reset()
        for head, seen in begun.items():
            self._of(stage, head).update(*seen)

    def _of(self, stage: str, head: str) -> HeadScores:
        return cast(HeadScores, self.heads[f"{stage}_{head}"])
