"""Evaluate: the full table for any checkpoint on any data.

With the run's own data it repeats the numbers of its run folder; with other data it judges every picture that the model never saw.
Crop, size, names and thresholds are the checkpoint's own.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from fer.cli import Call, command
from fer.config import DataConfig, EvaluateConfig, absolute, as_dict, bad_source, from_dict
from fer.errors import FerError
from fer.runs import RunFolder, default_run_dir

log = logging.getLogger(__name__)

OF_THE_MODEL = ("image_size", "crop", "color", "emotions", "aus")
"""Data settings that the network was trained with: other values would feed it other pictures, or ask it for other answers."""


def run(cfg: EvaluateConfig, call: Call) -> float | None:
    """One evaluation; returns its score."""
    from fer import judging  # torch and all: only now that the settings are known to be good

    assert cfg.checkpoint is not None  # config.check
    path = judging.find_checkpoint(cfg.checkpoint)
    module, card = judging.load_module(path)
    own = from_dict(DataConfig, card["data"], str(path))
    data_cfg = chosen_data(own, cfg.data, call.typed("data"))
    data, part = judging.read_data(data_cfg, module, card, cfg.split, cfg.cache_dir, progress=cfg.trainer.progress)
    name = cfg.name or str(card["name"])
    where = Path(cfg.run_dir).expanduser().absolute() if cfg.run_dir else default_run_dir("evaluate", name)
    folder = RunFolder.create(where, {**as_dict(cfg), "name": name, "data": as_dict(data_cfg)}, call.line)
    folder.note(
        checkpoint=str(path),
        split=part,
        data=judging.about_data(data_cfg, data.prepared),
        weights={"source": card["weights"]},
    )
    predictions = judging.predict(module, data, [part], cfg.trainer.accelerator)
    metrics = judging.judge_and_write(folder, predictions, card)
    score: float | None = metrics[part]["score"]
    return score


def chosen_data(own: DataConfig, typed: DataConfig, overrides: list[str]) -> DataConfig:
    """The run's own data, changed by what was typed; anew from `data=NAME`, if that was.

    Raises:
        FerError: a setting was typed that is the model's to make, or the reader lacks its folder or table.
    """
    keys = {o.split("=")[0].removeprefix("data.") for o in overrides}
    fixed = sorted(keys & set(OF_THE_MODEL))
    if fixed:
        raise FerError(
            f"data.{fixed[0]} is stored in the checkpoint ({getattr(own, fixed[0])}) and can't be changed here"
        )
    if "data" in keys:
        chosen = dataclasses.replace(typed, **{k: getattr(own, k) for k in OF_THE_MODEL})
    else:
        chosen = dataclasses.replace(own, **{k: getattr(typed, k) for k in keys})
    problems = bad_source(chosen)
    if problems:
        raise FerError(problems[0])
    return absolute(chosen)


main = command("evaluate", run)

if __name__ == "__main__":
    main()
