"""Whole commands, as a user starts them: what to type for some settings, and how long it takes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Container, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from fer.config import TrainConfig, as_dict, flat, nested, settings_of
from fer.errors import FerError

TIMEOUT = 3600


def words_for(cfg: TrainConfig, folder: Path, without: Container[str] = ()) -> list[str]:
    """What is typed for `fer.train` to get these settings: a recipe in `folder`, as not all that a recipe changes can be typed.

    Args:
        without: keys that are left to be typed.
    """
    left_out = {"run_dir", "resume", "test", "name"}
    keys = {key for key, _ in settings_of(TrainConfig) if key not in left_out and key not in without}
    text = OmegaConf.to_yaml(nested((key, value) for key, value in flat(as_dict(cfg)) if key in keys))
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "measured.yaml").write_text(f"# @package _global_\n{text}", encoding="utf-8")
    return ["--config-dir", str(folder), "experiment=measured"]


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
