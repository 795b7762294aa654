"""One worker of a study: takes trials in turn with the others, takes up those of the dead, and stops when the total is reached."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from fer.errors import first_line
from fer.tuning.space import Space
from fer.tuning.study import N_STARTUP, is_finished, is_lost, my_turn, n_finished, next_attempt

log = logging.getLogger(__name__)

SIGN_EVERY, DEAD_AFTER = 30.0, 180.0
"""Seconds between two signs of life of a running trial, and without one until its worker counts as dead."""

LOOK_EVERY = 2.0
"""Seconds between two looks at the trials of other workers."""


class Worker:
    """Takes trials from a study that others may work on, too.

    Args:
        folder: of the study; workers on one machine take turns by a lock in it.
        n_trials: finished trials in all, of all workers and starts.
        seed: with the number of trials so far, fixes the next point: no start and no worker repeats another's points.
        timeout: seconds after which no new trial is taken, None for no limit.
    """

    def __init__(
        self, study: optuna.Study, space: Space, folder: Path, n_trials: int, seed: int, timeout: float | None = None
    ) -> None:
        self.study, self.space, self.n_trials, self.seed = study, space, n_trials, seed
        self.turn = my_turn(folder)
        self.end = time.monotonic() + (float("inf") if timeout is None else timeout)
        self.me = f"{platform.node()} {os.getpid()}"

    def take(self) -> optuna.Trial | None:
        """The next trial, or None when enough are finished; waits while the last ones run elsewhere, as one may have to be repeated."""
        waiting = False
        while time.monotonic() < self.end:
            with self.turn:
                self._take_up_lost()
                trials = self.study.get_trials(deepcopy=False)
                n_running = sum(t.state == TrialState.RUNNING for t in trials)
                if n_finished(trials) >= self.n_trials:
                    return None
                if n_finished(trials) + n_running < self.n_trials:
                    return self._ask(len(trials))
            if not waiting:
                log.info("waiting for other workers: they have the last %d trials", n_running)
                waiting = True
            time.sleep(LOOK_EVERY)
        log.info("timeout: this worker takes no new trial")
        return None

    def _ask(self, n_trials: int) -> optuna.Trial:
        seed = int(np.random.SeedSequence([self.seed, n_trials]).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=N_STARTUP, multivariate=True, constant_liar=True, seed=seed
        )
        trial = self.study.ask(self.space)
        trial.set_user_attr("worker", self.me)
        trial.set_user_attr("alive", time.time())
        return trial

    def _take_up_lost(self) -> None:
        """Fails the running trials of dead workers, and queues what was lost, by them or by Ctrl-C, once more."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_dead(trial):
                log.warning("trial %d: its worker is gone; it is tried again", trial.number)
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        trials = self.study.get_trials(deepcopy=False)
        retried = {t.user_attrs.get("retry_of") for t in trials}
        for trial in trials:
            drawn = set(trial.params) == set(self.space)  # else it was lost before
            if is_lost(trial) and drawn and not is_finished(trial) and trial.number not in retried:
                self.study.enqueue_trial(trial.params, {"retry_of": trial.number, "attempt": next_attempt(trial)})

    def twin(self, trial: optuna.Trial) -> FrozenTrial | None:
        """An earlier trial of the same point that has ended by itself; waits for one that runs elsewhere."""
        while True:
            same = [
                t
                for t in self.study.get_trials(deepcopy=False)
                if t.number < trial.number
                and t.params == trial.params
                and not (t.state == TrialState.RUNNING and is_dead(t))
            ]
            ended = [t for t in same if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
            if ended or not any(t.state == TrialState.RUNNING for t in same):
                return ended[0] if ended else None
            time.sleep(LOOK_EVERY)

    def repeat(self, trial: optuna.Trial, twin: FrozenTrial) -> None:
        """Gives a trial the result of its twin instead of running it again."""
        with suppress(UpdateFinishedTrialError):  # taken for dead by another worker
            trial.set_user_attr("same_as", twin.user_attrs.get("same_as", twin.number))
            for word in {"dead", "error"} & twin.user_attrs.keys():
                trial.set_user_attr(word, twin.user_attrs[word])
            for step, score in twin.intermediate_values.items():
                trial.report(score, step)
        if twin.state == TrialState.COMPLETE:
            self.study.tell(trial, twin.value, skip_if_finished=True)
        else:
            self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Gives signs of life for a trial while it runs."""
        ended = Event()

        def sign() -> None:
            while not ended.wait(SIGN_EVERY):
                try:
                    trial.set_user_attr("alive", time.time())
                except UpdateFinishedTrialError:  # taken for dead by another worker, after a long sleep
                    return
                except Exception as error:  # of whatever storage it is: the next sign may come through
                    log.warning("trial %d: no sign of life could be given (%s)", trial.number, first_line(error))

        thread = Thread(target=sign, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def is_dead(trial: FrozenTrial) -> bool:
    """Whether a running trial's worker is gone: its process is, if that can be seen from here, or there are no more signs of life."""
    if "alive" not in trial.user_attrs:  # between two writes of a living worker, or of one that was killed there
        started = trial.datetime_start
        return started is not None and (datetime.now() - started).total_seconds() > DEAD_AFTER
    node, process = trial.user_attrs["worker"].rsplit(" ", 1)
    gone = node == platform.node() and os.name == "posix" and not _runs(int(process))
    return gone or bool(time.time() - trial.user_attrs["alive"] > DEAD_AFTER)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # no signal: only asks
    except ProcessLookupError:
        return False
    except PermissionError:  # it does, as somebody else's
        pass
    return True
