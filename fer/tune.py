"""Tune: searches the settings of fer.train for the best validation score, with Optuna.

The same line again goes on with the search, and typed twice it makes two workers that share it. Nobody looks at the test people.
Every setting of fer.train may be typed; those of the search file are searched, unless typed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fer import train
from fer.cli.command import Call, command
from fer.config import TrainConfig, TuneConfig, resolve
from fer.errors import FerError, Interrupted, NotWritten, first_line
from fer.runs.jobs import why_dead
from fer.steps.early import check_names

if TYPE_CHECKING:
    import optuna

    from fer.runs.jobs import Kept
    from fer.tuning.worker import Worker

log = logging.getLogger("fer.tune")  # not __name__: run with -m it is __main__

MAX_FAILURES = 5
"""Failed trials in a row that end a search: it is then not the settings."""


def run(cfg: TuneConfig, call: Call) -> float | None:
    """One worker of a search, from the start or on; returns the best validation score of the study."""
    check_optuna()
    from fer.tuning.space import read_space

    space = read_space(cfg.search, call.keys)
    folder = Path(cfg.run_dir or Path("outputs", "tune", cfg.name)).expanduser().absolute()
    data = look_at_data(resolve(cfg), folder, call.kept)
    from fer.tuning.study import n_finished, open_study
    from fer.tuning.worker import Worker

    folder.mkdir(parents=True, exist_ok=True)
    study = open_study(cfg, folder, space, data)
    log.info("study folder: %s, %d of %d trials finished", folder, n_finished(study.trials), cfg.n_trials)
    worker = Worker(study, space, folder, cfg.n_trials, cfg.seed, cfg.timeout)
    try:
        search(worker, cfg, call, folder)
    except (KeyboardInterrupt, Interrupted):
        n_done = n_finished(study.trials)
        log.warning("stopped with %d of %d trials finished; the same line goes on: %s", n_done, cfg.n_trials, _line())
        sys.exit(130)
    return report(worker, cfg, call, folder)


def check_optuna() -> None:
    """Refuses to begin without Optuna.

    Raises:
        FerError: it is not installed; says how to.
    """
    if importlib.util.find_spec("optuna") is None:
        raise FerError("fer.tune needs Optuna: pip install 'fer-lightning[sweep]'")


def look_at_data(cfg: TrainConfig, folder: Path, kept: Kept) -> dict[str, str]:
    """Reads the data, for every trial that wants the same, and refuses now what all of them would refuse.

    Raises:
        FerError: see `fer.steps.building`.
    """
    check_names(cfg, folder / "trials" / "new")
    from fer.data.splits import split_hash
    from fer.steps import building, checks, reading  # torch and all: only now that the settings are known to be good

    checks.check_early(cfg, folder / "trials" / "new")
    data = reading.read_data(cfg, kept)
    building.read_weights(cfg)
    assert data.prepared.split is not None
    return {"data_fingerprint": data.prepared.fingerprint, "split_hash": split_hash(data.prepared.split.astype(str))}


def search(worker: Worker, cfg: TuneConfig, call: Call, folder: Path) -> None:
    """Takes trials and runs them until the study has enough.

    Raises:
        FerError: too many trials in a row failed.
    """
    from fer.tuning.messages import trial_line
    from fer.tuning.study import best_trial, n_finished

    failures = 0
    while (trial := worker.take()) is not None:
        with worker.alive(trial):
            twin = worker.twin(trial)
            if twin:
                worker.repeat(trial, twin)
            else:
                evaluate(trial, worker, cfg, call, folder)
        trials = worker.study.trials
        ended = trials[trial.number]
        log.info(trial_line(ended, worker.space, n_finished(trials), cfg.n_trials, best_trial(trials)))
        failures = failures + 1 if "error" in ended.user_attrs else 0
        if failures == MAX_FAILURES:
            raise FerError(f"{failures} trials in a row failed, the last because: {ended.user_attrs['error']}")


def evaluate(trial: optuna.Trial, worker: Worker, cfg: TuneConfig, call: Call, folder: Path) -> None:
    """Runs a trial as `fer.train` would, without the test people, and tells the study what came of it."""
    import optuna
    from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

    from fer.tuning import messages
    from fer.tuning.folders import keep_checkpoints, note_pruned, trial_folder
    from fer.tuning.pruning import Prune
    from fer.tuning.settings import composed, typed_for

    lost, pruned = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.PRUNED
    where = trial_folder(folder, trial.number)
    try:
        typed = typed_for(call, trial.params, worker.space)
        run_cfg = dataclasses.replace(composed(typed), name=f"{cfg.name}-{trial.number}", run_dir=str(where))
        line = Call(shlex.join(["python", "-m", "fer.train", *typed]), tuple(typed), None, call.kept, one_of_many=True)
        with messages.of_a_trial():
            score = train.begin(run_cfg, line, [Prune(trial)])
        if score is None:
            raise FerError("there is no validation score: no label could be judged")
        if dead := why_dead(where):
            trial.set_user_attr("dead", dead)
        worker.study.tell(trial, score, skip_if_finished=True)
    except optuna.TrialPruned:
        note_pruned(where)
        worker.study.tell(trial, state=pruned, skip_if_finished=True)
    except UpdateFinishedTrialError:  # after a long sleep of this machine
        log.warning("trial %d: another worker took this one for dead, and tries its point again", trial.number)
    except (KeyboardInterrupt, Interrupted, OSError, NotWritten, StorageInternalError):
        # not the setting's fault: it is tried again at the next start
        with suppress(UpdateFinishedTrialError, StorageInternalError):
            trial.set_user_attr("interrupted", True)
            worker.study.tell(trial, state=lost, skip_if_finished=True)
        raise
    except Exception as error:  # a setting that can't be trained (nan, out of memory) must not lose the rest
        if not isinstance(error, FerError):
            log.exception("trial %d", trial.number)
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("error", first_line(error) if isinstance(error, FerError) else repr(error)[:300])
        # not as failed: the sampler learns to stay away from pruned points, and forgets failed ones
        worker.study.tell(trial, state=pruned, skip_if_finished=True)
    keep_checkpoints(folder, worker.study, cfg.checkpoints)


def report(worker: Worker, cfg: TuneConfig, call: Call, folder: Path) -> float | None:
    """Prints and writes what was found; returns the best score.

    Raises:
        FerError: no trial of all could be trained to the end.
    """
    from fer.terminal import short
    from fer.tuning.folders import trial_folder
    from fer.tuning.messages import outcome
    from fer.tuning.settings import composed, typed_for, write_best
    from fer.tuning.study import best_trial
    from fer.tuning.summary import write_summary

    trials = worker.study.trials
    if not trials:
        raise FerError("no trial was run")
    best, line = best_trial(trials), None
    if best is not None:
        about = f"Trial {best.number} of {folder.name}: validation score {short(best.value)}"
        line = write_best(folder, composed(typed_for(call, best.params, worker.space)), f"{cfg.name}-best", about)
    write_summary(folder, worker.study, worker.space, cfg.seed, line)
    if best is None:
        raise FerError(f"none of {len(trials)} trials has a score; the last one: {outcome(trials[-1])}")
    if (
        (where := trial_folder(folder, best.number)) / "checkpoints" / "best.ckpt"
    ).is_file():  # a repeated point has none
        train.report_best(where)
    if "dead" in best.user_attrs:
        print(f"every trial that was run to its end is dead, the best of them, too: {best.user_attrs['dead']}")
    print(
        f"best: trial {best.number}, validation score {short(best.value)}; to train its settings and judge them on the test people:\n{line}"
    )
    return best.value


def _line() -> str:
    return shlex.join(["python", "-m", "fer.tune", *sys.argv[1:]])


main = command("tune", run)

if __name__ == "__main__":
    main()
