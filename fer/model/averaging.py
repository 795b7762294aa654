"""The moving average of the weights: what is judged and kept where `trainer.ema` asks for it."""

from __future__ import annotations

from collections.abc import Sequence

import lightning
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AveragedWeights(WeightAveraging):
    """An exponential moving average, in place from validation until the best checkpoint is written.

    Lightning puts the trained weights back before that, and checkpoints without the optimizer's state then hold those (2.6): the
    scores that chose the best would not be its own. Its `EMAWeightAveraging` takes several times as long.

    Args:
        decay: of the average, after a start in which it is lower: the first weights, which have learned nothing, must not stay.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        super().__init__(multi_avg_fn=self._update)

    def _update(self, averaged: Sequence[Tensor], current: Sequence[Tensor], n_averaged: Tensor | int) -> None:
        n = int(n_averaged)
        update = get_ema_multi_avg_fn(min(self.decay, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
        update(averaged, current, n_averaged)

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Keeps the average beside the weights: the module itself is moved to its device only later."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Waits for the checkpoint."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Puts the trained weights back; what a run goes on from is written after this, and holds both."""
        super().on_validation_epoch_end(trainer, pl_module)
