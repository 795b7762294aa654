"""Train: a folder of faces in, a judged model out.

Reads the data, splits it by person, fits with early stopping, judges the best checkpoint on people it never saw, and leaves
a run folder with curves, scores, predictions and a report. Works without any argument, on drawn faces.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer.cli import Call, command
from fer.config import TrainConfig, as_dict, from_dict, resolve
from fer.errors import FerError, Interrupted
from fer.runs import RunFolder, default_run_dir

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback

    from fer.data.datamodule import FaceData
    from fer.model.module import FaceModule

log = logging.getLogger("fer.train")  # not __name__: run with -m it is __main__

CHANGEABLE = ("resume", "trainer.max_epochs", "trainer.progress", "data.workers", "cache_dir")
"""What may be typed beside `resume=`: the rest would make it another run."""


def run(cfg: TrainConfig, call: Call) -> float | None:
    """One training run, new or resumed; returns the validation score of its best checkpoint."""
    try:
        return resume(cfg, call) if cfg.resume else begin(cfg, call)
    except Interrupted as stopped:
        log.warning("stopped; go on with: python -m fer.train resume=%s", stopped)
        sys.exit(130)


def begin(cfg: TrainConfig, call: Call, callbacks: Sequence[Callback] = ()) -> float | None:
    """A new run, watched by `callbacks` beside its own.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; says in which run folder.
    """
    # settled now and saved: a job of a sweep stays away from the test people when it is resumed alone, too
    cfg = dataclasses.replace(resolve(cfg), test=call.sweep_dir is None if cfg.test is None else cfg.test)
    from fer import training  # torch and all: only now that the settings are known to be good

    chosen = Path(cfg.run_dir).expanduser().absolute() if cfg.run_dir else default_run_dir("train", cfg.name)
    where = call.sweep_dir or chosen
    training.check_early(cfg, where)
    data = training.read_data(cfg)
    weights = training.read_weights(cfg)
    module = training.build_module(cfg, data, weights)
    folder = RunFolder.create(where, as_dict(cfg), call.line)
    training.describe(folder, cfg, data, weights)
    return finish(cfg, folder, module, data, callbacks)


def resume(cfg: TrainConfig, call: Call) -> float | None:
    """Goes on with a run that was stopped, or trains a finished one for more epochs."""
    assert cfg.resume is not None
    folder = RunFolder.open(Path(cfg.resume).expanduser().absolute())
    cfg = resumed(cfg, call, folder)
    from fer import training

    data = training.read_data(cfg)
    module = training.rebuild_module(folder, data)
    folder.keep_config({**as_dict(cfg), "resume": None})
    folder.note(finished=False)
    return finish(cfg, folder, module, data)


def finish(
    cfg: TrainConfig, folder: RunFolder, module: FaceModule, data: FaceData, callbacks: Sequence[Callback] = ()
) -> float | None:
    """Fits and judges, in the run folder."""
    from fer import training

    folder.log_to_file("train.log")
    log.info("run folder: %s", folder.path)
    try:
        training.fit(cfg, folder, module, data, callbacks)
    except Interrupted as stopped:
        raise Interrupted(str(folder.path)) from stopped
    return training.judge_best(cfg, folder, data)


def resumed(cfg: TrainConfig, call: Call, folder: RunFolder) -> TrainConfig:
    """The settings of the run to go on with, with what may be changed.

    Raises:
        FerError: the run is finished, or something was typed that would make it another run.
    """
    other = [override for override, key in zip(call.overrides, call.keys, strict=True) if key not in CHANGEABLE]
    if other:
        raise FerError(
            f"resume={cfg.resume} goes on with the settings of that run; {', '.join(other)} would change them "
            f"(may change: {', '.join(CHANGEABLE[1:])})"
        )
    old: TrainConfig = from_dict(TrainConfig, folder.config(), str(folder.path / "config.yaml"))
    n_epochs = cfg.trainer.max_epochs if "trainer.max_epochs" in call.keys else old.trainer.max_epochs
    if folder.about["finished"] and n_epochs <= old.trainer.max_epochs:
        raise FerError(
            f"resume={cfg.resume}: that run is finished; trainer.max_epochs above {old.trainer.max_epochs} trains it further"
        )
    if n_epochs != old.trainer.max_epochs and old.scheduler.name == "cosine":
        raise FerError(
            f"resume={cfg.resume}: scheduler=cosine was planned for {old.trainer.max_epochs} epochs, no more and no less"
        )
    progress = cfg.trainer.progress if "trainer.progress" in call.keys else old.trainer.progress
    return dataclasses.replace(
        old,
        resume=str(folder.path),
        trainer=dataclasses.replace(old.trainer, max_epochs=n_epochs, progress=progress),
        data=dataclasses.replace(old.data, workers=cfg.data.workers) if "data.workers" in call.keys else old.data,
        cache_dir=cfg.cache_dir if "cache_dir" in call.keys else old.cache_dir,
    )


main = command("train", run)

if __name__ == "__main__":
    main()
