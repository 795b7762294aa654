"""The moving average of the weights: what is judged and kept where `trainer.ema` asks for it."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import EMAWeightAveraging


class AveragedWeights(EMAWeightAveraging):
    """Lightning's exponential moving average, in place from validation until the best checkpoint is written.

    Lightning puts the trained weights back before that, and checkpoints without the optimizer's state then hold those (2.6): the
    scores that chose the best would not be its own.
    """

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Waits for the checkpoint."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Puts the trained weights back; what a run goes on from is written after this, and holds both."""
        super().on_validation_epoch_end(trainer, pl_module)
