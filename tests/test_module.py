"""What is trained and how fast: frozen backbones, parameter groups, optimizers, schedules; and that it learns at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import composed
from PIL import Image

from fer.config import LossConfig, OptimizerConfig, SchedulerConfig, as_dict
from fer.errors import FerError
from fer.model.callbacks import make_callbacks
from fer.model.module import FaceModule
from fer.model.optimizers import make_optimizer, make_schedule

Train = Callable[..., Path]


def module(**changes: Any) -> FaceModule:
    cfg = composed("train", "model=resnet18", "model.dense=8")
    plain = {
        "labels": {"aus": [1, 2], "emotions": ["a", "b"]},
        "preprocessing": {"image_size": 32},
        "model": as_dict(cfg.model),
        "loss": as_dict(cfg.loss),
        "optimizer": as_dict(cfg.optimizer) | {"backbone_lr": 1e-4},
        "scheduler": as_dict(cfg.scheduler),
        "class_weights": {},
        "max_epochs": 5,
        "seed": 0,
    }
    return FaceModule(**{**plain, **changes})


def checkpoint(run_dir: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)


def backbone_of(run_dir: Path, name: str = "best") -> dict[str, torch.Tensor]:
    return {k: v for k, v in checkpoint(run_dir, name)["state_dict"].items() if k.startswith("network.backbone.")}


@pytest.mark.parametrize(("finetune", "moves"), [("frozen", False), ("gradual", True), ("full", True)])
def test_frozen_backbone_stands_still_statistics_and_all(
    train: Train, tmp_path: Path, finetune: str, moves: bool
) -> None:
    settings = (f"model.finetune={finetune}", "model.freeze_epochs=1", "scheduler=none")
    start = {k: v for k, v in started(tmp_path, train, *settings).items()}
    end = backbone_of(train(*settings, run_dir=tmp_path / "end"), "last" if moves else "best")
    same = [k for k in start if torch.equal(start[k], end[k])]
    assert (len(same) == len(start)) is not moves
    assert ("network.backbone.conv1.1.running_mean" in same) is not moves


def started(tmp_path: Path, train: Train, *settings: str) -> dict[str, torch.Tensor]:
    """The backbone before its first step, from the same seed: a run whose backbone learns nothing."""
    return (
        backbone_of(train(*settings, "model.finetune=frozen", "trainer.max_epochs=1", run_dir=tmp_path / "start"))
        if ("model.finetune=gradual" not in settings)
        else backbone_of(train("model.finetune=frozen", "trainer.max_epochs=1", run_dir=tmp_path / "start"))
    )


def test_gradual_sets_the_backbone_free_after_its_epochs() -> None:
    made = module(model=as_dict(composed("train", "model=resnet18", "model.finetune=gradual").model))
    for epoch, frozen in ((0, True), (2, True), (3, False)):
        made.freeze_for(epoch)
        made.train()
        assert made.frozen is frozen
        assert all(p.requires_grad is not frozen for p in made.network.backbone.parameters())
        assert made.network.backbone.training is not frozen and made.network.dense.training


def test_backbone_and_heads_have_rates_of_their_own_and_norms_no_decay() -> None:
    made = module(optimizer=as_dict(OptimizerConfig(lr=1e-3, backbone_lr=1e-5, weight_decay=0.1)))
    groups = {g["name"]: g for g in made.optimizer_of_settings().param_groups}
    assert (groups["backbone"]["lr"], groups["heads"]["lr"]) == (1e-5, 1e-3)
    assert (groups["backbone"]["weight_decay"], groups["backbone_no_decay"]["weight_decay"]) == (0.1, 0.0)
    assert sum(p.numel() for g in groups.values() for p in g["params"]) == sum(p.numel() for p in made.parameters())


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_optimizers_are_torchs_own(name: str) -> None:
    group = {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1}
    cfg = composed("train", f"optimizer={name}").optimizer
    assert type(make_optimizer(cfg, [group])).__name__.lower() == name


def rates(cfg: SchedulerConfig, losses: list[float]) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = make_schedule(cfg, optimizer, len(losses))
    found = []
    for loss in losses:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            schedule.step(loss)
        elif schedule is not None:
            schedule.step()
    return found


def test_schedules_do_what_their_names_say() -> None:
    flat = [1.0] * 6
    assert rates(SchedulerConfig("none"), flat) == flat
    assert rates(SchedulerConfig("step", factor=0.5, step_epochs=2), flat) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    plateau = SchedulerConfig("plateau", factor=0.5, patience=1)
    assert rates(plateau, flat) == [1, 1, 1, 0.5, 0.5, 0.25]
    assert rates(plateau, [6.0, 5, 4, 3, 2, 1]) == flat  # it gets better
    assert rates(plateau, [1.0, 2, 3, 4, 5, 6])[-1] < 1
    cosine = rates(SchedulerConfig("cosine"), flat)
    assert cosine[0] == 1 and cosine == sorted(cosine, reverse=True) and cosine[-1] < 0.1
    warm = rates(SchedulerConfig("cosine", warmup_epochs=2), flat)
    assert warm[0] == pytest.approx(1 / 3) and max(warm) == warm[2] == 1
    assert warm[2:] == pytest.approx(rates(SchedulerConfig("cosine"), flat[2:]))  # a whole half wave after it


@pytest.mark.parametrize(("columns", "absent"), [(("AU1", "AU2"), "emotion"), (("emotion",), "au")])
def test_data_with_one_kind_of_label_trains_that_head_alone(
    train: Train, tmp_path: Path, columns: tuple[str, ...], absent: str, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    lines = [",".join(("path", "subject", *columns))]
    for k in range(24):
        name = tmp_path / f"{k}.png"
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(name)
        lines.append(
            ",".join(
                (
                    str(name),
                    f"p{k // 2}",
                    *(("anger", "happy")[k % 2] if c == "emotion" else str(k % 2) for c in columns),
                )
            )
        )
    (tmp_path / "table.csv").write_text("\n".join(lines))
    typed = ("data=csv", "data.root=null", f"data.table={tmp_path / 'table.csv'}", "trainer.max_epochs=1")
    run_dir = train(*typed)
    assert absent not in json.loads((run_dir / "metrics.json").read_text())["test"]
    assert not any(absent in key for key in checkpoint(run_dir)["state_dict"])
    assert f"no {'AU' if absent == 'au' else 'emotion'} labels to learn from" in caplog.text
    with pytest.raises(FerError, match="no picture of the training split has both AU labels and an emotion"):
        train(*typed, "loss.consistency_weight=1", run_dir=tmp_path / "refused")


@pytest.mark.parametrize(
    ("weight", "head", "other"), [("au_weight", "au", "emotion"), ("emotion_weight", "emotion", "au")]
)
def test_a_head_that_would_learn_nothing_is_left_out(train: Train, weight: str, head: str, other: str) -> None:
    run_dir = train(f"loss.{weight}=0", "trainer.max_epochs=1", "trainer.monitor=val/score")
    scores = json.loads((run_dir / "metrics.json").read_text())["test"]
    assert head not in scores and other in scores
    assert not any(f"{head}_head" in key for key in checkpoint(run_dir)["state_dict"])


def test_a_run_that_ends_before_its_backbone_was_set_free_says_so(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    train(
        "model.finetune=gradual",
        "model.freeze_epochs=4",
        "trainer.max_epochs=6",
        "trainer.patience=1",
        "optimizer.lr=1e-30",
    )
    assert "before the backbone was set free (model.freeze_epochs=4)" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        ("augment.mixup=0.3", "optimizer=adam"),
        ("loss.class_weights=none", "scheduler=plateau", "optimizer=sgd"),
        ("loss.balance=uncertainty", "optimizer=rmsprop", "augment=seed", "loss=focal"),
        ("loss=asymmetric", "loss.class_weights=logit_adjusted"),
        ("loss.consistency_weight=0.5", "augment.mixup=0.3"),
        ("loss.consistency_weight=0.5", "loss.balance=uncertainty", "model.finetune=frozen"),
    ],
)
def test_other_choices_train_too(train: Train, settings: tuple[str, ...]) -> None:
    run_dir = train(*settings, "trainer.max_epochs=1")
    assert np.isfinite(pd.read_csv(run_dir / "curves.csv")["train/loss"]).all()


def test_mixing_a_picture_with_itself_changes_nothing_and_missing_labels_stay_missing() -> None:
    made = module(mixup=0.4).eval()
    batch = {
        "image": torch.rand(1, 3, 32, 32).expand(3, -1, -1, -1),
        "au": torch.tensor([[1, -1]] * 3),
        "emotion": torch.tensor([-1, -1, -1]),
    }
    plain, mixed = made._plain(batch)[1], made._mixed(batch)[1]
    assert torch.allclose(plain["au"], mixed["au"], atol=1e-5) and mixed["emotion"] == 0


@pytest.mark.parametrize(("share", "shown"), [(0.3, [1, 0]), (0.8, [0, 1])])
def test_blended_pictures_are_learned_with_both_labels_and_scored_by_what_shows_most(
    monkeypatch: pytest.MonkeyPatch, share: float, shown: list[int]
) -> None:
    made = module(mixup=0.4, loss=as_dict(LossConfig())).eval()
    batch = {
        "image": torch.rand(2, 3, 32, 32),
        "au": torch.tensor([[1, -1], [0, 1]]),
        "emotion": torch.tensor([0, 1]),
    }
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self: torch.tensor(share))
    monkeypatch.setattr(torch, "randperm", lambda n, device: torch.tensor([1, 0]))
    with torch.no_grad():
        logits, losses, labels = made._mixed(batch)
        au, emotion = made(share * batch["image"] + (1 - share) * batch["image"].flip(0))
    assert torch.allclose(logits.au, au) and torch.allclose(logits.emotion, emotion)
    softplus = torch.nn.functional.softplus
    own = torch.stack([softplus(-au[0, 0]), softplus(au[1, 0]), softplus(-au[1, 1])]).mean()
    other = torch.stack([softplus(au[0, 0]), softplus(-au[0, 1]), softplus(-au[1, 0])]).mean()
    assert losses["au"].item() == pytest.approx((share * own + (1 - share) * other).item(), rel=1e-5)
    cost = -emotion.log_softmax(1)
    own, other = cost.diagonal().mean(), cost.flip(1).diagonal().mean()
    assert losses["emotion"].item() == pytest.approx((share * own + (1 - share) * other).item(), rel=1e-5)
    assert torch.equal(labels["au"], batch["au"][shown]) and torch.equal(labels["emotion"], batch["emotion"][shown])


def test_each_step_and_each_process_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made, drawn = module(), []
    for step, rank in ((5, 0), (6, 0), (5, 1), (6, 1), (5, 0)):
        monkeypatch.setattr(FaceModule, "global_step", step)
        monkeypatch.setattr(FaceModule, "global_rank", rank)
        made.on_train_batch_start(None, 0)
        drawn.append(float(torch.rand(1)))
    assert drawn[0] == drawn[4] and len(set(drawn)) == 4


def test_validation_loss_does_not_hang_on_who_shares_a_batch(train: Train, tmp_path: Path) -> None:
    losses = []
    for size in (3, 64):  # half of the sequences have no emotion label
        settings = (f"data.batch_size={size}", "model.finetune=frozen", "optimizer.lr=1e-12", "trainer.max_epochs=1")
        run_dir = train(*settings, run_dir=tmp_path / str(size))
        losses.append(pd.read_csv(run_dir / "curves.csv")["val/loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_best_is_the_best_and_last_the_last(train: Train) -> None:
    run_dir = train("trainer.max_epochs=4", "scheduler=none")
    curves = pd.read_csv(run_dir / "curves.csv")
    assert checkpoint(run_dir, "best")["epoch"] == curves["val/loss"].idxmin()
    assert checkpoint(run_dir, "last")["epoch"] == 3
    assert json.loads((run_dir / "run.json").read_text())["best_epoch"] == curves["val/loss"].idxmin()


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/score", "max")])
def test_the_best_epoch_has_the_smallest_loss_or_the_largest_score(tmp_path: Path, monitor: str, mode: str) -> None:
    cfg = composed("train", f"trainer.monitor={monitor}").trainer
    judges = [c for c in make_callbacks(cfg, tmp_path, show_progress=False) if getattr(c, "monitor", None)]
    assert len(judges) == 2 and all((c.monitor, c.mode) == (monitor, mode) for c in judges)  # type: ignore[attr-defined]


def test_the_best_by_score_is_the_best_by_score(train: Train) -> None:
    run_dir = train("trainer.max_epochs=4", "scheduler=none", "trainer.monitor=val/score")
    curves = pd.read_csv(run_dir / "curves.csv")
    mean = (curves["val/au_ap"] + curves["val/emotion_f1"]) / 2
    assert curves["val/score"].tolist() == pytest.approx(mean.tolist(), abs=1e-5)
    assert checkpoint(run_dir, "best")["epoch"] == curves["val/score"].idxmax()


def test_early_stopping_ends_a_run_that_gets_no_better(train: Train) -> None:
    run_dir = train("trainer.max_epochs=50", "trainer.patience=1", "optimizer.lr=1e-9", "scheduler=none")
    assert json.loads((run_dir / "run.json").read_text())["epochs"] < 50


def test_it_learns_four_pictures_by_heart() -> None:
    torch.manual_seed(0)
    made = module(model=as_dict(composed("train", "model=resnet18", "model.dense=32", "model.dropout=0").model))
    batch = {
        "image": torch.rand(4, 3, 32, 32),
        "au": torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0]]),
        "emotion": torch.tensor([0, 1, -1, 1]),
    }
    optimizer = made.optimizer_of_settings()
    for _ in range(60):
        optimizer.zero_grad()
        loss = made.balance(made.losses(made(batch["image"]), batch))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
