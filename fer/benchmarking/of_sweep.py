"""`what=sweep`: what settings cost once the features of a frozen backbone are kept: one more, and all of a sweep of 72."""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Collection
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median

import lightning
from lightning.pytorch.callbacks import Callback

from fer import train
from fer.benchmarking import starting
from fer.benchmarking.bench import Bench
from fer.benchmarking.clock import alternate
from fer.benchmarking.findings import Findings
from fer.benchmarking.loading import loading
from fer.benchmarking.memory import Peak
from fer.cli.command import Call
from fer.config import TrainConfig, check
from fer.data.cache import cache_folder
from fer.runs.jobs import Kept

N_MORE = 4
GRID = (
    "model.dense=64,128,256,512",
    "optimizer=adam,sgd,adamw",
    "optimizer.lr=1e-2,1e-3,1e-4",
    "data.batch_size=16,32",
)
"""The sweep that the goal is set for."""

FURTHER_OVER_UNCACHED = "<= 0.03"
SWEEP_OVER_FIRST = "<= 2"


def measure(cfg: TrainConfig, scratch: Path, budget: float, found: Findings) -> None:
    """Adds the sweep to `found`: by whole commands, and within this process one more setting against a run that keeps nothing."""
    # within this process all runs take the same number of epochs; commands are as they are typed
    patience = cfg.trainer.patience
    cfg = dataclasses.replace(
        cfg,
        model=dataclasses.replace(cfg.model, finetune="frozen"),
        data=dataclasses.replace(cfg.data, cache_features=True, fresh_pictures=0, views=cfg.data.views or 8),
        augment=dataclasses.replace(cfg.augment, mixup=0.0),
        loss=dataclasses.replace(cfg.loss, landmark_weight=0.0),
        trainer=dataclasses.replace(
            cfg.trainer, progress=False, patience=cfg.trainer.max_epochs, compile=False, ema=0.0
        ),
        cache_dir=str(_without_features(cache_folder(cfg.cache_dir), scratch / "cache")),
        test=False,
    )
    check(cfg)
    with Peak() as peak, redirect_stdout(io.StringIO()):  # runs print their scores
        # what is imported and read for the first time; without features, which the first run is to make
        train.begin(_keeping_none(cfg), _job(scratch / "warm up", Kept()), [_Epochs(0)])
        kept = Kept()
        first = _seconds(cfg, scratch / "first", kept)
        more = [_seconds(_other(cfg, k), scratch / f"more {k}", kept) for k in range(N_MORE)]
        uncached, n_epochs = _uncached(cfg, scratch, budget)
        bench = Bench(dataclasses.replace(cfg, test=None), scratch, "features ", kept)
        rates = alternate([loading(bench)], budget)
    further = median(more)
    found.stages["features from the cache"] = rates.as_json()[f"{bench.label}loader"]
    found.memory["sweep"] = peak.as_json()
    found.more["sweep"] = {
        "epochs": cfg.trainer.max_epochs,
        "first_run_s": round(first, 2),
        "further_settings_s": [round(seconds, 2) for seconds in more],
        "uncached_run_s": round(uncached, 2),
        "uncached_epochs_measured": n_epochs,
    }
    measured = f"{further:.3g} of {uncached:.3g} s"
    found.add("one more setting / uncached run", further / uncached, measured, FURTHER_OVER_UNCACHED)
    typed = dataclasses.replace(cfg, trainer=dataclasses.replace(cfg.trainer, patience=patience))
    one, all_jobs = _commands(typed, scratch)
    found.more["sweep"] |= {"one_command_s": round(one, 2), "sweep_command_s": round(all_jobs, 2)}
    n_jobs = math.prod(len(choices.split(",")) for choices in GRID)
    words = f"{all_jobs:.3g} of {one:.3g} s, whole commands"
    found.add(f"sweep of {n_jobs} / its first run with report", all_jobs / one, words, SWEEP_OVER_FIRST)


def _commands(cfg: TrainConfig, scratch: Path) -> tuple[float, float]:
    """Seconds of `fer.train` with these settings, and of the sweep; each has to make the features."""
    swept = {word.split("=")[0] for word in GRID} | {
        f"optimizer.{each.name}" for each in dataclasses.fields(cfg.optimizer)
    }

    def words(name: str, without: Collection[str]) -> list[str]:
        cache = _without_features(Path(str(cfg.cache_dir)), scratch / f"cache of {name}")
        return starting.words_for(
            dataclasses.replace(cfg, cache_dir=str(cache)), scratch / f"settings of {name}", without
        )

    one, many = words("one", ()), words("sweep", swept)
    first = starting.seconds(["fer.train", *one, f"run_dir='{scratch / 'one command'}'"])
    return first, starting.seconds(["fer.train", "-m", *many, f"hydra.sweep.dir='{scratch / 'sweep'}'", *GRID])


def _without_features(cache: Path, place: Path) -> Path:
    """A cache folder with all that is in `cache` but features."""
    place.mkdir()
    for folder in cache.iterdir() if cache.is_dir() else ():
        if folder.is_dir() and folder.name != "features":
            (place / folder.name).symlink_to(folder, target_is_directory=True)
    return place


def _other(cfg: TrainConfig, k: int) -> TrainConfig:
    return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, dense=64 * (k + 1)))


def _job(folder: Path, kept: Kept) -> Call:
    return Call("", (), folder, kept)


def _keeping_none(cfg: TrainConfig) -> TrainConfig:
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, cache_features=False))


def _seconds(cfg: TrainConfig, folder: Path, kept: Kept) -> float:
    started = time.perf_counter()
    train.begin(cfg, _job(folder, kept))
    return time.perf_counter() - started


def _uncached(cfg: TrainConfig, scratch: Path, budget: float) -> tuple[float, int]:
    """Seconds of a run that puts every picture through the backbone in every epoch, and how many of its epochs were run.

    The rest is reckoned from their pace.
    """
    epochs = _Epochs(budget)
    started = time.perf_counter()
    train.begin(_keeping_none(cfg), _job(scratch / "uncached", Kept()), [epochs])
    seconds = time.perf_counter() - started
    return seconds + (cfg.trainer.max_epochs - len(epochs.seconds)) * median(epochs.seconds), len(epochs.seconds)


class _Epochs(Callback):
    """Ends training at the end of the epoch in which the budget is spent."""

    def __init__(self, budget: float) -> None:
        self.budget, self.seconds = budget, list[float]()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self.started)
        trainer.should_stop = sum(self.seconds) >= self.budget
