"""Real training as a stage: the whole of `fer.steps.fitting.fit` in a thread of its own, which goes on for some steps in its turn."""

from __future__ import annotations

import dataclasses
import threading
import time
from types import TracebackType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from fer.benchmarking.bench import Bench
from fer.benchmarking.clock import Spent, Stage, finish_device
from fer.errors import Interrupted
from fer.steps import building, fitting

ENDLESS = 100_000
"""Epochs: it is stopped when enough was measured."""


class RealTraining(Callback):
    """A context; `stage` measures its steps, `between_epochs` collects the seconds of validation, checkpoints and the like.

    The first step of an epoch belongs to what is between epochs: it waits for the loader to start.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench, self.stage = bench, Stage(f"{bench.label}real training", self._work)
        self.between_epochs: list[float] = []
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._left = self._n_images = 0
        self._seconds = self._cores = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._fit, daemon=True)

    # --- the side of the clock

    def _work(self, n: int) -> Spent:
        self._left, self._n_images, self._seconds, self._cores = n, 0, 0.0, 0.0
        self._resume()
        return Spent(self._n_images, self._seconds, self._cores)

    def _resume(self) -> None:
        self._go.release()
        self._paused.acquire()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> RealTraining:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._go.release()
        self._thread.join()

    # --- the side of training

    def _fit(self) -> None:
        self._go.acquire()
        if self._closing:
            return
        bench = self.bench
        trainer = dataclasses.replace(bench.cfg.trainer, max_epochs=ENDLESS, patience=ENDLESS, progress=False)
        cfg = dataclasses.replace(bench.cfg, trainer=trainer)
        try:
            module = building.build_module(cfg, bench.data, bench.weights)
            fitting.fit(cfg, bench.new_folder("fit"), module, bench.data, [self])
        except Interrupted:
            pass
        except BaseException as failed:  # it belongs to the thread that waits
            self._error = failed
        finally:
            self._paused.release()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._first = True

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._mark()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        finish_device()
        seconds, cores = time.perf_counter() - self._wall, time.process_time() - self._core
        if self._first:
            self.between_epochs.append(seconds)
        # an epoch of one step has no other: then that is what training is
        if not self._first or trainer.num_training_batches == 1:
            self._n_images += len(batch["index"])
            self._seconds += seconds
            self._cores += cores
            self._left -= 1
        self._first = False
        if self._left <= 0:
            self._paused.release()
            self._go.acquire()
            if self._closing:
                raise Interrupted
        self._mark()

    def _mark(self) -> None:
        self._wall, self._core = time.perf_counter(), time.process_time()
