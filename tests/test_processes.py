"""Several processes: what is refused and typed instead, who gets which pictures, and that two of them train what one trains."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL
from test_module import module as face_module

from fer.cli.processes import Started, check_started, started, this_line
from fer.data.batches import EpochBatches
from fer.errors import FerError
from fer.model import module as modules
from fer.steps.team import Team

Train = Callable[..., Path]

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
SRUN = {"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_PROCID": "1"}
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    def change(values: dict[str, str]) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        started.cache_clear()

    yield change
    monkeypatch.undo()
    started.cache_clear()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Started("python", 0, 1, 1)),
        (TORCHRUN, Started("torchrun", 3, 2, 2)),
        (SRUN, Started("srun", 1, 2, 1)),
        (BATCH_SCRIPT, Started("python", 0, 1, 1)),
    ],
)
def test_how_this_process_was_started(
    environment: Callable[[dict[str, str]], None], values: dict[str, str], expected: Started
) -> None:
    environment(values)
    assert started() == expected


@pytest.mark.parametrize(
    ("values", "devices", "nodes", "expected"),
    [
        ({}, 2, 1, "takes 2 processes; type: torchrun --nproc-per-node=2 -m fer.train 'data.root=a b'"),
        ({}, 1, 2, "type on each machine: torchrun --nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d"),
        (BATCH_SCRIPT, 2, 1, "type: srun --nodes=1 --ntasks-per-node=2 --kill-on-bad-exit=1 python -m fer.train"),
        (
            TORCHRUN,
            4,
            1,
            "on each of 2 machines, and trainer.devices=4: type trainer.devices=2 trainer.num_nodes=2, or",
        ),
        (TORCHRUN, 1, 1, "or start it by: python -m fer.train 'data.root=a b'"),
    ],
)
def test_other_number_of_processes_is_refused_with_the_line_to_type(
    environment: Callable[[dict[str, str]], None], values: dict[str, str], devices: int, nodes: int, expected: str
) -> None:
    environment(values)
    with pytest.raises(FerError) as refused:
        check_started("train", ["data.root=a b"], devices, nodes)
    assert expected in str(refused.value)


def test_right_number_of_processes_is_taken(environment: Callable[[dict[str, str]], None]) -> None:
    check_started("train", [], 1, 1)
    environment(TORCHRUN)
    check_started("train", [], 2, 2)
    assert this_line("train", ["resume=x"]).endswith("-m fer.train resume=x")


@pytest.mark.parametrize(("n", "size"), [(33, 8), (20, 8), (7, 7)])
def test_processes_share_each_batch_of_a_single_one(n: int, size: int) -> None:
    whole = list(EpochBatches(n, size, seed=3))
    parts = [list(EpochBatches(n, size, 3, rank, 3)) for rank in range(3)]
    assert [[i for share in shares for i in share] for shares in zip(*parts, strict=True)] == whole
    assert all(len(shares[0]) - len(shares[2]) <= 1 for shares in zip(*parts, strict=True))


def test_batch_too_small_to_share_is_refused() -> None:
    with pytest.raises(FerError, match=r"5 pictures in batches of data\.batch_size=3 are too few for 3 processes"):
        EpochBatches(5, 3, None, 0, 3)


def test_others_take_what_the_first_one_says_and_fail_with_it() -> None:
    store = torch.distributed.HashStore()
    first, other = Team(0, None, store), Team(1, None, store)
    assert first.alone(lambda: {"where": "x"}) == {"where": "x"}
    assert other.alone(lambda: pytest.fail("the other was asked")) == {"where": "x"}
    assert first.first(lambda: 1) == 1 and other.first(lambda: 2) == 2

    def fails() -> None:
        raise FerError("no data")

    with pytest.raises(FerError, match="no data"):
        first.first(fails)
    with pytest.raises(FerError, match="the first process failed"):
        other.first(lambda: pytest.fail("the other went on"))


def test_mean_over_processes_is_the_loss_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    module, generator = face_module().eval(), torch.Generator().manual_seed(0)
    au = torch.randint(-1, 2, (9, len(module.aus)), generator=generator)
    emotion = torch.tensor([0, 1, -1, 1, -1, -1, -1, -1, -1])  # all labels in the first share
    whole = {"au": au, "emotion": emotion, "image": torch.rand((9, 3, 32, 32), generator=generator)}
    shares = [{name: values[rows] for name, values in whole.items()} for rows in (slice(0, 4), slice(4, 9))]
    expected = module.losses(module(whole["image"]), whole)
    own = [module.losses(module(share["image"]), share) for share in shares]
    said: list[torch.Tensor] = []
    monkeypatch.setattr(modules, "n_processes", lambda: 2)
    monkeypatch.setattr(modules, "summed", lambda values: (said.append(values), values)[1])
    for losses, share in zip(own, shares, strict=True):
        module._of_whole_batch(losses, share)
    monkeypatch.setattr(modules, "summed", lambda values: sum(said))
    scaled = [module._of_whole_batch(losses, share)[0] for losses, share in zip(own, shares, strict=True)]
    for head, loss in expected.items():
        assert torch.allclose(torch.stack([one[head] for one in scaled]).mean(), loss, atol=1e-6)


def test_two_processes_train_what_one_trains(train: Train, tree: Path, cache: Path, tmp_path: Path) -> None:
    # without BatchNorm and dropout, which see the part of a process; a rate at which a wrong gradient shows at once
    settings = (
        "model.backbone=squeezenet1_1",
        "model.dropout=0",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "data.batch_size=7",
    )
    one, two = train(*settings, run_dir=tmp_path / "one"), tmp_path / "two"
    words = ("data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", f"run_dir={two}", *settings)
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "fer.train"]
    done = subprocess.run(
        [*started, *words, "trainer.devices=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr

    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]
    assert {p.name for p in two.iterdir()} == {p.name for p in one.iterdir()}
    assert len(list(two.glob("tensorboard/events*"))) == len(list(one.glob("tensorboard/events*")))
    assert (two / "train.log").read_text().count(" epoch ") == 2 and done.stderr.count("epoch 1 of 2") == 1
    assert (two / "split.csv").read_text() == (one / "split.csv").read_text()
    about = json.loads((two / "run.json").read_text())
    assert about["finished"] and about["processes"] == 2 and "torchrun --nproc-per-node=2" in about["command"]

    curves, expected = (pd.read_csv(run / "curves.csv") for run in (two, one))
    assert list(curves) == list(expected) and np.allclose(curves, expected, atol=1e-3)
    answers, expected = (pd.read_csv(run / "predictions.csv").filter(like="_prob") for run in (two, one))
    assert np.allclose(answers, expected, atol=1e-3)
    weights, expected = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (two, one)
    )
    assert all(torch.allclose(weights[name], expected[name], atol=1e-4) for name in expected)
