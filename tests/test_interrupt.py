"""Kills: what a signal, a crash, a full disk or a nan leaves behind, and that the resumed run ends as the whole one."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL
from PIL import Image
from started import Started, start_command
from test_train import same_weights

from fer.errors import FerError
from fer.model import callbacks, checkpoints
from fer.model.callbacks import StopSafely
from fer.model.finished import load_module
from fer.model.module import FaceModule
from fer.model.network import TwoHeadNetwork
from fer.model.weight_files import save_backbone
from fer.runs.folder import RunFolder, check_place
from fer.runs.locks import LOCK
from fer.steps import fitting

Train = Callable[..., Path]


def start_training(tree: Path, cache: Path, run_dir: Path, *more: str) -> Started:
    words = ("data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", f"run_dir={run_dir}", *more)
    return start_command("fer.train", *words, cwd=run_dir.parent)


def wait_for(path: Path, text: str, process: Started, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not (path.is_file() and text in path.read_text()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"{text!r} did not come in {path}"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "more"), [(signal.SIGTERM, ()), (signal.SIGINT, ("trainer.ema=0.9",)), (signal.SIGKILL, ())]
)
def test_killed_run_resumes_to_the_same_weights(
    train: Train, resume: Train, tree: Path, cache: Path, tmp_path: Path, number: signal.Signals, more: tuple[str, ...]
) -> None:
    # small batches: an epoch has ten steps, so that the signal falls into the middle of one
    settings = ("trainer.max_epochs=4", "data.batch_size=2", *more)
    whole = train(*settings, run_dir=tmp_path / "whole")
    process = start_training(tree, cache, tmp_path / "part", *settings)
    wait_for(tmp_path / "part" / "train.log", "epoch 2 of", process)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert f"resume={tmp_path / 'part'}" in said
    about = json.loads((tmp_path / "part" / "run.json").read_text())
    assert about["finished"] is False
    resume(tmp_path / "part")
    assert same_weights(whole, tmp_path / "part")
    for name in ("metrics.json", "curves.csv"):
        assert (whole / name).read_text() == (tmp_path / "part" / name).read_text()


def test_finished_runs_give_signals_and_memory_back(train: Train, tmp_path: Path) -> None:
    # a handler left behind would swallow SIGTERM, and keep the trainer with all its weights: a sweep runs its jobs in one process
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for name in ("one", "two"):
        train("trainer.max_epochs=1", run_dir=tmp_path / name)
    assert {number: signal.getsignal(number) for number in before} == before
    gc.collect()
    # not isinstance: objects of torch warn when they are asked for their class
    assert not [alive for alive in gc.get_objects() if issubclass(type(alive), lightning.Trainer)]


def test_stop_in_the_last_step_of_an_epoch_saves_that_epoch(
    train: Train, resume: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(self: StopSafely, trainer: lightning.Trainer, *_: object) -> None:
        self.asked = trainer.current_epoch == 1 and trainer.is_last_batch

    whole, part = train("trainer.max_epochs=4", run_dir=tmp_path / "whole"), tmp_path / "part"
    clock = itertools.count(0, 7)  # read when training starts and when it ends
    monkeypatch.setattr(fitting, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with monkeypatch.context() as patched:
        patched.setattr(StopSafely, "on_train_batch_end", ask)
        with pytest.raises(SystemExit):
            train("trainer.max_epochs=4", run_dir=part)
    assert torch.load(part / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1
    resume(part)
    assert same_weights(whole, part)
    # `fer.compare` chooses by it: all of the training counts, and nothing of starting twice
    assert json.loads((part / "run.json").read_text())["timings"]["fit_s"] == 14


def test_stop_in_the_final_epoch_is_answered_and_only_the_judging_is_left(
    train: Train, resume: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(self: StopSafely, trainer: lightning.Trainer, *_: object) -> None:
        self.asked = trainer.is_last_batch

    part = tmp_path / "part"
    with monkeypatch.context() as patched:
        patched.setattr(StopSafely, "on_train_batch_end", ask)
        with pytest.raises(SystemExit):
            train("trainer.max_epochs=1", run_dir=part)
    assert not (part / "metrics.json").exists()
    monkeypatch.setattr(lightning.Trainer, "fit", None)
    resume(part)
    assert json.loads((part / "run.json").read_text())["finished"] is True


def test_stop_while_it_is_judged_says_how_to_go_on(
    train: Train, resume: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    part = tmp_path / "part"
    with monkeypatch.context() as patched:
        patched.setattr(FaceModule, "predict_step", interrupted)
        with pytest.raises(SystemExit) as ended:
            train("trainer.max_epochs=1", run_dir=part)
    assert ended.value.code == 130 and f"go on with: python -m fer.train resume={part}" in caplog.text
    resume(part)
    assert json.loads((part / "run.json").read_text())["finished"] is True


def test_a_place_that_cannot_be_written_is_refused_early_and_is_no_reason_to_count_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FerError, match="is read-only"):
        check_place(tmp_path / "run")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(FerError, match="can't be written: Read-only"):
        RunFolder.create(tmp_path / "run", {"name": "n"}, "line", numbered=True)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_locks_that_fail_are_no_reason_to_count_on(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:  # filelock takes EACCES for a lock that somebody else has
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(FerError, match=r"can't be written|another process is at work"):
        RunFolder.create(tmp_path / "run", {"name": "n"}, "line", numbered=True)
    assert len(list(tmp_path.iterdir())) <= 101


def test_sigterm_before_the_first_checkpoint_has_a_word(tree: Path, cache: Path, tmp_path: Path) -> None:
    process = start_training(tree, cache, tmp_path / "run", "trainer.max_epochs=50")
    wait_for(tmp_path / "run" / "train.log", "run folder", process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert f"{tmp_path / 'run'} holds nothing to go on from" in said or f"resume={tmp_path / 'run'}" in said


def test_moved_run_folder_remembers_its_best(train: Train, resume: Train, tmp_path: Path) -> None:
    # a rate that soon makes it worse: the best epoch is an early one
    settings = ("optimizer.lr=0.03", "scheduler=none", "trainer.patience=50")
    whole = train(*settings, "trainer.max_epochs=6", run_dir=tmp_path / "whole")
    part = train(*settings, "trainer.max_epochs=4", run_dir=tmp_path / "part")
    moved = (tmp_path / "elsewhere").joinpath("moved")
    moved.parent.mkdir()
    part.rename(moved)
    resume(moved, "trainer.max_epochs=6")
    one, other = (torch.load(p / "checkpoints" / "best.ckpt", weights_only=True) for p in (whole, moved))
    assert one["epoch"] == other["epoch"]
    assert (whole / "metrics.json").read_text() == (moved / "metrics.json").read_text()


def test_run_that_stopped_early_is_not_trained_on(train: Train, resume: Train) -> None:
    run_dir = train("trainer.max_epochs=50", "trainer.patience=1", "optimizer.lr=1e-9", "scheduler=none")
    about = json.loads((run_dir / "run.json").read_text())
    before = (run_dir / "curves.csv").read_text()
    for unsaid in ((), ("epochs", "fitted_epochs")):  # killed while it was judged, or just after its last checkpoint
        known = {key: value for key, value in about.items() if key not in unsaid}
        (run_dir / "run.json").write_text(json.dumps({**known, "finished": False}))
        resume(run_dir)
        assert (run_dir / "curves.csv").read_text() == before
        after = json.loads((run_dir / "run.json").read_text())
        assert after["finished"] is True and after["epochs"] == about["epochs"]


def test_person_called_na_can_be_resumed(train: Train, resume: Train, tmp_path: Path) -> None:
    rows = []
    for k in range(12):
        Image.fromarray(np.full((40, 40), 20 * k, np.uint8)).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,{'NA' if k < 2 else f'p{k // 2}'},{('anger', 'happy')[k % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(["path,subject,emotion", *rows]))
    run_dir = train("data=csv", "data.root=null", f"data.table={tmp_path / 't.csv'}", "scheduler=none")
    resume(run_dir, "trainer.max_epochs=3")
    assert len(pd.read_csv(run_dir / "curves.csv")) == 3


def test_finished_run_is_not_resumed_and_settings_are_not_changed(train: Train, resume: Train, tree: Path) -> None:
    run_dir = train()
    with pytest.raises(FerError, match="finished"):
        resume(run_dir)
    with pytest.raises(FerError, match=r"model\.dense=4 would change"):
        resume(run_dir, "model.dense=4")
    with pytest.raises(FerError, match="cosine"):
        resume(run_dir, "trainer.max_epochs=5")
    with pytest.raises(FerError, match="finished"):  # not: what was typed again would change nothing
        resume(run_dir, "model.dense=16", "data.batch_size=8", "augment=default")
    with pytest.raises(FerError, match="experiment=best would change"):
        resume(run_dir, "experiment=best")
    typed = ("data=ckplus", f"data.root={tree}", *SMALL, "data.workers=1")  # as `train` did, but for what may change
    with pytest.raises(FerError, match="finished"):
        resume(run_dir, *typed)


def test_fewer_epochs_than_were_trained_are_refused_and_change_nothing(train: Train, resume: Train) -> None:
    run_dir = train("scheduler=none")
    about = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps(about | {"finished": False}))  # as if killed while it judged
    before = (run_dir / "config.yaml").read_text()
    with pytest.raises(FerError, match="has been trained for 2 epochs"):
        resume(run_dir, "trainer.max_epochs=1")
    assert (run_dir / "config.yaml").read_text() == before


def test_what_a_kill_between_the_first_files_leaves_is_no_run(train: Train, tmp_path: Path) -> None:
    where = tmp_path / "run"
    where.mkdir()
    (where / "config.yaml").write_text("seed: 1")
    with pytest.raises(FerError, match="is not empty"):  # somebody's own
        train("trainer.max_epochs=1")
    for name in (LOCK, "run.json.tmp123"):
        (where / name).touch()
    assert train("trainer.max_epochs=1") == where


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_worked_on_with_a_warning(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, "none here")

    monkeypatch.setattr("fcntl.flock", flock)
    assert RunFolder.create(tmp_path / "run", {"name": "x"}, "").path.is_dir()
    assert "its file system has no locks" in caplog.text


def test_run_folder_that_holds_a_run_is_not_overwritten(train: Train) -> None:
    train()
    with pytest.raises(FerError, match="is not empty"):
        train()


HOLDER = """
import sys, time
from pathlib import Path
from fer.runs.folder import RunFolder, check_place
mine = RunFolder.create(Path(sys.argv[1]), {"name": "x"}, "")
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_is_one_process_s_while_it_is_at_work_there(train: Train, tmp_path: Path) -> None:
    where = tmp_path / "run"
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(where)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(FerError, match="another process is at work in this run folder"):
            train("trainer.max_epochs=1")
        # a folder that was named by the time is one of its own then
        assert RunFolder.create(where, {"name": "x"}, "", numbered=True).path == tmp_path / "run_2"
    finally:
        other.kill()
        other.communicate()
    assert train("trainer.max_epochs=1") == where  # nothing was saved there to go on from


def test_resume_notices_other_data(train: Train, resume: Train, tmp_path: Path, tree: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    run_dir = train(f"data.root={copy}", "scheduler=none")
    emotion = next((copy / "Emotion").glob("*/*/*.txt"))
    emotion.unlink()
    with pytest.raises(FerError, match="not what this run was started with"):
        resume(run_dir, "trainer.max_epochs=3")


def test_nan_stops_the_run_with_a_clear_word(train: Train, tmp_path: Path) -> None:
    with pytest.raises(FerError, match=r"not a number in epoch 0.*optimizer\.lr"):
        train("optimizer=sgd", "optimizer.lr=10", "trainer.gradient_clip=0", "optimizer.weight_decay=9")
    assert "ended by: the loss is not a number" in (tmp_path / "run" / "train.log").read_text()


def test_write_that_fails_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    checkpoints.write_atomically({"epoch": 1}, path)

    def full_disk(content: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(FerError, match=r"can't be written.*last good one is kept"):
        checkpoints.write_atomically({"epoch": 2}, path)
    monkeypatch.undo()
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_kill_while_curves_are_written_leaves_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rows = tmp_path / "curves.csv", [{"epoch": 0, "val/loss": "0.5"}]
    callbacks._write_rows(path, rows)
    before = path.read_bytes()

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr("csv.DictWriter.writerows", killed)
    with pytest.raises(SystemExit):
        callbacks._write_rows(path, rows * 2)
    assert path.read_bytes() == before


def test_full_disk_leaves_no_half_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(FerError, match=r"the backbone can't be written.*No space left"):
        save_backbone(TwoHeadNetwork("resnet18", 32, 8, 0.0, 1, 2), tmp_path / "backbone.safetensors")
    assert not list(tmp_path.iterdir())


class Trap:
    """Pickles into a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return __import__("os").mkdir, (str(self.trace),)


def test_checkpoint_without_weights_is_one_line(tmp_path: Path) -> None:
    torch.save({"fer": {}, "hyper_parameters": {}}, tmp_path / "x.ckpt")
    with pytest.raises(FerError, match="not a checkpoint of fer"):
        load_module(tmp_path / "x.ckpt")


def test_checkpoint_never_runs_code(tmp_path: Path) -> None:
    torch.save({"fer": Trap(tmp_path / "ran")}, tmp_path / "trap.ckpt")
    with pytest.raises(FerError, match="can't be loaded as a checkpoint"):
        checkpoints.load_checkpoint(tmp_path / "trap.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_or_foreign_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(FerError, match=r"x\.ckpt can't be loaded"):
        checkpoints.load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(FerError, match="not a checkpoint of fer"):
        checkpoints.load_checkpoint(path)
