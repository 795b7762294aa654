"""What happens around the epochs: checkpoints, a line per epoch, a progress bar with the time left, and a stop that can be resumed."""

from __future__ import annotations

import csv
import logging
import math
import os
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fer.config import TrainerConfig
from fer.errors import Interrupted
from fer.model.averaging import AveragedWeights

log = logging.getLogger(__name__)

MOST_LOST = 5.0
"""Seconds of training that a kill without warning may cost, beside the epoch that it falls into."""

EPOCH_LINE = {
    "train/loss": "train loss",
    "val/loss": "val loss",
    "val/au_f1": "AU F1",
    "val/au_ap": "AP",
    "val/emotion_accuracy": "emotion acc",
    "val/emotion_f1": "F1",
    "val/score": "score",
}


def make_callbacks(cfg: TrainerConfig, run_dir: Path, show_progress: bool) -> list[Callback]:
    """The callbacks of a training run."""
    mode = "min" if cfg.monitor == "val/loss" else "max"
    folder, stop = run_dir / "checkpoints", StopSafely(run_dir / "checkpoints" / "last.ckpt")
    callbacks: list[Callback] = [
        # before what may save in the middle of an epoch: the average of that step belongs to it
        *([AveragedWeights(decay=cfg.ema)] if cfg.ema else []),
        EarlyStopping(cfg.monitor, mode=mode, patience=cfg.patience, check_finite=True),
        EpochLog(run_dir / "curves.csv"),
        stop,
        MovableCheckpoint(
            folder,
            "best",
            monitor=cfg.monitor,
            mode=mode,
            save_weights_only=True,  # to use, not to go on from: a third of the size without the optimizer's state
            save_on_train_epoch_end=False,  # after validation, while averaged weights are in place
            enable_version_counter=False,
        ),
        LastCheckpoint(folder, stop),
    ]
    return [*callbacks, ProgressBar()] if show_progress else callbacks


def stopped_early(checkpoint: Mapping[str, Any]) -> bool:
    """Whether early stopping ended the run of a `last.ckpt`: Lightning keeps what it counted, not that it stopped."""
    states = [state for key, state in checkpoint["callbacks"].items() if key.startswith("EarlyStopping")]
    return any(state["wait_count"] >= state["patience"] for state in states)


class MovableCheckpoint(ModelCheckpoint):
    """Remembers the best score on resume wherever the run folder stands now: Lightning forgets it in another folder."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here, before = str(self.dirpath), str(state_dict["dirpath"])

        def moved(path: str) -> str:
            return path.replace(before, here, 1)

        scores = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        super().load_state_dict({**state_dict, **paths, "dirpath": here, "best_k_models": scores})


class LastCheckpoint(MovableCheckpoint):
    """What a run goes on from: the end of its last epoch, or where epochs take less than `MOST_LOST`, of a recent one.

    One of its own, as `save_last` follows the best: it is refreshed only when that is (Lightning 2.6).
    """

    def __init__(self, folder: Path, stop: StopSafely) -> None:
        super().__init__(folder, "last", monitor=None, enable_version_counter=False, save_on_train_epoch_end=True)
        self.stop, self.saved = stop, -math.inf

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        in_any = partial(trainer.strategy.reduce_boolean_decision, all=False)
        asked = in_any(self.stop.asked)
        if ends or asked or in_any(time.monotonic() - self.saved >= MOST_LOST):
            super().on_train_epoch_end(trainer, pl_module)
            self.saved = time.monotonic()
        if asked and not ends:
            raise Interrupted


class EpochLog(Callback):
    """One line per epoch to the log and one row to `curves.csv`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Drops rows of epochs that a resumed run will repeat."""
        self.rows = [row for row in _read_rows(self.path) if int(row["epoch"]) < trainer.current_epoch]
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.startswith("val/au_f1_each")}
        self.rows.append({"epoch": trainer.current_epoch, **{k: f"{v:.6g}" for k, v in sorted(values.items())}})
        if trainer.is_global_zero:
            _write_rows(self.path, self.rows)
        log.info(
            "epoch %d of %s: %s (%.0f s)",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            epoch_line(values),
            time.monotonic() - self.started,
        )


def epoch_line(values: Mapping[str, float]) -> str:
    """`train loss 0.612  val loss 0.702  AU F1 0.443 ...` of the values that there are."""
    return "  ".join(f"{short} {values[name]:.3f}" for name, short in EPOCH_LINE.items() if name in values)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    # a kill leaves the old file or the new one; not `runs.write_text`, whose sync may take as long as an epoch on features
    unfinished = path.with_suffix(f".tmp{os.getpid()}")
    with open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(unfinished, path)


class StopSafely(Callback):
    """Ctrl-C and SIGTERM end training after the current step, with everything saved; a second one ends it at once.

    Stopping in the middle of a step, as an exception would, could save weights of which only half have been updated.
    """

    def __init__(self, last: Path) -> None:
        self.last, self.asked = last, False
        self.handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # not earlier: Lightning would put its own handler, which ends with exit status 0, before this one
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self.handlers[number] = signal.signal(number, self._ask)
            except ValueError:  # not in the main thread: then nobody sends signals here
                return

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.warning("stopping after this step (again: at once, back to the end of the last epoch)")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # a signal reaches several processes at different steps, or one of them alone; all must stop after the same one
        asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        if asked and not trainer.is_last_batch:  # else `LastCheckpoint` does it, at the end of the epoch
            trainer.save_checkpoint(self.last)
            raise Interrupted

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restore()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        # not in teardown: by then Lightning may have restored its own, and a handler of a dead trainer would be left for good
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers.clear()


class CompileTime(Callback):
    """Says that the first steps compile, and what that took."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        log.info("trainer.compile: the first step compiles the backbone, which may take minutes")
        self.started = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.started:
            log.info("trainer.compile: the first step took %.0f s", time.monotonic() - self.started)
            self.started = 0.0


class ProgressBar(Callback):
    """One bar for the whole run: epochs done, time left if no early stop comes, and the last validation scores."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert trainer.max_epochs is not None
        n_batches = int(trainer.num_training_batches)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(),
            TextColumn("at most"),
            TimeRemainingColumn(),
            TextColumn("left  {task.fields[scores]}"),
            console=Console(stderr=True),
        )
        done = trainer.current_epoch * n_batches
        self.task = self.bar.add_task("training", total=trainer.max_epochs * n_batches, completed=done, scores="")
        self.bar.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.bar.update(self.task, advance=1, description=f"epoch {trainer.current_epoch + 1}")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        named = ("val/loss", "val/au_f1", "val/emotion_accuracy")
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name in named}
        self.bar.update(self.task, scores=epoch_line(scores))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.bar.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        if hasattr(self, "bar"):
            self.bar.stop()
