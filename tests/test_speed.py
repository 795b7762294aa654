"""What makes it fast changes nothing else: kept pixels, fused optimizers, a compiled backbone, lower precision."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed
from lightning.pytorch.callbacks import Callback

from fer.cli.command import Call
from fer.config import OptimizerConfig
from fer.errors import FerError
from fer.model import allocator
from fer.model.module import FaceModule
from fer.model.optimizers import make_optimizer
from fer.train import begin

Train = Callable[..., Path]


class WithoutPictures(Callback):
    """Takes the pictures away before the first step."""

    def __init__(self, root: Path) -> None:
        self.root, self.epochs = root, 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        shutil.rmtree(self.root)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.epochs += 1


def test_no_epoch_opens_a_picture(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree, root)
    gone = WithoutPictures(root)
    typed = (
        "data=ckplus",
        f"data.root={root}",
        *SMALL,
        f"cache_dir={tmp_path / 'cache'}",
        f"run_dir={tmp_path / 'run'}",
    )
    score = begin(composed("train", *typed), Call("", typed, None), [gone])
    assert gone.epochs == 2 and not root.exists() and score is not None


def test_a_compiled_backbone_learns_the_same_and_keeps_its_names(train: Train, trained: Path, tmp_path: Path) -> None:
    with torch.compiler.set_stance("force_eager"):  # the compiler itself takes a minute
        folder = train("model.backbone=resnet18", "trainer.compile=true", run_dir=tmp_path / "compiled")
    usual, compiled = (
        torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for run in (trained, folder)
    )
    assert usual.keys() == compiled.keys() and all(torch.equal(usual[name], compiled[name]) for name in usual)
    assert "trainer.compile: the first step took" in (folder / "train.log").read_text()


def test_compiling_without_a_compiler_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    typed = ("trainer.compile=true", f"run_dir={tmp_path / 'run'}")
    with pytest.raises(FerError, match=r"trainer.compile needs a C\+\+ compiler"):
        begin(composed("train", *typed), Call("", typed, None))
    with pytest.raises(FerError, match=r"trainer.compile is not for model.finetune=frozen"):
        composed("train", "trainer.compile=true", "model.finetune=frozen")


def test_gradients_are_clipped_for_fused_optimizers_too(train: Train, tmp_path: Path) -> None:
    settings = ("optimizer=sgd", "trainer.precision=bf16", "trainer.max_epochs=1", "optimizer.lr=1")
    free, held = (
        torch.load(
            train(*settings, f"trainer.gradient_clip={clip}", run_dir=tmp_path / str(clip))
            / "checkpoints"
            / "last.ckpt",
            weights_only=True,
        )["state_dict"]["network.dense.1.weight"]
        for clip in ("0.001", "1e-30")
    )
    first = composed("train", *SMALL)
    assert first.seed == 0 and not torch.equal(free, held)  # by 1e-30 nothing moves
    assert float((free - held).abs().max()) < 0.1


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_fused_optimizer_steps_like_the_plain_one(name: str) -> None:
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 50)) for _ in range(2)]
    fused = make_optimizer(OptimizerConfig(name=name, lr=0.1), [{"params": weights[:1], "lr": 0.1}])
    extra = {"momentum": 0.9} if name == "sgd" else {}
    plain = type(fused)(weights[1:], lr=0.1, weight_decay=0.0, fused=False, foreach=False, **extra)
    for _ in range(3):
        for weight, optimizer in zip(weights, (fused, plain), strict=True):
            optimizer.zero_grad()
            (weight**3).sum().backward()
            optimizer.step()
    torch.testing.assert_close(*weights)
    assert fused.defaults["fused"]


def test_lower_precision_is_a_choice_and_stays_near(lively: Path, tree: Path, tmp_path: Path) -> None:
    from fer.predict import run

    answers, picture = [], next(tree.glob("cohn-kanade-images/*/*/*.png"))
    for precision in ("f32", "bf16"):
        out = tmp_path / f"{precision}.csv"
        words = (
            f"checkpoint={lively}",
            f"input={picture}",
            "faces=largest",
            f"output={out}",
            f"precision={precision}",
        )
        run(composed("predict", *words), Call("", (), None))
        answers.append(pd.read_csv(out).filter(like="_prob").to_numpy())
    assert not np.array_equal(*answers) and np.abs(answers[0] - answers[1]).max() < 0.2
    with pytest.raises(FerError, match=r"precision=bf16: an exported file has its own"):
        composed("predict", "checkpoint=model.onnx", "input=x", "precision=bf16")


FAULTS = """
import resource, sys
from contextlib import nullcontext
from fer.model import allocator

def faults(mb, turns):
    for turn in range(turns + 1):  # what is wanted first is new
        if turn == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"x" * (mb << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

how = sys.argv[1]
if how == "kept":
    allocator.keep_memory()
with allocator.as_it_comes() if how == "as it comes" else nullcontext():
    print(faults(16, 20), faults(48, 20), faults(2200, 1))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_is_kept_whatever_its_size_and_as_glibc_does_without() -> None:
    def pages(how: str) -> list[bool]:
        """Whether the kernel had to give again what was freed just before: for 16, 48 and 2200 MB."""
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return [int(found) > 10_000 for found in done.stdout.split()]

    assert pages("kept") == [False, False, False]
    assert pages("untouched") == pages("as it comes") == [False, True, True]


def test_training_keeps_its_memory(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(allocator, "keep_memory", lambda: kept.append(True))
    train("trainer.max_epochs=1", run_dir=tmp_path / "run")
    assert kept == [True]


def test_training_and_judging_leave_new_memory_unfilled(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, bool] = {}

    def watched(name: str) -> Callable[..., Any]:
        step = getattr(FaceModule, name)

        def watching(*given: Any) -> Any:
            seen[name] = torch.utils.deterministic.fill_uninitialized_memory
            return step(*given)

        return watching

    for name in ("training_step", "validation_step", "predict_step"):
        monkeypatch.setattr(FaceModule, name, watched(name))
    train("trainer.max_epochs=1", run_dir=tmp_path / "run")
    assert seen == {"training_step": False, "validation_step": False, "predict_step": False}
    assert torch.utils.deterministic.fill_uninitialized_memory  # a caller's own setting is as it was
