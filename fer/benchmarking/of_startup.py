"""`what=startup`: seconds from the line typed to its answer: help, a mistake, the first step of training with a warm cache."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from fer.benchmarking import starting
from fer.benchmarking.findings import Findings
from fer.config import TrainConfig

ANSWER = "<= 1.5"
FIRST_STEP = "<= 12"
TIMES = 3


def measure(cfg: TrainConfig, scratch: Path, found: Findings) -> None:
    """Adds the seconds to `found`: the median of three starts, of training of two."""
    _add("python -m fer.train --help", ["fer.train", "--help"], 0, TIMES, ANSWER, found)
    _add("python -m fer.train with a mistyped key", ["fer.train", "model.dens=1"], 2, TIMES, ANSWER, found)
    missing = ["fer.train", "data=ckplus", f"data.root='{scratch / 'nowhere'}'"]
    _add("python -m fer.train with a folder that is not there", missing, 2, TIMES, ANSWER, found)
    words = [*starting.words_for(cfg, scratch / "settings"), f"run_dir='{scratch / 'first step'}'"]
    starting.seconds(["fer.benchmarking.first_step", *words])  # fills the cache
    _add("fer.train to its first step", ["fer.benchmarking.first_step", *words], 0, TIMES - 1, FIRST_STEP, found)


def _add(name: str, words: Sequence[str], status: int, times: int, goal: str, found: Findings) -> None:
    before = _core_seconds()
    seconds = sorted(starting.seconds(words, status) for _ in range(times))
    cores = (_core_seconds() - before) / times
    found.add(f"{name}, s", median(seconds), f"{seconds[0]:.2f} to {seconds[-1]:.2f} s, {cores:.2f} core s", goal)
    found.more.setdefault("startup_s", {})[name] = [round(each, 3) for each in seconds]


def _core_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
