"""A run from end to end: what it leaves, what it says, and that it is the same run twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fer.data import ckplus
from fer.errors import FerError
from fer.results.predictions import au_columns
from fer.steps.reading import read_data

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def finished(request: pytest.FixtureRequest, tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the small tree."""
    from fer.cli.command import Call
    from fer.train import run

    folder = tmp_path_factory.mktemp("finished") / "run"
    typed = ("data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", f"run_dir={folder}")
    run(composed("train", *typed), Call("python -m fer.train ...", typed, None))
    return folder


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def same_weights(one: Path, other: Path) -> bool:
    a, b = (weights_of(p / "checkpoints" / "last.ckpt") for p in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_run_folder_holds_what_the_contract_names(finished: Path) -> None:
    names = {"config.yaml", "run.json", "split.csv", "metrics.json", "report.html", "train.log", "predictions.csv"}
    assert names <= {p.name for p in finished.iterdir()}
    assert {p.name for p in (finished / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    about = json.loads((finished / "run.json").read_text())
    assert about["finished"] is True
    assert {"versions", "data", "weights", "device", "precision", "timings"} <= about.keys()
    assert about["weights"] == {"source": "random", "sha256": None, "warning": None, "judged_people_known": 0}
    assert about["data"]["split_hash"] and about["data"]["crops"] == {"landmarks": about["data"]["n_images"]}


def test_nobody_is_on_two_sides_and_everybody_is_judged(finished: Path) -> None:
    split = pd.read_csv(finished / "split.csv", dtype=str)
    assert split["subject"].is_unique and set(split["split"]) == {"train", "val", "test"}
    predictions = pd.read_csv(finished / "predictions.csv", dtype={"subject": str})
    expected = split[split["split"] != "train"].set_index("subject")["split"]
    seen = predictions.groupby("subject")["split"].unique().map(list)
    assert {s: [part] for s, part in expected.items()} == seen.to_dict()
    metrics = json.loads((finished / "metrics.json").read_text())
    for part in ("val", "test"):
        assert metrics[part]["n_images"] == (predictions["split"] == part).sum()


def test_predictions_have_the_promised_columns_and_decisions(finished: Path) -> None:
    predictions = pd.read_csv(finished / "predictions.csv")
    names = au_columns(predictions)
    expected = ["path", "subject", "split"]
    for name in names:
        expected += [name, f"{name}_prob", f"{name}_pred"]
    expected += ["emotion", "emotion_pred", "emotion_prob_negative", "emotion_prob_positive", "emotion_prob_surprise"]
    assert list(predictions.columns) == expected
    thresholds = json.loads((finished / "metrics.json").read_text())["val"]["au"]["per_au"]
    for name in names:
        decided = predictions[f"{name}_prob"] >= thresholds[name]["threshold"]
        assert (decided == predictions[f"{name}_pred"].astype(bool)).all()
    sums = predictions.filter(like="emotion_prob_").sum(axis="columns")
    assert np.allclose(sums, 1, atol=1e-5)


def test_checkpoint_is_plain_values_and_carries_what_use_needs(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    card, hyper = checkpoint["fer"], checkpoint["hyper_parameters"]
    assert set(card["thresholds"]) == {f"AU{au}" for au in hyper["labels"]["aus"]}
    assert hyper["labels"]["emotions"] == ["negative", "positive", "surprise"]
    assert {"image_size", "crop", "color", "mean", "std"} <= hyper["preprocessing"].keys()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert card["thresholds"] == {a: v["threshold"] for a, v in metrics["test"]["au"]["per_au"].items()}


def test_baselines_know_the_training_people_alone(finished: Path, tree: Path) -> None:
    card = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["fer"]
    split = pd.read_csv(finished / "split.csv", dtype=str)
    seen = ckplus.read(tree, "peak").table
    seen = seen[seen["subject"].isin(split.loc[split["split"] == "train", "subject"])]
    assert card["au_rates"] == pytest.approx({au: seen[au].mean() for au in card["au_rates"]})
    score = json.loads((finished / "metrics.json").read_text())["test"]
    assert score["au"]["baselines"]["base_rate"]["rates_from"] == "train"
    assert score["emotion"]["baselines"]["majority"]["rates_from"] == "train"


def test_curves_of_both_heads_stand_on_one_chart_and_the_score_with_the_settings(finished: Path) -> None:
    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    for stage in ("train", "val"):
        assert {f"{stage}/{t}" for t in ("loss", "au_loss", "emotion_loss", "au_accuracy", "emotion_accuracy")} <= tags
    assert any(t.startswith("val_each_au/AU") for t in tags) and {"train/lr_backbone", "train/lr_heads"} <= tags
    assert sorted({t.split("/")[0] for t in tags})[:2] == ["train", "val"]  # the groups that stand open
    score = json.loads((finished / "metrics.json").read_text())["val"]["score"]
    assert events.Scalars("val/score_of_the_best")[-1].value == pytest.approx(score, abs=1e-6)
    assert [point.step for point in events.Scalars("val/loss")] == [1, 2]
    assert "custom_scalars__config__" in events.Tags()["tensors"]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_log_has_a_line_per_epoch_and_curves_a_row(finished: Path) -> None:
    lines = [line for line in (finished / "train.log").read_text().splitlines() if " epoch " in line]
    assert len(lines) == 2 and "val loss" in lines[0]
    curves = pd.read_csv(finished / "curves.csv")
    assert curves["epoch"].tolist() == [0, 1]
    rate = composed("train", *SMALL).optimizer.lr  # what an epoch was trained with, not what the schedule says next
    assert curves["lr/heads"].tolist() == pytest.approx([rate, rate / 2])


@pytest.mark.parametrize("workers", [0, 2])
def test_same_seed_same_run_for_any_number_of_workers(
    train: Train, finished: Path, tmp_path: Path, workers: int
) -> None:
    again = train(f"data.workers={workers}", run_dir=tmp_path / "again")
    assert same_weights(finished, again)
    assert (again / "metrics.json").read_text() == (finished / "metrics.json").read_text()


def test_another_seed_is_another_run(train: Train, finished: Path) -> None:
    assert not same_weights(finished, train("seed=1"))


@pytest.mark.parametrize(
    ("finetune", "workers", "schedule"),
    [("full", 0, "scheduler=plateau"), ("gradual", 2, "scheduler=step"), ("gradual", 0, "scheduler=none")],
)
def test_run_stopped_after_an_epoch_and_resumed_ends_the_same(
    train: Train, resume: Train, tmp_path: Path, finetune: str, workers: int, schedule: str
) -> None:
    settings = (f"model.finetune={finetune}", "model.freeze_epochs=1", f"data.workers={workers}", schedule)
    settings += ("scheduler.patience=0", "scheduler.step_epochs=1", "augment.mixup=0.2", "optimizer.lr=0.01")
    whole = train(*settings, "trainer.max_epochs=3", run_dir=tmp_path / "whole")
    part = train(*settings, "trainer.max_epochs=2", run_dir=tmp_path / "part")
    resume(part, "trainer.max_epochs=3")
    assert same_weights(whole, part)
    assert (whole / "metrics.json").read_text() == (part / "metrics.json").read_text()
    assert pd.read_csv(part / "curves.csv")["epoch"].tolist() == [0, 1, 2]


def test_a_weight_of_0_for_the_only_head_that_has_labels_is_refused(tree: Path, cache: Path, tmp_path: Path) -> None:
    pictures = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[:8]
    rows = [f"{picture},p{k % 4},{('happy', 'surprise')[k // 4]}" for k, picture in enumerate(pictures)]
    (tmp_path / "table.csv").write_text("\n".join(["path,subject,emotion", *rows]))
    typed = ("data=csv", f"data.table={tmp_path / 'table.csv'}", "loss.emotion_weight=0", f"cache_dir={cache}")
    with pytest.raises(FerError, match=r"loss\.emotion_weight=0, and there is no AU label to learn from"):
        read_data(composed("train", *SMALL, *typed))
