"""The text of `--help`: what a command does and every key with its value, meaning and limits."""

from __future__ import annotations

import importlib.util
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from fer.config import NAMES_OF_GROUPS, NEVER_SWEPT, OF_THE_MODEL, SCHEMAS, TrainConfig, conf_dir, settings_of

OF_A_RUN = ("evaluate", "explain")
"""Commands that look at the data of a finished run, unless other data is typed."""


def print_help(name: str) -> None:
    """Prints the help of `python -m fer.<name>` with the values that the command would use."""
    ConfigStore.instance().store(f"{name}_schema", node=SCHEMAS[name])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        values = compose(name)
    several = "" if name in NEVER_SWEPT else "      several values, a run each: -m key=a,b"
    what = "RUN_OR_SWEEP... " if name == "compare" else ""
    print(f"{_purpose(name)}\n\nusage: python -m fer.{name} {what}[key=value ...]{several}\n")
    for folder in sorted(p for p in conf_dir().iterdir() if p.is_dir()):
        trains = folder.name == "experiment" and issubclass(SCHEMAS[name], TrainConfig)
        if folder.name in values or trains or (folder.name == "sweep" and name == "train"):
            print(f"  {folder.name}={'|'.join(sorted(file.stem for file in folder.glob('*.yaml')))}")
    print()
    group = ""
    for key, limits in settings_of(SCHEMAS[name]):
        if key in NAMES_OF_GROUPS:  # said by the group, above
            continue
        if "." in key and key.split(".")[0] != group:
            group = key.split(".")[0]
            print()
        value = OmegaConf.select(values, key)
        if name in OF_A_RUN and key.startswith("data."):
            fixed = key.removeprefix("data.") in OF_THE_MODEL
            value = "(as in the run: can't be changed)" if fixed else "(as in the run)"
        print(f"  {key}={'null' if value is None else value}{_limits(limits)}\n      {limits['help']}")


def _purpose(name: str) -> str:
    """The module's docstring, read without importing it: help must not wait for torch."""
    spec = importlib.util.find_spec(f"fer.{name}")
    assert spec is not None and spec.origin is not None
    with open(spec.origin, encoding="utf-8") as source:
        return source.read().split('"""')[1].strip()


def _limits(limits: Any) -> str:
    if isinstance(limits["choices"], tuple) and limits["choices"]:
        return f"  ({'|'.join(limits['choices'])})"
    words = [
        f"{word} {limits[word] if isinstance(limits[word], int) else format(limits[word], 'g')}"
        for word in ("least", "above", "most", "below")
        if limits[word] is not None
    ]
    return f"  ({', '.join(words)})" if words else ""
