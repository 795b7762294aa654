"""With which settings a run that was stopped goes on, and what may be changed of them. Never imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from typing import Any, TypeVar

from fer.cli.command import Call
from fer.config import FREE, TrainConfig, as_dict, flat, from_dict, resolve
from fer.errors import FerError
from fer.runs.folder import RunFolder

CHANGEABLE = ("resume", "trainer.max_epochs", *FREE)
"""What may be typed beside `resume=`: the rest would make it another run."""

C = TypeVar("C", bound=TrainConfig)


def settled(cfg: TrainConfig, call: Call) -> TrainConfig:
    """All that is saved: a job of a sweep stays away from the test people when it is resumed alone, too."""
    return dataclasses.replace(resolve(cfg), test=call.sweep_dir is None if cfg.test is None else cfg.test)


def resumed(cfg: TrainConfig, call: Call, folder: RunFolder) -> TrainConfig:
    """The settings of the run to go on with, with what may be changed.

    Raises:
        FerError: the run is finished, or something was typed that would make it another run.
    """
    old: TrainConfig = from_dict(TrainConfig, folder.config(), str(folder.path / "config.yaml"))
    was, now = dict(flat(as_dict(old))), dict(flat(as_dict(settled(cfg, call))))

    def same(key: str) -> bool:  # of a group all that it brings, of an experiment all that there is
        keys = [k for k in was if key == "experiment" or k == key or k.startswith(f"{key}.")]
        return bool(keys) and all(was[k] == now[k] for k in keys if k == key or k not in {"run_dir", *CHANGEABLE})

    other = [
        override
        for override, key in zip(call.overrides, call.keys, strict=True)
        if key not in CHANGEABLE and not same(key)
    ]
    if other:
        raise FerError(
            f"resume={cfg.resume} goes on with the settings of that run; {', '.join(other)} would change them "
            f"(may change: {', '.join(CHANGEABLE[1:])})"
        )
    n_epochs = cfg.trainer.max_epochs if "trainer.max_epochs" in call.keys else old.trainer.max_epochs
    if folder.about["finished"] and n_epochs <= old.trainer.max_epochs:
        more = f"trainer.max_epochs above {old.trainer.max_epochs} trains it further"
        if old.scheduler.name == "cosine":  # which has come to its end
            more = f"another may start from it: model.weights={folder.path}/checkpoints/best.ckpt"
        raise FerError(f"resume={cfg.resume}: that run is finished; {more}")
    if n_epochs != old.trainer.max_epochs and old.scheduler.name == "cosine":
        raise FerError(
            f"resume={cfg.resume}: scheduler=cosine was planned for {old.trainer.max_epochs} epochs, no more and no less"
        )
    free = freely(old, cfg, call.keys)
    trainer = dataclasses.replace(free.trainer, max_epochs=n_epochs)
    return dataclasses.replace(free, resume=str(folder.path), trainer=trainer)


def freely(old: C, cfg: TrainConfig, keys: Container[str]) -> C:
    """The settings of a run with those of `FREE` that are among `keys` taken from `cfg`."""

    def taken(mine: Any, theirs: Any, name: str, *below: str) -> Any:
        now = getattr(theirs, name)
        return dataclasses.replace(mine, **{name: taken(getattr(mine, name), now, *below) if below else now})

    for key in FREE:
        if key in keys:
            old = taken(old, cfg, *key.split("."))
    return old
