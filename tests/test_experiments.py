"""Named experiments and grids: each composes to settings that pass the checks, says what it is for, and grids name their folders."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, composed
from omegaconf import OmegaConf
from started import run_command

from fer.config import TrainConfig, as_dict, conf_dir
from fer.data.augment import changes_anything

EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
GRIDS = sorted(path.stem for path in (conf_dir() / "sweep").glob("*.yaml"))
SEED_STUDY = ["seed_baseline", "seed_class_weights", "seed_schedule", "seed_finetuned", "seed_final"]


def jobs(grid: str) -> list[tuple[str, ...]]:
    """What Hydra's grid sweeper would run: the overrides of each job."""
    content: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / "sweep" / f"{grid}.yaml"))
    params = content["hydra"]["sweeper"]["params"]
    return list(product(*([f"{key}={value}" for value in str(values).split(",")] for key, values in params.items())))


def flat(cfg: TrainConfig) -> dict[str, Any]:
    return {f"{g}.{k}": v for g, part in as_dict(cfg).items() if isinstance(part, dict) for k, v in part.items()}


def changed(before: str, after: str) -> set[str]:
    first, second = (flat(composed("train", f"experiment={name}")) for name in (before, after))
    return {key for key in first if first[key] != second[key]}


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("data", [("data=ckplus", "data.root=x"), ("data=csv", "data.table=x"), ("data=synthetic",)])
def test_every_experiment_composes_on_any_data(name: str, data: tuple[str, ...]) -> None:
    if name == "pretrain_synthetic" and "synthetic" not in data[0]:
        pytest.skip("its data is its point")
    assert composed("train", f"experiment={name}", *data).data.name == data[0].split("=")[1]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_augmentation_can_be_left_out_of_every_experiment(name: str) -> None:
    typed = ("data=synthetic", "augment=none")
    plain, own = (composed("train", *words).augment for words in (typed, (f"experiment={name}", *typed)))
    assert own == plain and not changes_anything(own) and own.mixup == 0


@pytest.mark.parametrize("grid", GRIDS)
def test_every_value_of_every_grid_composes_and_makes_another_run(grid: str) -> None:
    every = jobs(grid)
    one_apart = [job for job in every if sum(a != b for a, b in zip(job, every[0], strict=True)) <= 1]
    settings = [as_dict(composed("train", f"sweep={grid}", "data=ckplus", "data.root=x", *job)) for job in one_apart]
    assert len(settings) > 1 and all(one != other for k, one in enumerate(settings) for other in settings[:k])
    assert {cfg["name"] for cfg in settings} == {grid}  # one folder, outputs/sweeps/<grid>


@pytest.mark.parametrize(
    "path", sorted(conf_dir().glob("experiment/*.yaml")) + sorted(conf_dir().glob("sweep/*.yaml")), ids=str
)
def test_each_says_what_it_is_and_how_it_is_run(path: Path) -> None:
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    assert head[0] == "# @package _global_" and len(head) > 1
    assert any(f"{path.parent.name}={path.stem}" in line for line in head) or path.stem == "from_scratch"


def test_the_steps_of_the_first_project_differ_by_what_they_say() -> None:
    assert changed("seed_baseline", "seed_class_weights") == {"loss.class_weights"}
    assert changed("seed_class_weights", "seed_schedule") == {"scheduler.name"}
    assert changed("seed_schedule", "seed_final") == {"model.dense", "optimizer.lr"}
    assert changed("seed_final", "seed_finetuned") == {"model.finetune"}
    assert [f"experiment={name}" for name in SEED_STUDY] == [job[0] for job in jobs("seed_study")]
    final = composed("train", "experiment=seed_final")
    assert (final.model.backbone, final.model.dense, final.model.finetune) == ("resnet50", 256, "frozen")


def test_grids_have_their_sizes_and_take_other_settings() -> None:
    assert {grid: len(jobs(grid)) for grid in ("heads", "backbones", "seed_dense", "seed_study")} == {
        "heads": 72,
        "backbones": 4,
        "seed_dense": 3,
        "seed_study": 5,
    }
    backbones = {
        composed("train", "experiment=seed_final", "sweep=backbones", *job).model.backbone for job in jobs("backbones")
    }
    assert backbones == {"resnet50", "vgg16", "mobilenet_v3_large", "inception_v3"}


def test_a_grid_by_name_leaves_a_folder_per_setting(tree: Path, cache: Path, tmp_path: Path) -> None:
    small = [word for word in SMALL if not word.startswith(("model.dense", "data.batch_size", "trainer.max_epochs"))]
    words = [
        "sweep=seed_dense",
        "data=ckplus",
        f"data.root={tree}",
        *small,
        f"cache_dir={cache}",
        "trainer.max_epochs=1",
    ]
    said = run_command("fer.train", "-m", *words, cwd=tmp_path).stderr
    runs = sorted((tmp_path / "outputs" / "sweeps" / "seed_dense").glob("*/run.json"))
    names = [run.parent.name for run in runs]
    assert names == [f"experiment-seed_schedule,model.dense-{dense}" for dense in (128, 256, 64)], said
    for run in runs:
        assert json.loads(run.read_text())["finished"] is True
        assert set(json.loads((run.parent / "metrics.json").read_text())) == {"val"}
        assert f"dense: {run.parent.name.split('-')[-1]}" in (run.parent / "config.yaml").read_text()
