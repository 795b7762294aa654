"""From a trial's point to the settings of its run, and to the experiment file that trains the best ones."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from fer.cli.command import Call, settings
from fer.config import OF_A_RUN, TrainConfig, TuneConfig, as_dict, flat, nested, resolve, settings_of
from fer.runs.folder import write_text
from fer.tuning.space import Space, as_override

_OF_THE_SEARCH = set(OF_A_RUN) | set(dict(settings_of(TuneConfig))) - set(dict(settings_of(TrainConfig)))


def typed_for(call: Call, point: Mapping[str, Any], space: Space) -> list[str]:
    """What would be typed for `fer.train` to run one point: what was typed for the search, and the point, groups first."""
    passed_on = [o for o, key in zip(call.overrides, call.keys, strict=True) if key not in _OF_THE_SEARCH]
    keys = sorted(space, key=lambda key: "." in key)
    return [*passed_on, *(as_override(key, point[key]) for key in keys), "test=false"]


def composed(typed: list[str]) -> TrainConfig:
    """The checked settings of `python -m fer.train` with these overrides.

    Raises:
        FerError: a rule between settings does not hold.
    """
    ConfigStore.instance().store("train_schema", node=TrainConfig)
    cfg: TrainConfig = settings(TrainConfig, compose("train", typed))
    return cfg


def write_best(folder: Path, cfg: TrainConfig, name: str, about: str) -> str:
    """Writes `experiment/tuned.yaml`: every setting of the best trial that is not the default.

    Args:
        cfg: the best trial's settings.
        name: of the run that will be trained with them.
        about: one line on the study and the trial.

    Returns:
        The line that trains it, test people and all.
    """
    best, default = (dict(flat(as_dict(resolve(of)))) for of in (cfg, composed([])))
    changed = [(k, v) for k, v in {**best, "name": name}.items() if k not in ("run_dir", "test") and v != default[k]]
    line = f"python -m fer.train --config-dir {_quoted(folder)} experiment=tuned"
    (folder / "experiment").mkdir(exist_ok=True)
    text = f"# @package _global_\n# {about}\n# {line}\n{OmegaConf.to_yaml(nested(changed))}"
    write_text(folder / "experiment" / "tuned.yaml", text)
    return line


def _quoted(folder: Path) -> str:
    near = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    return shlex.quote(str(near))
