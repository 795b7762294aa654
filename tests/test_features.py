"""Features once: a frozen backbone sees each view of each picture one time, and nothing else changes by a bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed
from test_train import same_weights

from fer.cli.command import Call
from fer.data.augment import epoch_views, view_draws
from fer.errors import FerError
from fer.model import threads
from fer.model.features import CHUNK, FrozenFeatures, frozen_features
from fer.model.network import TwoHeadNetwork
from fer.runs.jobs import Kept
from fer.steps.fitting import threads_of
from fer.train import run as start

Train = Callable[..., Path]
FROZEN = ("model.finetune=frozen", "data.views=3", "optimizer.lr=0.01")


def same_run(one: Path, other: Path) -> bool:
    """Weights, curves, predictions and scores, bit for bit."""
    files = ("metrics.json", "predictions.csv", "curves.csv")
    return same_weights(one, other) and all((one / f).read_bytes() == (other / f).read_bytes() for f in files)


def best(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]


def forbid_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a picture that goes through a backbone is an error."""

    def forbidden(*_: object) -> None:
        raise AssertionError("a picture went through the backbone")

    monkeypatch.setattr(TwoHeadNetwork, "features", forbidden)


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "settings",
    [
        ("augment=none", "model.dense=1024", "data.batch_size=32"),
        ("augment.erase=0.5", "model.flip_average=true", "trainer.precision=bf16", "data.batch_size=5"),
        ("model.levels=2", "model.grid=2", "model.landmarks=true"),
    ],
)
@pytest.mark.usefixtures("four_threads")  # whose sums may have other bits than those of one
def test_run_on_features_is_the_run_on_pictures(train: Train, tmp_path: Path, settings: tuple[str, ...]) -> None:
    once = train(*FROZEN, *settings, run_dir=tmp_path / "once")
    always = train(*FROZEN, *settings, "data.cache_features=false", run_dir=tmp_path / "always")
    assert same_run(once, always)
    a, b = best(once), best(always)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert all(json.loads((run / "run.json").read_text())["threads"] == 4 for run in (once, always))


def test_next_setting_does_not_need_the_backbone(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = (*FROZEN, "report.pictures=false", f"cache_dir={tmp_path / 'cache'}")
    train(*own, run_dir=tmp_path / "first")
    forbid_backbone(monkeypatch)
    train(*own, "model.dense=8", "data.batch_size=4", "optimizer=sgd", "scheduler=plateau", run_dir=tmp_path / "next")
    # what would change a feature is computed anew
    for k, setting in enumerate(
        ("augment.flip=0.1", "data.views=4", "model.grid=2", "model.landmarks=true", "trainer.precision=bf16", "seed=5")
    ):
        with pytest.raises(AssertionError, match="went through"):
            train(*own, setting, run_dir=tmp_path / str(k))


def test_picture_has_the_same_features_whoever_shares_its_batch() -> None:
    torch.manual_seed(0)
    network = TwoHeadNetwork("resnet18", 32, 8, 0.0, 1, 2).eval()
    images = torch.rand(CHUNK + 5, 3, 32, 32)
    whole = frozen_features(network, images)
    assert torch.allclose(whole, network.features(images), atol=1e-4)
    order = torch.randperm(len(images))
    assert torch.equal(frozen_features(network, images[order]), whole[order])
    assert torch.equal(frozen_features(network, images[3:4]), whole[3:4])
    with pytest.raises(AssertionError, match="training mode"):
        frozen_features(network.train(), images)


def test_views_last_and_are_drawn_anew_each_epoch() -> None:
    assert np.array_equal(view_draws(2, 10), view_draws(2, 30)[:10])
    assert not np.array_equal(view_draws(2, 10), view_draws(3, 10))
    first, second = epoch_views(0, 0, 300, 4), epoch_views(0, 1, 300, 4)
    assert set(first) == {0, 1, 2, 3} and np.array_equal(first, epoch_views(0, 0, 300, 4))
    assert not np.array_equal(first, second) and not np.array_equal(first, epoch_views(1, 0, 300, 4))


def test_frozen_run_stopped_and_resumed_ends_the_same(train: Train, resume: Train, tmp_path: Path) -> None:
    settings = (*FROZEN, "scheduler=none")
    whole = train(*settings, "trainer.max_epochs=3", run_dir=tmp_path / "whole")
    part = train(*settings, "trainer.max_epochs=2", run_dir=tmp_path / "part")
    resume(part, "trainer.max_epochs=3")
    assert same_run(whole, part)


def test_best_checkpoint_is_whole_and_evaluates_the_same(train: Train, tree: Path, cache: Path, tmp_path: Path) -> None:
    from fer.evaluate import run

    run_dir = train(*FROZEN, run_dir=tmp_path / "run")
    typed = (f"checkpoint={run_dir}", "split=test", f"run_dir={tmp_path / 'judged'}", f"cache_dir={cache}")
    run(composed("evaluate", *typed), Call("", typed, None))
    before, after = (pd.read_csv(p / "predictions.csv", dtype=str) for p in (run_dir, tmp_path / "judged"))
    assert before[before["split"] == "test"].reset_index(drop=True).equals(after)
    # what is only gone on from need not hold a backbone that never changes
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any("backbone" in name for name in last) and last.keys() < best(run_dir).keys()


def test_resume_refuses_another_backbone(train: Train, resume: Train, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from fer.model.backbone import make_backbone

    file = tmp_path / "w.safetensors"
    for k in (0, 1):
        torch.manual_seed(k)
        save_file(make_backbone("resnet18", 32).module.state_dict(), file)
        if k == 0:
            run_dir = train(*FROZEN, "model.backbone=resnet18", f"model.weights={file}", "scheduler=none")
    with pytest.raises(FerError, match="gives other weights now"):
        resume(run_dir, "trainer.max_epochs=3")


def test_two_runs_at_once_do_the_work_once(tree: Path, tmp_path: Path) -> None:
    words = ("data=ckplus", f"data.root={tree}", *SMALL, *FROZEN, f"cache_dir={tmp_path / 'cache'}")
    code = (
        "import sys; from fer.model import features; made = features.FrozenFeatures._make\n"
        "def counted(self, rows, view, folder):\n"
        "    print('MADE', view, flush=True); made(self, rows, view, folder)\n"
        "features.FrozenFeatures._make = counted\n"
        "from fer.train import main; main()"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, *words, f"run_dir={tmp_path / str(k)}"], stdout=subprocess.PIPE, text=True
        )
        for k in range(2)
    ]
    made = sorted(line for p in both for line in p.communicate(timeout=240)[0].splitlines() if line.startswith("MADE"))
    assert [p.returncode for p in both] == [0, 0]
    # three views, the plain one of validation, and that of the test people
    assert made == ["MADE 0", "MADE 1", "MADE 2", "MADE plain", "MADE plain"]
    assert (tmp_path / "0" / "metrics.json").read_bytes() == (tmp_path / "1" / "metrics.json").read_bytes()


def test_damaged_features_are_made_again(train: Train, tmp_path: Path) -> None:
    own = (*FROZEN, f"cache_dir={tmp_path / 'cache'}")
    first = train(*own, run_dir=tmp_path / "first")
    for file in (tmp_path / "cache" / "features").glob("*/features.safetensors"):
        file.write_bytes(file.read_bytes()[:1000])
    assert same_run(first, train(*own, run_dir=tmp_path / "again"))


@pytest.mark.parametrize("setting", ["augment.mixup=0.2", "data.views=0"])
def test_what_features_cannot_do_is_refused(setting: str) -> None:
    with pytest.raises(FerError, match=rf"{setting}.*data\.cache_features=false"):
        composed("train", "model.finetune=frozen", setting)
    composed("train", "model.finetune=frozen", setting, "data.cache_features=false")
    composed("train", "model.finetune=full", setting)


def test_sweep_never_makes_features_of_test_people_alone(train: Train, tmp_path: Path) -> None:
    train(*FROZEN, "test=false", f"cache_dir={tmp_path / 'cache'}", run_dir=tmp_path / "run")
    assert set(json.loads((tmp_path / "run" / "metrics.json").read_text())) == {"val"}
    assert len(list((tmp_path / "cache" / "features").glob("*/features.safetensors"))) == 4  # three views, validation


def test_jobs_of_a_sweep_hold_the_features_of_one_augmentation(tree: Path, cache: Path, tmp_path: Path) -> None:
    kept, held = Kept(), []
    for k, flip in enumerate((0.1, 0.2)):
        own = (*SMALL, *FROZEN, f"augment.flip={flip}", f"cache_dir={cache}", "trainer.max_epochs=1")
        typed = ("data=ckplus", f"data.root={tree}", *own)
        start(composed("train", *typed), Call("", typed, tmp_path / str(k), kept))
        held.append(kept._last["features"][1])
    assert [len(features) for features in held] == [4, 4]  # three views, validation


def test_features_are_made_where_the_statistics_are_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the device meta stands for any that the network is not on yet
    made, network = [], TwoHeadNetwork("resnet18", 32, 8, 0.0, 1, 2)
    pixels = SimpleNamespace(array=np.zeros((2, 37, 37, 1), np.uint8), folder=tmp_path)
    features = FrozenFeatures(
        network, "x", pixels, 32, composed("train").augment, 0, tmp_path, torch.device("meta"), "32-true"
    )

    def chunks(self: FrozenFeatures, *_: object) -> Iterator[torch.Tensor]:
        made.append((self.network.mean.device.type, next(self.network.backbone.parameters()).device.type))
        yield torch.zeros(2, 512)

    monkeypatch.setattr(FrozenFeatures, "_chunks", chunks)
    (tmp_path / "new").mkdir()
    features._make(np.arange(2), "plain", tmp_path / "new")
    assert made == [("meta", "meta")]


def test_a_picture_that_can_be_read_now_has_new_features(tmp_path: Path) -> None:
    # its pixels are made anew under the same name, as the file is the same
    network = TwoHeadNetwork("resnet18", 32, 8, 0.0, 1, 2).eval()
    pixels = SimpleNamespace(array=np.zeros((2, 37, 37, 1), np.uint8), folder=tmp_path, digests=np.array([7, 0]))
    about = ("x", pixels, 32, composed("train", "augment=none").augment, 1, tmp_path, torch.device("cpu"), "32-true")
    (black,) = FrozenFeatures(network, *about).views()
    pixels.array[1], pixels.digests[1] = 200, 8
    (seen,) = FrozenFeatures(network, *about).views()
    assert torch.equal(black[0], seen[0]) and not torch.equal(black[1], seen[1])


@pytest.mark.usefixtures("four_threads")
def test_heads_take_one_thread_and_the_backbone_all() -> None:
    network = TwoHeadNetwork("shufflenet_v2_x0_5", 32, 8, 0.0, n_aus=2, n_emotions=2).eval()
    seen = []
    network.backbone.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    assert threads_of(composed("train"), "32-true") == 4
    with threads.limited(threads_of(composed("train", "model.finetune=frozen", "model.weights=none"), "32-true")):
        frozen_features(network, torch.zeros(2, 3, 32, 32))
        assert torch.get_num_threads() == 1 and seen == [4]
    assert torch.get_num_threads() == 4
