"""What a search says: one line per trial on the terminal, all else in the trial's own log."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from logging.handlers import MemoryHandler

from optuna.trial import FrozenTrial, TrialState

from fer.terminal import short
from fer.tuning.space import Space, varied


class _Once(logging.Filter):
    """Lets a warning through once: fifty trials would say it fifty times."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = record.levelno >= logging.WARNING and message not in self.said
        self.said.add(message)
        return new


_once = _Once()


@contextmanager
def of_a_trial() -> Iterator[None]:
    """Keeps the messages and the table of a run off the terminal, except new warnings; its `train.log` gets them all."""
    logger = logging.getLogger("fer")
    before = logger.handlers[:]
    terminals = [handler for handler in before if not isinstance(handler, MemoryHandler)]
    for handler in terminals:
        handler.addFilter(_once)
    logger.handlers[:] = [*terminals, MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1)]
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for handler in logger.handlers:
            if handler not in before:
                handler.close()
        for handler in terminals:
            handler.removeFilter(_once)
        logger.handlers[:] = before


def trial_line(trial: FrozenTrial, space: Space, n_finished: int, n_trials: int, best: FrozenTrial | None) -> str:
    """`12 of 50  trial 13: score .512, best .530 of trial 4  (optimizer.lr=0.0012 ...; 31 s)`."""
    values = " ".join(f"{key}={in_brief(trial.params[key])}" for key in varied(space))
    seconds = f"; {trial.duration.total_seconds():.0f} s" if trial.duration else ""
    leader = f", best {short(best.value)} of trial {best.number}" if best and best.number != trial.number else ""
    return f"{n_finished} of {n_trials}  trial {trial.number}: {outcome(trial)}{leader}  ({values}{seconds})"


def outcome(trial: FrozenTrial) -> str:
    """What became of a finished trial, in words."""
    if "error" in trial.user_attrs:
        return f"failed: {trial.user_attrs['error']}"
    same = f", as trial {trial.user_attrs['same_as']}" if "same_as" in trial.user_attrs else ""
    if trial.state == TrialState.PRUNED:
        return f"pruned after {len(trial.intermediate_values)} epochs{same}"
    if trial.state == TrialState.COMPLETE:
        return f"score {short(trial.value)}{same}{', dead' if 'dead' in trial.user_attrs else ''}"
    return trial.state.name.lower()


def in_brief(value: object) -> str:
    """A value in a few characters: two digits are more than a search can tell apart."""
    return f"{value:.2g}" if isinstance(value, float) else str(value)
