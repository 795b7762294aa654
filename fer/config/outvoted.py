"""Choices that were typed beside an experiment which sets some of their values itself: a word of it. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import OmegaConf

from fer.config.rules import conf_dir
from fer.config.setting import as_dict, flat

METHODS = ("augment", "loss", "optimizer", "scheduler")
"""Groups whose choices bring values of their own. (What a recipe says of data, model and trainer is meant for any choice of these.)"""


def outvoted(cfg: Any, typed: Sequence[str]) -> Iterator[str]:
    """A line for each choice of which the experiment leaves less than was typed.

    Args:
        cfg: the settings of a training run, composed.
        typed: the words of the command line, `key=value`.
    """
    words = dict(word.split("=", 1) for word in typed if "=" in word)
    experiment = words.get("experiment")
    if experiment is None:
        return
    now = dict(flat(as_dict(cfg)))
    for group in METHODS:
        file = conf_dir() / group / f"{words.get(group)}.yaml"
        own = OmegaConf.to_container(OmegaConf.load(file)) if file.is_file() else {}
        others = [
            f"{key}={now[key]:g} (not {value:g})"
            for key, value in flat({group: own})
            if key not in words and isinstance(value, int | float) and now[key] != value
        ]
        if others:
            yield f"{group}={words[group]}: experiment={experiment} sets {', '.join(others)}; type what is to be otherwise"
