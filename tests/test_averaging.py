"""`trainer.ema`: the best checkpoint holds the moving average of the weights, and the run goes on from the weights themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import lightning
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed
from lightning.pytorch.callbacks import Callback

from fer.cli.command import Call
from fer.errors import FerError
from fer.train import begin

DECAY = 0.9


class Watch(Callback):
    """Averages by hand, after each step: tensors of numbers that training moves, BatchNorm's statistics among them."""

    def __init__(self) -> None:
        self.average: dict[str, torch.Tensor] = {}
        self.n = 0

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object) -> None:
        decay = min(DECAY, (1 + self.n) / (10 + self.n))
        state = {name: value for name, value in pl_module.state_dict().items() if value.is_floating_point()}
        for name, value in state.items():
            self.average[name] = decay * self.average[name] + (1 - decay) * value if self.n else value.clone()
        self.weights = {name: value.clone() for name, value in state.items()}
        self.n += 1


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


def test_scores_that_chose_the_best_are_its_own(
    train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # judged without what is fitted after training: the loss of the best epoch's curve comes again
    monkeypatch.setattr("fer.steps.deciding.set_upright", lambda *_: None)
    monkeypatch.setattr("fer.steps.deciding.fit_temperatures", lambda _: {"au": 1.0, "emotion": 1.0})
    settings = ("trainer.ema=0.9", "trainer.max_epochs=3", "optimizer.lr=1e-3", "loss.class_weights=none")
    run_dir = train(*settings, "trainer.precision=32")
    curves, scores = pd.read_csv(run_dir / "curves.csv"), json.loads((run_dir / "metrics.json").read_text())["val"]
    best = curves.loc[curves["val/loss"].idxmin()]
    assert scores["emotion"]["loss"] == pytest.approx(best["val/emotion_loss"], rel=1e-4)
    assert scores["au"]["loss"] == pytest.approx(best["val/au_loss"], rel=1e-4)
    assert curves["val/loss"].std() > 2e-3 * curves["val/loss"].mean()  # else any epoch's weights would do


def test_frozen_backbone_is_not_averaged() -> None:
    with pytest.raises(FerError, match=r"trainer\.ema"):
        composed("train", "trainer.ema=0.9", "model.finetune=frozen", "model.weights=none")
