"""The study: where it is kept, what it is a study of, and which trials count."""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import distribution_to_json
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from fer.config import OF_A_RUN, TrainConfig, TuneConfig, as_dict, flat, settings_of
from fer.errors import FerError, first_line
from fer.tuning.space import OF_THE_MACHINE, Space

log = logging.getLogger(__name__)

N_STARTUP = 10
"""Random trials before the sampler learns from their scores: Optuna's own number."""

N_BEFORE_PRUNING = 5
"""Whole runs before one is compared with their median: Optuna's own number."""

LOCK = "study.lock"

MAX_ATTEMPTS = 3
"""A trial that took its process with it so often (out of memory, say) is not tried again."""

OF_THE_PLACE = (*OF_A_RUN, *OF_THE_MACHINE, "data.root", "data.table")
"""Settings that may differ between the workers and starts of one study."""


def open_study(cfg: TuneConfig, folder: Path, space: Space, data: dict[str, str]) -> optuna.Study:
    """A new study, or the one that earlier starts and other workers have begun.

    Args:
        data: what the trials are judged on, such as the fingerprint of the data and the hash of the split.

    Raises:
        FerError: the storage can't be reached or read, or its study is one of other settings.
    """
    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # multivariate TPE, since 2021
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    n_warmup = max(1, cfg.trainer.max_epochs // 4)
    pruner = (
        optuna.pruners.MedianPruner(n_startup_trials=N_BEFORE_PRUNING, n_warmup_steps=n_warmup)
        if cfg.pruning
        else optuna.pruners.NopPruner()
    )
    with_what = {
        "settings": _settings(cfg, space),
        "space": {k: distribution_to_json(v) for k, v in space.items()},
        **data,
    }
    try:
        with my_turn(folder):  # a database that two workers make at once is half made twice
            storage = open_storage(cfg.storage, folder)
            if (folder / "trials").exists() and cfg.name not in optuna.get_all_study_names(storage):
                raise FerError(f"{folder} holds trials of another study: {_otherwise(cfg)}")
            study = optuna.create_study(
                storage=storage,
                study_name=cfg.name,
                direction="maximize",
                load_if_exists=True,
                pruner=pruner,
            )
            known = study.user_attrs.get("fer")
            if known is None:
                study.set_user_attr("fer", with_what)
    except FerError:
        raise
    except Exception as error:  # whatever a database, its driver or a damaged file makes them say
        if [path.name for path in folder.iterdir()] == [LOCK]:  # leave nothing where nothing was
            shutil.rmtree(folder)
        # of a driver that is not installed, Optuna says only that there is none
        why = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        raise FerError(f"storage={_shown(cfg.storage, folder)} can't be used: {first_line(why)}") from error
    if known is not None:
        _check_same(known, with_what, cfg)
    return study


def my_turn(folder: Path) -> FileLock:
    """A lock for what only one worker may do at a time, on one machine or on a file system that they share."""
    return FileLock(folder / LOCK)


def open_storage(storage: str | None, folder: Path) -> BaseStorage:
    """A database for a URL, else a journal file: all workers on one machine, or on a file system that they share."""
    if storage and "://" in storage:
        return RDBStorage(storage)
    path = Path(storage).expanduser().absolute() if storage else folder / "study.journal"
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = JournalFileSymlinkLock(str(path))
    backend = JournalFileBackend(str(path), turn)
    turn.acquire()
    try:
        _cut_off_unfinished(path)
    finally:
        turn.release()
    return JournalStorage(backend)


def _cut_off_unfinished(journal: Path) -> None:
    """Takes away a last line that a full disk or a kill left without its end: the next record would be written on to it."""
    with open(journal, "rb+") as file:
        whole = size = file.seek(0, os.SEEK_END)
        while whole and file.seek(whole - 1) >= 0 and file.read(1) != b"\n":
            whole -= 1
        if whole < size:
            file.truncate(whole)
            log.warning("%s: its last line is not whole and is left out", journal)


def _shown(storage: str | None, folder: Path) -> str:
    """Without the password."""
    if storage and "@" in storage:
        return f"{storage.split('://')[0]}://...@{storage.split('@')[-1]}"
    return storage or str(folder / "study.journal")


def _settings(cfg: TuneConfig, space: Space) -> dict[str, Any]:
    """Every setting that makes a trial's score, except those that are searched."""
    learned = dict(settings_of(TrainConfig))
    left_out = (*OF_THE_PLACE, *space)
    return {key: value for key, value in flat(as_dict(cfg)) if key in learned and key not in left_out}


def _otherwise(cfg: TuneConfig) -> str:
    return f"another {'run_dir' if cfg.run_dir else 'name'}= begins another study"


def _check_same(known: dict[str, Any], now: dict[str, Any], cfg: TuneConfig) -> None:
    """Refuses to mix scores that can't be compared.

    Raises:
        FerError: names the first difference.
    """
    name, otherwise = cfg.name, f"scores can't be compared; {_otherwise(cfg)}"
    for key, value in now["settings"].items():
        if key in known["settings"] and known["settings"][key] != json.loads(json.dumps(value)):
            raise FerError(
                f"study {name} was begun with {key}={known['settings'][key]}, now it is {value}: {otherwise}"
            )
    for key in [*known["space"], *now["space"]]:
        if known["space"].get(key) != now["space"].get(key):
            raise FerError(f"study {name} was begun with another range or choice of {key}: {otherwise}")
    for key in ("data_fingerprint", "split_hash"):
        if known[key] != now[key]:
            raise FerError(f"study {name} was begun on other data ({key} differs): {otherwise}")


def is_finished(trial: FrozenTrial) -> bool:
    """Whether a trial counts for `n_trials`: it ended by itself, well or badly, or took its process with it too often."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (
        is_lost(trial) and next_attempt(trial) > MAX_ATTEMPTS
    )


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial ended without a result, by Ctrl-C or with its process. (One with a bad setting has one: it is pruned.)"""
    return trial.state == TrialState.FAIL


def next_attempt(trial: FrozenTrial) -> int:
    """The number of the attempt at a lost trial's point that would be next; Ctrl-C does not count as one."""
    return int(trial.user_attrs.get("attempt", 1)) + (not trial.user_attrs.get("interrupted", False))


def n_finished(trials: Iterable[FrozenTrial]) -> int:
    """How many trials count."""
    return sum(map(is_finished, trials))


def best_trial(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the highest validation score, a dead model only where all are; of equals the first."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    return max(complete, key=lambda t: ("dead" not in t.user_attrs, t.value, -t.number), default=None)
