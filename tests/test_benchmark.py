"""`fer.benchmark`: what it writes, that it keeps to its budget, what it refuses. Nothing here asserts a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from conftest import SMALL, composed
from omegaconf import OmegaConf
from rich.console import Console

from fer.benchmark import run
from fer.benchmarking import first_step, of_choices, of_predict, of_sweep, starting
from fer.benchmarking.clock import ROUNDS, Spent, Stage, alternate
from fer.benchmarking.findings import Findings, Ratio
from fer.benchmarking.table import print_findings
from fer.cli.command import Call
from fer.config import TrainConfig, as_dict
from fer.errors import FerError
from fer.model.module import FaceModule

Benchmark = Callable[..., dict[str, Any]]


@pytest.fixture
def benchmark(tree: Path, cache: Path, tmp_path: Path) -> Benchmark:
    """`benchmark(*overrides)` is `fer.benchmark` on the small tree, as short as it can be; returns the content of its file."""

    def start(*overrides: str) -> dict[str, Any]:
        folder = tmp_path / "benchmark"
        typed = (
            "data=ckplus",
            f"data.root={tree}",
            *SMALL,
            f"cache_dir={cache}",
            f"run_dir={folder}",
            "budget=.01",
            *overrides,
        )
        run(composed("benchmark", *typed), Call("python -m fer.benchmark ...", typed, None))
        assert json.loads((folder / "run.json").read_text())["finished"]
        content: dict[str, Any] = json.loads((folder / "benchmark.json").read_text())
        return content

    return start


def test_training_is_measured_from_the_file_to_the_step(
    benchmark: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    found = benchmark("what=train")
    stages = {"decode + crop", "augmentation", "loader", "bare step", "default step", "real training", "evaluation"}
    assert set(found["stages"]) == {*stages, "bare forward, f32"}
    for stage in found["stages"].values():
        assert stage["images_per_s"] > 0 and stage["core_ms_per_image"] > 0 and stage["n_images"] > 0
    ratios = {ratio["name"]: ratio for ratio in found["ratios"]}
    assert set(ratios) == {"real training / bare step", "bare step / default step", "evaluation / bare forward, f32"}
    real = ratios["real training / bare step"]
    assert real["goal"] == ">= 0.97" and real["met"] == (real["value"] >= 0.97)
    assert "to anything but the network" in found["share_of_training_lost"]
    assert found["memory"]["train"]["peak_mb"] >= found["memory"]["train"]["grown_mb"]
    said = capsys.readouterr()
    assert max(map(len, said.out.splitlines())) <= 100
    assert "epoch" not in said.err  # what is measured keeps quiet


def test_each_choice_is_set_against_the_step_without_it(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_choices.fitting, "compile_backbone", lambda module: None)  # takes a minute
    found = benchmark("what=choices", "trainer.precision=bf16")
    steps = {f"step as chosen / {name}" for name in ("single precision", "channels first", "optimizer not fused")}
    augmentation = "augmentation / augmentation, picture by picture"
    assert {ratio["name"] for ratio in found["ratios"]} == {*steps, augmentation, "step, compiled / step as chosen"}
    assert found["compile_first_step_s"] >= 0 and not found["left_out"]


def test_what_can_not_be_compiled_is_left_out(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: FaceModule) -> None:
        def refuse(*_: object) -> None:
            raise RuntimeError("no C++ compiler\nand much more")

        module.network.forward = refuse  # type: ignore[assignment]

    monkeypatch.setattr(of_choices.fitting, "compile_backbone", broken)
    found = benchmark("what=choices", "trainer.precision=32")
    assert found["left_out"]["torch.compile"] == "no C++ compiler"
    assert "single precision" in found["left_out"]  # it is what is chosen here
    assert not any("compiled" in ratio["name"] or "precision" in ratio["name"] for ratio in found["ratios"])


def test_two_settings_are_measured_in_turn(benchmark: Benchmark) -> None:
    found = benchmark("what=train", "against='optimizer=sgd data.batch_size=4'")
    names = {ratio["name"] for ratio in found["ratios"]}
    assert "real training: other / typed" in names and "bare step: other / typed" in names
    assert {"real training", "other: real training"} <= set(found["stages"])
    assert found["machine"]["against"] == "optimizer=sgd data.batch_size=4"


def test_each_runtime_is_measured_with_boxes_and_without(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_predict, "FILES", of_predict.FILES[:1])

    def missing(form: str, precision: str) -> None:
        raise FerError("some package is needed")

    monkeypatch.setattr(of_predict.export, "check_packages", missing)
    found = benchmark("what=predict", "data.batch_size=2")
    for runtime in ("torch f32", "torch bf16"):
        assert found["stages"][f"bare forward, {runtime}"]["images_per_s"] > 0
        for kind in ("boxes given", "faces to find"):
            assert any(r["name"] == f"predict, {runtime}, {kind} / its parts" for r in found["ratios"])
    assert found["left_out"] == {"predict, onnx f32": "some package is needed"}


def test_a_sweep_is_measured_by_whole_runs(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there: list[bool] = []  # whether features were kept when a run began
    begin = of_sweep.train.begin

    def watched(cfg: TrainConfig, *others: Any) -> float | None:
        there.append(any(Path(str(cfg.cache_dir)).glob("features/*")))
        return begin(cfg, *others)

    monkeypatch.setattr(of_sweep, "N_MORE", 1)
    monkeypatch.setattr(of_sweep, "GRID", ("model.dense=4,8", "optimizer=adam"))
    monkeypatch.setattr(of_sweep.train, "begin", watched)
    found = benchmark("what=sweep", "data.views=1", "trainer.max_epochs=2")
    assert found["sweep"]["epochs"] == 2 and found["sweep"]["uncached_epochs_measured"] == 1  # the rest is reckoned
    assert [ratio["goal"] for ratio in found["ratios"]] == ["<= 0.03", "<= 2"]
    assert "features from the cache" in found["stages"]
    assert [ratio["name"] for ratio in found["ratios"]][1] == "sweep of 2 / its first run with report"
    assert there[:3] == [False, False, True]  # to warm up, the first, one more
    assert "AUs (" not in capsys.readouterr().out


def test_growth_goes_by_numbers_of_pictures(benchmark: Benchmark) -> None:
    found = benchmark("what=growth", "sizes=[30,60]", "table_rows=500")
    assert [row["images"] for row in found["growth"]] == [30, 60]
    assert found["table"]["rows"] == 500
    assert {"decode_images_per_s", "load_images_per_s", "peak_mb"} <= set(found["growth"][0])


def test_startup_asks_for_the_same_settings(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[list[str]] = []
    recipes: list[Any] = []

    def start(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.extend([words] if words[1] == "-m" else [])
        if "--config-dir" in words:
            folder = Path(words[words.index("--config-dir") + 1])
            recipes.append(OmegaConf.load(folder / "experiment" / "measured.yaml"))
        refused = "model.dens=1" in words or "nowhere" in words[-1]
        return subprocess.CompletedProcess(words, 2 if refused else 0, "", "")

    monkeypatch.setattr(starting.subprocess, "run", start)
    found = benchmark("what=startup", "optimizer=sgd", "scheduler=plateau")
    assert [words[:4] for words in asked[:1]] == [[sys.executable, "-m", "fer.train", "--help"]]
    asked_for = recipes[-1]
    assert (asked_for.model.dense, asked_for.model.backbone) == (16, "shufflenet_v2_x0_5")
    assert (asked_for.data.name, asked_for.optimizer.name, asked_for.scheduler.name) == ("ckplus", "sgd", "plateau")
    assert asked_for.data.subjects == 40
    assert len(found["ratios"]) == 4 and len(found["startup_s"]) == 4


@pytest.mark.parametrize("recipe", ["best", "pretrain_synthetic", "seed_final"])
def test_what_a_recipe_changes_is_asked_for_too(recipe: str, tmp_path: Path) -> None:
    typed = composed("train", f"experiment={recipe}", "model.weights=none", "model.carry_heads=false")
    folder = tmp_path / "a, b=c"
    words = starting.words_for(typed, folder)
    line = [sys.executable, "-m", "fer.train", *words, "--cfg", "job"]
    shown = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert OmegaConf.to_container(OmegaConf.create(shown)) == as_dict(typed) | {"name": ANY}


def test_first_step_ends_training_and_leaves_nothing(tree: Path, cache: Path, tmp_path: Path) -> None:
    typed = ("data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", f"run_dir={tmp_path / 'run'}")
    first_step.run(composed("train", *typed), Call("", typed, None))
    assert not (tmp_path / "run").exists()


def scripted(name: str, seconds_per_batch: float, spent: list[Spent]) -> Stage:
    def work(n: int) -> Spent:
        spent.append(Spent(10 * n, n * seconds_per_batch, n * seconds_per_batch))
        return spent[-1]

    return Stage(name, work)


@pytest.mark.parametrize("budget", [1.0, 20.0])
def test_stages_keep_to_the_budget_by_the_clock_of_each(budget: float) -> None:
    spent: list[Spent] = []
    stages = [scripted("slow", 2.0, spent), scripted("fast", 0.001, spent)]
    rates = alternate(stages, budget)
    warm_up = 2 * (2.0 + 0.001)
    assert sum(block.seconds for block in spent) <= warm_up + max(budget * len(stages), 2.0 + budget) * 1.1
    assert 1 <= len(rates.blocks["slow"]) <= ROUNDS and len(rates.blocks["slow"]) == len(rates.blocks["fast"])
    assert rates.ratio("fast", "slow") == pytest.approx(2000) and rates.images_per_s("slow") == pytest.approx(5)
    assert rates.images_per_s("slow", "fast") == pytest.approx(10 / 2.001)


def test_a_ratio_without_a_goal_is_neither_met_nor_missed() -> None:
    assert [Ratio("", 1.0, goal, "").met for goal in (None, ">= 0.97", "<= 0.9")] == [None, True, False]
    found = Findings()
    found.add("a name that is so long that it does not fit beside the rest " * 2, 0.5, "1 of 2 images/s", ">= 0.9")
    console = Console(width=100, record=True)
    print_findings(found, console)
    assert "short" in console.export_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("what=tain",), "what must be one of all, train, predict, sweep, startup, choices, growth; got tain"),
        (("budget=0",), "budget must be above 0"),
        (
            ("against='trainer.precision=32'",),
            "against compares two settings of what=train or what=predict, not of what=all",
        ),
        (("resume=x",), "resume is for fer.train"),
        (("what=growth", "sizes=[]"), "sizes must be a list of numbers of pictures"),
        (("what=train", "against=precision"), "against must be one or more key=value"),
        (("what=train", "against='model.dens=3'"), "model.dens: no such key; did you mean model.dense?"),
        (("what=train", "against='model.dense=0'"), "model.dense must be at least 1, got 0"),
        (("what=train", "model.backbone=resnet5"), "torchvision has no such classifier"),
    ],
)
def test_what_cannot_be_measured_is_refused(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(FerError, match=message.replace("?", r"\?").replace("(", r"\(")):
        run(composed("benchmark", f"run_dir={tmp_path / 'run'}", *overrides), Call("", overrides, None))
    assert not (tmp_path / "run").exists()
