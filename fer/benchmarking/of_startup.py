"""`what=startup`: seconds from the line typed to its answer: help, a mistake, the first step of training with a warm cache."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from omegaconf import OmegaConf

from fer.benchmarking.composing import composed
from fer.benchmarking.findings import Findings
from fer.config import NAMES_OF_GROUPS, TrainConfig, as_dict, flat, settings_of
from fer.errors import FerError

ANSWER = "<= 1.5"
FIRST_STEP = "<= 12"
TIMES = 3
TIMEOUT = 600


def measure(cfg: TrainConfig, scratch: Path, found: Findings) -> None:
    """Adds the seconds to `found`: the median of three starts, of training of two."""
    _add("python -m fer.train --help", ["fer.train", "--help"], 0, TIMES, ANSWER, found)
    _add("python -m fer.train with a mistyped key", ["fer.train", "model.dens=1"], 2, TIMES, ANSWER, found)
    words = [*typed_for(cfg), f"run_dir='{scratch / 'first step'}'"]
    _seconds(["fer.benchmarking.first_step", *words], 0)  # fills the cache
    _add("fer.train to its first step", ["fer.benchmarking.first_step", *words], 0, TIMES - 1, FIRST_STEP, found)


def typed_for(cfg: TrainConfig) -> list[str]:
    """What would be typed for `fer.train` to get these settings."""
    now, usual = dict(flat(as_dict(cfg))), composed("train", ())
    groups = [
        f"{key.removesuffix('.name')}={now[key]}" for key in NAMES_OF_GROUPS if now[key] != OmegaConf.select(usual, key)
    ]
    usual = composed("train", groups)  # a group brings settings of its own
    keys = [key for key, _ in settings_of(TrainConfig) if key not in ("run_dir", "resume", "test", "name")]
    others = [key for key in keys if now[key] != _plain(OmegaConf.select(usual, key))]
    return [*groups, *(f"{key}={_quoted(now[key])}" for key in others)]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _quoted(value: Any) -> str:
    return "'" + value.replace("'", "\\'") + "'" if isinstance(value, str) else json.dumps(value)


def _add(name: str, words: Sequence[str], status: int, times: int, goal: str, found: Findings) -> None:
    before = _core_seconds()
    seconds = sorted(_seconds(words, status) for _ in range(times))
    cores = (_core_seconds() - before) / times
    found.add(f"{name}, s", median(seconds), f"{seconds[0]:.2f} to {seconds[-1]:.2f} s, {cores:.2f} core s", goal)
    found.more.setdefault("startup_s", {})[name] = [round(each, 3) for each in seconds]


def _core_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(words: Sequence[str], status: int) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode != status:
        raise FerError(f"python -m {words[0]} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return time.perf_counter() - started
