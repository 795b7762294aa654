"""Ends a run whose validation score stays below that of the others."""

from __future__ import annotations

import lightning
import optuna
from lightning.pytorch.callbacks import Callback


class Prune(Callback):
    """Tells the study the validation score of each epoch; a hopeless run ends with `optuna.TrialPruned`.

    Optuna's own callback, in a package of its own, ends the run before the scores of that epoch are written down.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        score = trainer.callback_metrics.get("val/score")
        if score is None:
            return
        self.trial.report(float(score), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"epoch {trainer.current_epoch + 1}")
