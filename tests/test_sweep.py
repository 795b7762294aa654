"""Hydra sweeps: a folder per job, a bad job does not lose the rest, the same line goes on, and nobody looks at the test people."""

from __future__ import annotations

import json
import pickle
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import lightning
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed
from hydra.plugins.sweeper import Sweeper
from rich.console import Console
from safetensors.torch import load_file, save_file
from started import run_command
from test_train import same_weights

from fer.cli.command import Call
from fer.cli.sweep import each_value_composed_once
from fer.data.datamodule import FaceData
from fer.errors import FerError, Interrupted
from fer.model import finished
from fer.model.callbacks import StopSafely
from fer.model.finished import load_module, make_whole
from fer.runs.jobs import Job, Kept, folder_name, print_summary, read_job, read_jobs, why_dead, write_summary
from fer.train import run

Sweep = Callable[..., subprocess.CompletedProcess[str]]
WORDS = tuple(s for s in SMALL if not s.startswith("model.dense"))


@pytest.fixture
def sweep(tree: Path, cache: Path, tmp_path: Path) -> Sweep:
    """`sweep(*overrides)` is `fer.train -m` on the small tree, in outputs/sweeps/s."""

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        own = ["data=ckplus", f"data.root={tree}", *WORDS, f"cache_dir={cache}", "name=s", "trainer.max_epochs=1"]
        return run_command("fer.train", "-m", *own, *words, cwd=tmp_path)

    return start


@pytest.fixture
def job(tree: Path, cache: Path, tmp_path: Path) -> Callable[..., float | None]:
    """`job(*overrides)` is one job of a sweep, in the folder `job`."""

    def start(*words: str) -> float | None:
        typed = ("data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", *words)
        return run(composed("train", *typed), Call("", typed, tmp_path / "job"))

    return start


def test_sweep_leaves_a_run_per_setting_without_test_scores(sweep: Sweep, tmp_path: Path) -> None:
    # the second unit does not occur in the training split: its jobs fail alone
    grid = ("model.finetune=frozen", "model.dense=4,8", "data.aus=auto,[45]")
    done = sweep(*grid)
    folder = tmp_path / "outputs" / "sweeps" / "s"
    runs = sorted(p.parent for p in folder.glob("*/run.json"))
    assert {one.name for one in runs} == {"data.aus-auto,model.dense-4", "data.aus-auto,model.dense-8"}, done.stderr
    for one in runs:
        log = (one / "train.log").read_text()
        assert "epoch 1 of 1" in log and "faces found by" in log
        assert json.loads((one / "run.json").read_text())["finished"] is True
        assert set(json.loads((one / "metrics.json").read_text())) == {"val"}
        assert set(pd.read_csv(one / "predictions.csv")["split"]) == {"val"}
    assert done.returncode == 1 and "AU45 never occurs" in done.stderr and "2 of 4 jobs failed" in done.stderr
    assert sorted(p.name for p in (tmp_path / "outputs" / "sweeps").iterdir()) == ["s"]
    summary = pd.read_csv(folder / "summary.csv")
    scores = {one.name: json.loads((one / "metrics.json").read_text())["val"]["score"] for one in runs}
    assert summary["overrides"].tolist()[:2] == sorted(scores, key=lambda name: -scores[name])
    assert summary["score"].tolist()[:2] == pytest.approx(sorted(scores.values(), reverse=True))
    assert summary["status"].tolist() == ["finished"] * 2 + ["failed"] * 2
    best, other = (folder / name for name in summary["overrides"][:2])
    assert (best / "report.html").is_file() and not (other / "report.html").exists()
    page = (folder / "report.html").read_text()
    assert all(f"{score:.3f}" in page for score in scores.values()) and "page of the sweep" in done.stdout

    # one backbone for all jobs, which their checkpoints find; that of the best holds it
    (backbone,) = folder.glob("backbone-*.safetensors")
    one, another = (load_module(run / "checkpoints" / "best.ckpt")[0].backbone_state() for run in (best, other))
    assert one.keys() == another.keys() and all(torch.equal(one[k], another[k]) for k in one)
    backbone.rename(tmp_path / backbone.name)
    load_module(best / "checkpoints" / "best.ckpt")
    with pytest.raises(FerError, match=r"frozen backbone of its jobs once.*backbone-"):
        load_module(other / "checkpoints" / "best.ckpt")

    # the same line: finished runs are not repeated, and the failed are tried again
    before = {p: p.stat().st_mtime_ns for one in runs for p in one.rglob("*.ckpt")}
    again = sweep(*grid)
    assert again.returncode == 1 and again.stderr.count("finished earlier") == 2
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert pd.read_csv(folder / "summary.csv")["seconds"].tolist()[:2] == summary["seconds"].tolist()[:2]


def test_backbone_that_is_missing_or_another_is_refused(
    job: Callable[..., float | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job("model.finetune=frozen", "data.views=1", "augment=none", "trainer.max_epochs=1")
    path, (file,) = tmp_path / "job" / "checkpoints" / "best.ckpt", tmp_path.glob("backbone-*.safetensors")
    state, checkpoint = load_file(file), torch.load(path, weights_only=True)
    state["conv1.1.running_mean"] += 1
    save_file(state, file)
    for load in (load_module, make_whole):
        with pytest.raises(FerError, match=r"backbone-.* is not the backbone that .*best\.ckpt was trained with"):
            load(path)
    # taken to where there are fewer folders above it
    with monkeypatch.context() as patched:
        patched.setattr(finished, "load_checkpoint", lambda _: checkpoint)
        with pytest.raises(
            FerError, match=rf"{file.name}.*back below that of its sweep, or copy the sweep's {file.name}"
        ):
            load_module(Path("/m/best.ckpt"))
    for name in (5, f"../{file.name}", "backbone-xyz.safetensors"):
        torch.save({**checkpoint, "fer": {**checkpoint["fer"], "backbone_file": name}}, path)
        for load in (load_module, make_whole):
            with pytest.raises(FerError, match=r"is damaged: .* is not the name"):
                load(path)


@pytest.mark.parametrize("whole", [False, True], ids=["as the sweep left it", "made whole"])
def test_last_checkpoint_of_a_finished_frozen_run_can_be_used(
    whole: bool, job: Callable[..., float | None], tmp_path: Path
) -> None:
    job("model.finetune=frozen", "data.views=1", "augment=none", "trainer.max_epochs=2")
    best, last = (tmp_path / "job" / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    if whole:
        make_whole(best)
        next(tmp_path.glob("backbone-*.safetensors")).unlink()
    kept, found = (load_module(path)[0].backbone_state() for path in (best, last))
    assert kept.keys() == found.keys() and all(torch.equal(kept[name], found[name]) for name in kept)
    best.unlink()
    with pytest.raises(FerError, match="of a run that has not ended"):
        load_module(last)


def test_half_done_job_goes_on_to_the_same_result(
    job: Callable[..., float | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = job("trainer.max_epochs=3")
    (tmp_path / "job").rename(tmp_path / "whole")

    def stop(self: object, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.current_epoch == 2:
            raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(StopSafely, "on_train_epoch_start", stop)
        with pytest.raises(SystemExit):
            job("trainer.max_epochs=3")
    assert job("trainer.max_epochs=3") == score
    assert same_weights(tmp_path / "whole", tmp_path / "job")


def test_finished_job_gives_its_score_and_refuses_other_settings(
    job: Callable[..., float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    score = job()
    monkeypatch.setattr("fer.train.begin", None)
    assert job() == score
    assert job("trainer.progress=true", "data.workers=1") == score
    with pytest.raises(FerError, match=r"other settings \(optimizer\.lr was 0\.0003, now 0\.5\)"):
        job("optimizer.lr=0.5")


def test_a_choice_that_is_not_there_is_refused_before_any_job(sweep: Sweep, tmp_path: Path) -> None:
    refused = sweep("model.dense=4,8", "optimizer=adam,sgd,adamm")
    assert refused.returncode == 2 and "optimizer=adamm: there is no such choice" in refused.stderr, refused.stderr
    assert len(refused.stderr.splitlines()) == 1 and not list(tmp_path.glob("outputs/sweeps/s/*/"))


def test_each_value_is_composed_once_before_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    composed_jobs: list[tuple[str, ...]] = []
    monkeypatch.setattr(Sweeper, "validate_batch_is_legal", lambda self, batch: composed_jobs.extend(batch))
    every = list(product(("a=1", "a=2", "a=3"), ("b=1", "b=2"), ("c=1", "c=2", "c=3", "c=4")))
    with each_value_composed_once():
        Sweeper.validate_batch_is_legal(None, every)
    assert {word for job in composed_jobs for word in job} == {word for job in every for word in job}
    assert len(composed_jobs) == 1 + 2 + 1 + 3


def test_no_test_person_reaches_the_sweeper(
    job: Callable[..., float | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: list[str] = []
    loader = FaceData.loader
    monkeypatch.setattr(FaceData, "loader", lambda self, part, **more: read.append(part) or loader(self, part, **more))
    score = job()
    metrics = json.loads((tmp_path / "job" / "metrics.json").read_text())
    assert set(read) == {"train", "val"} and set(metrics) == {"val"} and score == metrics["val"]["score"]
    # even where somebody asks for the test, it is the validation score that comes back
    (tmp_path / "job").rename(tmp_path / "other")
    score = job("test=true")
    metrics = json.loads((tmp_path / "job" / "metrics.json").read_text())
    assert score == metrics["val"]["score"] != metrics["test"]["score"]
    assert job("test=true") == score


def test_folder_of_a_job_is_one_level_deep_and_its_own() -> None:
    assert folder_name("model.dense-64,data.aus-[1,2]") == "model.dense-64,data.aus-[1,2]"
    paths = [folder_name(f"data.root-{p}") for p in ("/a/b", "/a-b", "../a/b", "a" * 500, "a" * 501)]
    assert len(set(paths)) == 5 and not any("/" in p or len(p) > 200 for p in paths)
    assert folder_name("../..").startswith("-") and folder_name("") == "job-e3b0c442"


def test_summary_is_best_first_with_failures_last(tmp_path: Path) -> None:
    for name, status, score in (("a", "finished", 0.2), ("b", "failed", None), ("c", "finished", 0.7)):
        Job(name, status, score, 1.0, "why" if status == "failed" else "", "x").keep(tmp_path / name)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "job.json").write_text("half of")
    jobs = read_jobs(tmp_path)
    assert [job.overrides for job in jobs] == ["c", "a", "b"] and read_job(tmp_path / "d") is None
    assert pd.read_csv(write_summary(tmp_path, jobs))["error"].tolist()[2] == "why"


def test_a_dead_model_is_never_the_best_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, score, dead in (("x=1", 0.9, True), ("x=2", 0.4, False), ("x=3", None, False)):
        Job(name, "failed" if score is None else "finished", score, 1.0, "", "x", dead).keep(tmp_path / name)
    jobs = read_jobs(tmp_path)
    assert [job.overrides for job in jobs] == ["x=2", "x=1", "x=3"]
    assert pd.read_csv(write_summary(tmp_path, jobs))["dead"].tolist() == [False, True, False]
    print_summary(jobs, Console())
    assert "1 dead: a head of each" in capsys.readouterr().out
    print_summary(jobs[1:], Console())
    assert "there is no best" in capsys.readouterr().out
    # by what its scores say, of whatever split
    head = {"dead": True, "dead_reason": "the same for all"}
    (tmp_path / "x=1" / "metrics.json").write_text(json.dumps({"val": {"au": head, "emotion": {"dead": False}}}))
    assert why_dead(tmp_path / "x=1") == "the same for all" and why_dead(tmp_path / "x=2") is None


def test_jobs_share_the_last_of_a_kind_alone() -> None:
    kept, made = Kept(), []
    for key in (1, 1, 2, 1):
        kept.get("data", key, lambda key=key: made.append(key))
    assert made == [1, 2, 1]


def test_jobs_in_another_process_share_what_is_kept_there() -> None:
    sent = pickle.dumps(Kept())
    pickle.loads(sent).get("data", "of A", lambda: 1)  # one job of a launcher
    assert pickle.loads(sent).get("data", "of A", lambda: 2) == 1  # the next one


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--cfg", "job", "sweep=heads"), 0, "dense: 256"),
        (("--cfg", "job", "-m", "model.dense=1,2"), 2, "leave out -m"),
    ],
)
def test_settings_can_be_shown_without_a_sweep(words: tuple[str, ...], status: int, said: str, tmp_path: Path) -> None:
    ended = run_command("fer.train", *words, cwd=tmp_path)
    assert ended.returncode == status and said in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr and not list(tmp_path.iterdir())


def test_names_of_jobs_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Job(f"data.table-{name}", "finished", 0.5, 1.0, "", "") for name in ("[old]", "[red]", "[/a]")]
    print_summary(jobs, Console(width=100))
    said = capsys.readouterr().out
    assert all(f"data.table-{name}" in said for name in ("[old]", "[red]", "[/a]"))


def test_names_of_folders_are_short_in_bytes() -> None:
    assert len(folder_name("data.table-" + "ж" * 200).encode()) < 200
