"""`trainer.ema`: the best checkpoint holds the moving average of the weights, and the run goes on from the weights themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed
from lightning.pytorch.callbacks import Callback

from fer.cli import Call
from fer.errors import FerError
from fer.train import begin

DECAY = 0.9


class Watch(Callback):
    """Averages by hand, after each step."""

    def __init__(self) -> None:
        self.average: dict[str, torch.Tensor] = {}

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object) -> None:
        for name, value in pl_module.named_parameters():
            old = self.average.get(name, value.detach())
            self.average[name] = DECAY * old + (1 - DECAY) * value.detach()
        self.weights = {name: value.detach().clone() for name, value in pl_module.named_parameters()}


def test_average_is_judged_and_kept_and_training_goes_on_from_the_weights(
    tree: Path, cache: Path, tmp_path: Path
) -> None:
    typed = ("data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", f"run_dir={tmp_path / 'run'}")
    typed += (f"trainer.ema={DECAY}", "trainer.max_epochs=1", "data.batch_size=2", "loss.class_weights=none")
    watch = Watch()
    begin(composed("train", *typed), Call("", typed, None), [watch])
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    moved = [name for name in watch.average if name != "network.emotion_head.bias"]  # set upright after training
    for name in moved:
        assert torch.allclose(best[name], watch.average[name], atol=1e-5), name
        assert torch.equal(last["current_model_state"][name], watch.weights[name]), name
    assert not torch.allclose(best["network.au_head.weight"], watch.weights["network.au_head.weight"], atol=1e-5)


def test_curve_of_validation_is_that_of_the_average(train: Callable[..., Path], tmp_path: Path) -> None:
    # an average that never moves from the first step sees the same validation loss in each epoch
    settings = ("trainer.ema=0.9999999", "trainer.max_epochs=3", "optimizer.lr=1e-2")
    losses = pd.read_csv(train(*settings, run_dir=tmp_path / "still") / "curves.csv")["val/loss"]
    assert losses.std() < 1e-3 * losses.mean()
    moving = pd.read_csv(train(*settings[1:], run_dir=tmp_path / "moving") / "curves.csv")["val/loss"]
    assert moving.std() > 1e-2 * moving.mean()


def test_frozen_backbone_is_not_averaged() -> None:
    with pytest.raises(FerError, match=r"trainer\.ema"):
        composed("train", "trainer.ema=0.9", "model.finetune=frozen", "model.weights=none")
