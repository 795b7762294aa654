"""Train: a folder of faces in, a judged model out.

Reads the data, splits it by person, fits with early stopping, judges the best checkpoint on people it never saw, and leaves
a run folder with curves, scores, predictions and a report. Works without any argument, on drawn faces.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

from fer.cli import Call, command
from fer.config import TrainConfig, as_dict, from_dict, resolve
from fer.errors import FerError
from fer.runs import RunFolder, default_run_dir

log = logging.getLogger(__name__)

CHANGEABLE = ("resume", "trainer.max_epochs", "trainer.patience", "trainer.progress", "data.workers", "cache_dir")
"""What may be typed beside `resume=`: the rest would make it another run."""


def run(cfg: TrainConfig, call: Call) -> float | None:
    """One training run, new or resumed; returns the validation score of its best checkpoint."""
    cfg = resumed(cfg, call) if cfg.resume else resolve(cfg)
    from fer import training  # torch and all: only now that the settings are known to be good

    data = training.read_data(cfg)
    if cfg.resume:
        folder = RunFolder.open(Path(cfg.resume))
        module = training.rebuild_module(folder, data)
    else:
        weights = training.read_weights(cfg)
        module = training.build_module(cfg, data, weights)
        where = call.sweep_dir or (
            Path(cfg.run_dir).expanduser().absolute() if cfg.run_dir else default_run_dir("train", cfg.name)
        )
        folder = RunFolder.create(where, as_dict(cfg), call.line)
        training.describe(folder, cfg, data, weights)
    folder.log_to_file()
    log.info("run folder: %s", folder.path)
    try:
        training.fit(cfg, folder, module, data)
    except training.Interrupted:
        log.warning("stopped; go on with: python -m fer.train resume=%s", folder.path)
        sys.exit(130)
    test = cfg.test if cfg.test is not None else call.sweep_dir is None
    return training.judge_best(cfg, folder, data, test=test)


def resumed(cfg: TrainConfig, call: Call) -> TrainConfig:
    """The settings of the run to go on with, with what may be changed.

    Raises:
        FerError: no such run, it is finished, or something was typed that would make it another run.
    """
    assert cfg.resume is not None
    path = Path(cfg.resume).expanduser().absolute()
    folder = RunFolder.open(path)
    other = [o for o in call.overrides if o.split("=")[0] not in CHANGEABLE]
    if other:
        raise FerError(
            f"resume={cfg.resume} goes on with the settings of that run; {', '.join(other)} would change them "
            f"(may change: {', '.join(CHANGEABLE[1:])})"
        )
    old: TrainConfig = from_dict(TrainConfig, folder.config(), str(path / "config.yaml"))
    typed = {o.split("=")[0] for o in call.overrides}
    trainer = {k: getattr(cfg.trainer, k) for k in ("max_epochs", "patience", "progress") if f"trainer.{k}" in typed}
    if folder.about["finished"] and "max_epochs" not in trainer:
        raise FerError(f"resume={cfg.resume}: that run is finished; trainer.max_epochs=N would train it further")
    if trainer.get("max_epochs", old.trainer.max_epochs) != old.trainer.max_epochs and old.scheduler.name == "cosine":
        raise FerError(
            f"resume={cfg.resume}: scheduler=cosine was planned for {old.trainer.max_epochs} epochs and can't be made longer"
        )
    changes: dict[str, Any] = {"resume": str(path), "trainer": dataclasses.replace(old.trainer, **trainer)}
    if "data.workers" in typed:
        changes["data"] = dataclasses.replace(old.data, workers=cfg.data.workers)
    if "cache_dir" in typed:
        changes["cache_dir"] = cfg.cache_dir
    return dataclasses.replace(old, **changes)


main = command("train", run)

if __name__ == "__main__":
    main()
