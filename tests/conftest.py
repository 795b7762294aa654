"""A small drawn data set, made once, and short runs on it. Nothing here needs a network or a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Several test processes share the cores, and threads that wait for each other across them crawl. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from fer.cli.command import Call, settings
from fer.config import SCHEMAS, conf_dir
from fer.data.synthetic import write_tree

SMALL = (
    "model.backbone=shufflenet_v2_x0_5",
    "model.weights=none",
    "model.dense=16",
    "data.image_size=32",
    "data.batch_size=8",
    "data.min_au_count=3",
    "trainer.precision=32",
    "trainer.progress=false",
    "trainer.max_epochs=2",
    "report.pictures=false",
)
"""Settings of a run that takes seconds, on the smallest backbone; a gallery would take as long as the run."""


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CK+ tree of eight drawn people."""
    root = tmp_path_factory.mktemp("drawn") / "tree"
    write_tree(root, 8, seed=1, jobs=1)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for the whole session."""
    return tmp_path_factory.mktemp("cache")


def composed(command: str, *overrides: str) -> Any:
    """The checked settings of `python -m fer.<command> <overrides>`."""
    ConfigStore.instance().store(f"{command}_schema", node=SCHEMAS[command])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return settings(SCHEMAS[command], compose(command, list(overrides)))


@pytest.fixture(scope="session")
def trained(tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished short run with both heads and a gallery, on a backbone that people use. For reading only."""
    from fer.train import run

    folder = tmp_path_factory.mktemp("trained") / "run"
    typed = (
        "data=ckplus",
        f"data.root={tree}",
        *SMALL,
        "model.backbone=resnet18",
        "report.pictures=true",
        f"cache_dir={cache}",
        f"run_dir={folder}",
    )
    run(composed("train", *typed), Call("python -m fer.train ...", typed, None))
    return folder


@pytest.fixture(scope="session")
def lively(trained: Path, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of `trained` with heads so steep that answers differ from face to face, and temperatures that show when left out."""
    import numpy as np
    import torch

    from fer import load

    model = load(trained)
    pictures = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[::5]
    pixels = np.stack([model.cut(path)[0].pixels for path in pictures])
    with torch.inference_mode():
        logits = model.runtime.module(model.runtime.images(pixels))
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    for head, values in (("au_head", logits.au), ("emotion_head", logits.emotion)):
        weight, bias = (checkpoint["state_dict"][f"network.{head}.{part}"] for part in ("weight", "bias"))
        gain = 2 / values.std(0)
        weight *= gain[:, None]
        bias.copy_((bias - values.mean(0)) * gain)
    card = checkpoint["fer"]
    card["temperature"], card["dead"] = {"au": 1.7, "emotion": 0.6}, None
    card["thresholds"] = {au: 0.4 + 0.02 * k for k, au in enumerate(card["thresholds"])}
    path = tmp_path_factory.mktemp("lively") / "lively.ckpt"
    torch.save(checkpoint, path)
    return path


@pytest.fixture
def train(tree: Path, cache: Path, tmp_path: Path) -> Callable[..., Path]:
    """`train(*overrides)` is `fer.train` on the small tree; returns the run folder."""
    from fer.train import run

    def start(*overrides: str, run_dir: Path = tmp_path / "run") -> Path:
        typed = ("data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", f"run_dir={run_dir}", *overrides)
        run(composed("train", *typed), Call("python -m fer.train ...", typed, None))
        return run_dir

    return start


@pytest.fixture
def resume() -> Callable[..., Path]:
    """`resume(run_dir, *overrides)` is `fer.train resume=<run_dir>`."""
    from fer.train import run

    def start(run_dir: Path, *overrides: str) -> Path:
        typed = (f"resume={run_dir}", *overrides)
        run(composed("train", *typed), Call("python -m fer.train ...", typed, None))
        return run_dir

    return start


def extra_data() -> Path:
    """The folder of larger data sets that are not part of the repository; the test is skipped without it."""
    where = os.environ.get("FER_EXTRA_DATA")
    if not where:
        pytest.skip("FER_EXTRA_DATA names no folder")
    return Path(where)
