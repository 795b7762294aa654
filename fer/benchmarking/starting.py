"""Whole commands, as a user starts them: what to type for some settings, and how long it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from fer.benchmarking.composing import composed
from fer.config import NAMES_OF_GROUPS, TrainConfig, as_dict, flat, settings_of
from fer.errors import FerError

TIMEOUT = 3600


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


def seconds(words: Sequence[str], status: int = 0) -> float:
    """From the line typed to its end.

    Raises:
        FerError: it ended with another status, or not at all.
    """
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FerError(f"python -m {words[0]} did not end within {TIMEOUT} s") from error
    if done.returncode != status:
        raise FerError(f"python -m {words[0]} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return time.perf_counter() - started
