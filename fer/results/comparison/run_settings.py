"""What runs differ in: in, their settings; out, a column per setting that is not the same in all, and a short name for each run."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fer.config import FREE, OF_A_RUN, flat
from fer.results.comparison.judged_runs import JudgedRun

_NO_SETTINGS = {*OF_A_RUN, *FREE, "sweep"}
"""Keys that make no other model."""

MANY, FEW = 3, 1
"""More settings than `MANY` make no names for runs, if half of these differ from the others in `FEW` at most."""
AS_MOST = "as most"


def settings_that_differ(runs: Sequence[JudgedRun]) -> pd.DataFrame:
    """A row per run, a text column per key that differs: among those that were typed, or else among all."""
    typed = [_typed(run) for run in runs]
    keys = list(dict.fromkeys(key for words in typed for key in words if _is_setting(key)))
    found = {key: [_value(run, words, key) for run, words in zip(runs, typed, strict=True)] for key in keys}
    differing = {key: values for key, values in found.items() if len(set(values)) > 1}
    return pd.DataFrame(differing or _of_configs(runs), index=range(len(runs)))


def _is_setting(key: str) -> bool:
    return key not in _NO_SETTINGS and not key.startswith("hydra")


def _typed(run: JudgedRun) -> dict[str, str]:
    try:
        words = shlex.split(str(run.about.get("command", "")))
    except ValueError:  # not a command line
        return {}
    pairs = (word.lstrip("+").split("=", 1) for word in words if "=" in word)
    return {pair[0]: pair[1] for pair in pairs}


def _value(run: JudgedRun, typed: Mapping[str, str], key: str) -> str:
    """As typed, else from the configuration; a group (`optimizer`) by the name of what was chosen."""
    if key in typed:
        return _plain(typed[key])
    value: Any = run.config
    for part in key.replace("/", ".").split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = value.get("name", value.get("backbone"))
    return _plain(value)


def _plain(value: object) -> str:
    """One way to write a value: `1e-3` and `0.001` are no difference."""
    text = "-" if value is None else str(value)
    if text.lower() in ("true", "false"):
        return text.lower()
    try:
        return text if text.lstrip("-").isdecimal() else f"{float(text):g}"
    except ValueError:
        return text


def _of_configs(runs: Sequence[JudgedRun]) -> dict[str, list[str]]:
    configs = [{key: _plain(value) for key, value in flat(run.config)} for run in runs]
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if _is_setting(key)]
    found = {key: [config.get(key, "-") for config in configs] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _of_most(values: pd.Series) -> str | None:
    value, n = Counter(values).most_common(1)[0]
    return str(value) if n > len(values) / 2 else None


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Each key by its last word, where no other key ends in the same."""
    last = {key: key.replace("/", ".").split(".")[-1] for key in keys}
    counts = Counter(last.values())
    return {key: last[key] if counts[last[key]] == 1 else key for key in keys}


def labels_of(runs: Sequence[JudgedRun], settings: pd.DataFrame) -> list[str]:
    """A name for each run: its differing settings, or its own name, with as much of its folder as keeps names apart.

    Where most runs change a recipe of many settings in one place each, only what is changed is named, and the recipe is `as most`.
    """
    short = short_keys(list(settings.columns))
    common = {key: _of_most(settings[key]) for key in settings.columns}
    n_changed = (settings != pd.Series(common, dtype="object")).sum(axis="columns")
    if len(settings.columns) <= MANY or n_changed.median() > FEW:
        common = dict.fromkeys(common)
    named = [
        " ".join(f"{short[key]}={value}" for key in settings.columns if (value := settings[key].iloc[k]) != common[key])
        or AS_MOST * bool(len(settings.columns))
        for k in range(len(runs))
    ]
    labels = [text or str(run.about.get("name") or run.path.name) for text, run in zip(named, runs, strict=True)]
    counts = Counter(labels)
    labels = [
        label if counts[label] == 1 else f"{label} ({run.path.name})" for label, run in zip(labels, runs, strict=True)
    ]
    counts = Counter(labels)
    return [label if counts[label] == 1 else f"{label} ({run.path})" for label, run in zip(labels, runs, strict=True)]
