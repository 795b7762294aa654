"""A sweep: a job per setting in a folder of its own, none lost by the failure of another; the same line goes on. Never imports torch."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fer.cli.quoting import in_quotes
from fer.cli.refusals import REFUSALS, one_line
from fer.config import bad_name, conf_dir
from fer.errors import FerError, first_line
from fer.runs.jobs import Job, folder_name, print_summary, read_jobs, why_dead, write_summary
from fer.terminal import short

log = logging.getLogger(__name__)

MANY = 16
"""Jobs from which on it pays to start more processes, which takes some ten seconds."""

OF_HEADS = ("optimizer", "scheduler", "loss.", "model.dense", "model.dropout", "data.batch_size", "trainer.max_epochs")
"""What may differ between jobs that learn from the same kept features."""

AT_ONCE = 4
"""Processes at most, if nobody says how many: each holds more than a gigabyte."""

# here, as the processes of a parallel launcher import this room before they name their folder
OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)


class SomeJobsFailed(Exception):
    """A sweep came to its end, and not all jobs to theirs."""


def is_sweep(typed: list[Override]) -> bool:
    """Whether many jobs were asked for: by `-m`, or by a named grid of `conf/sweep`.

    Raises:
        FerError: `-m` with an option that shows something and starts no job.
    """
    options = get_args_parser().parse_known_args()[0]
    if options.cfg or options.info:
        if options.multirun:
            raise FerError("--cfg and --info show the settings of one run: leave out -m")
        return False
    return bool(options.multirun) or any(override.key_or_group == "sweep" for override in typed)


@dataclass(frozen=True)
class Sweep:
    """One call of a command with `-m`.

    Attributes:
        line: that goes on with it; None for jobs that are done anew.
        folder: holds the folders of the jobs.
        call: tells the records of this call from those of earlier ones.
        n_jobs: how many there are, if that was typed as lists of choices.
        at_once: jobs that run at a time on this machine, in processes of joblib; 1: one after the other, or elsewhere.
    """

    line: str | None
    folder: Path
    call: str
    n_jobs: int
    at_once: int = 1

    @classmethod
    def typed(cls, command: str, typed: list[Override]) -> Sweep:
        """The sweep that `sys.argv` asks for; adds to it what Hydra must know of folders.

        Raises:
            FerError: `run_dir` or `resume` was typed, no job was to run at a time, or a job would take several processes.
        """
        keys = {override.key_or_group for override in typed}
        if "resume" in keys:
            raise FerError("resume goes on with one run: a sweep goes on when its own line is typed again")
        if "run_dir" in keys:
            raise FerError(
                "run_dir names one folder, and a sweep makes one for each job: name=NAME chooses outputs/sweeps/NAME"
            )
        line = shlex.join(["python", "-m", "fer.train", *sys.argv[1:]]) if command == "train" else None
        # job folders are named by what differs between them
        swept = {override.key_or_group for override in typed if override.is_sweep_override()}
        first = _first_job(command, typed)
        choices = _choices(first, typed)
        if bad := bad_name(first.get("name")):
            raise FerError(*bad)
        folder, at_once = Path(str(first.hydra.sweep.dir)), 1
        if command == "train":
            _refuse_teams(first, swept)
            at_once = _at_once(first, typed, choices)
        named = bool(swept) or any(override.key_or_group == "sweep" for override in typed)
        same = ",".join(o.key_or_group for o in typed if named and o.key_or_group not in swept)
        words = [f"hydra.job.config.override_dirname.exclude_keys=[{same}]", f"hydra.sweep.dir='{folder}'"]
        if at_once != 1 and not str(first.hydra.launcher._target_).endswith(".JoblibLauncher"):
            print(f"{at_once} jobs at a time; hydra/launcher=basic: one after the other", file=sys.stderr)
            words += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_once}"]
            # joblib would share the cores out, and the process that makes the features for all would have its part of them
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # torch takes the lower one
                os.environ.setdefault(name, str(_cores()))
        # beside the others: Hydra does not take overrides on both sides of an option
        settings = get_args_parser().parse_known_args()[0].overrides
        starts = [k for k in range(1, len(sys.argv)) if settings and sys.argv[k : k + len(settings)] == settings]
        place = starts[-1] if starts else len(sys.argv)
        sys.argv[place:place] = words
        call = f"{datetime.now().isoformat()} {os.getpid()}"
        return cls(line, folder.absolute(), call, math.prod(choices.values()), at_once)

    def run(self, start: Callable[[], None], of_best: Sequence[Callable[[Path], object]]) -> None:
        """All jobs, then one table of them, and what each of `of_best` does with the folder of the best.

        Raises:
            SomeJobsFailed: says how many.
        """
        try:
            with each_value_composed_once():
                start()
        except (KeyboardInterrupt, SystemExit) as stopped:
            if isinstance(stopped, SystemExit) and stopped.code != 130:
                raise
            print(f"the sweep stopped{self._goes_on()}", file=sys.stderr)
            sys.exit(130)
        except BrokenProcessPool as error:
            raise FerError(
                "a process of the sweep was ended from outside, often for want of memory; with hydra/launcher=basic it takes the memory "
                f"of one job{self._goes_on()}"
            ) from error
        every = read_jobs(self.folder)
        jobs = [job for job in every if job.call == self.call]
        summary = write_summary(self.folder, jobs)
        print_summary(jobs, Console())
        print(f"summary: {summary}")
        if len(jobs) < len(every):
            print(f"{len(every) - len(jobs)} jobs of other lines are there, too: python -m fer.compare {self.folder}")
        if of_best and jobs and jobs[0].status == "finished":
            from joblib import Parallel, delayed

            sys.stdout.flush()
            best = self.folder / folder_name(jobs[0].overrides)
            # its processes still wait, with everything imported and read; asked for otherwise than Hydra does, it would start new ones
            Parallel(self.at_once, max_nbytes=None)(delayed(finish)(best) for finish in of_best)
        failed = [job for job in jobs if job.status == "failed"]
        if failed:
            raise SomeJobsFailed(
                f"{len(failed)} of {len(jobs)} jobs failed, summary.csv says why"
                + ("; the same line tries them again and leaves the finished ones" if self.line else "")
            )

    def _goes_on(self) -> str:
        return f"; the same line goes on with it: {self.line}" if self.line else ""

    def beside(self) -> str | None:
        """What the job that this process runs is called on the terminal, if others run beside it; the first one speaks for all."""
        number = HydraConfig.get().job.num + 1
        return f"job {number}" if self.at_once != 1 and number > 1 else None

    def run_job(self, job: Callable[[], float | None]) -> float | None:
        """Runs one job and keeps a record of what became of it; its failure is not the end of the others."""
        started, score, error = time.monotonic(), None, ""
        try:
            score = job()
        except REFUSALS as refused:
            error = one_line(refused)
        except Exception as bug:  # whatever it is, the other settings may do without
            log.exception("this is a bug, or the machine's")
            error = f"{type(bug).__name__}: {first_line(bug)}"
        if error:
            log.error("this job of the sweep failed: %s", error)
        about, seconds = HydraConfig.get(), round(time.monotonic() - started, 2)
        folder, status = Path(about.runtime.output_dir), "failed" if error else "finished"
        dead = not error and why_dead(folder) is not None
        if self.at_once != 1 and not error:
            which, settings = f"job {about.job.num + 1} of {self.n_jobs}", about.job.override_dirname
            # in one piece with its end: others print, too
            print(f"{which}: {settings}: score {short(score)}, {seconds:.1f} s\n", end="")
        sys.stdout.flush()  # of several processes each holds back its own
        Job(about.job.override_dirname, status, score, seconds, error, self.call, dead).keep(folder)
        return score


@contextlib.contextmanager
def each_value_composed_once() -> Iterator[None]:
    """Hydra's sweeper composes every job before the first one, and each job composes itself again; a value that is wrong shows in any.

    So the jobs that are composed beforehand are as many as it takes to see each value: of 72 nine.
    """
    compose_all = Sweeper.validate_batch_is_legal

    def compose_some(self: Sweeper, batch: Sequence[Sequence[str]]) -> None:
        seen, some = set[str](), list[Sequence[str]]()
        for job in batch:
            if not seen.issuperset(job):
                seen.update(job)
                some.append(job)
        compose_all(self, some)

    Sweeper.validate_batch_is_legal = compose_some  # type: ignore[method-assign]
    try:
        yield
    finally:
        Sweeper.validate_batch_is_legal = compose_all  # type: ignore[method-assign]


def _refuse_teams(first: DictConfig, swept: set[str]) -> None:
    n_processes = first.trainer.devices * first.trainer.num_nodes
    if n_processes > 1 or swept & {"trainer.devices", "trainer.num_nodes"}:
        raise FerError(
            "trainer.devices and trainer.num_nodes must be 1 in a sweep: its jobs take one processor each, and "
            "hydra/launcher=joblib or slurm runs several at a time"
        )


def _choices(first: DictConfig, typed: list[Override]) -> dict[str, int]:
    """How many values each swept setting has, typed or of a named grid."""
    grid = [f"{key}={values}" for key, values in (first.hydra.sweeper.get("params") or {}).items()]
    overrides = {o.key_or_group: o for o in [*OverridesParser.create().parse_overrides(grid), *typed]}
    swept = {key: o for key, o in overrides.items() if o.is_sweep_override() and o.is_discrete_sweep()}
    return {key: sum(1 for _ in o.sweep_string_iterator()) for key, o in swept.items()}


def _at_once(first: DictConfig, typed: list[Override], choices: dict[str, int]) -> int:
    """Jobs at a time in processes of joblib: as many as were typed, else what `_chosen` says.

    Raises:
        FerError: none were typed.
    """
    launcher = str(first.hydra.launcher._target_)
    if launcher.endswith(".JoblibLauncher"):
        if first.hydra.launcher.n_jobs == 0:
            raise FerError("hydra.launcher.n_jobs=0: at least one job at a time, or -1 for as many as there are cores")
        return int(first.hydra.launcher.n_jobs)
    unasked = launcher.endswith(".BasicLauncher") and "hydra/launcher" not in {o.key_or_group for o in typed}
    return _chosen(first, choices) if unasked else 1


def _chosen(first: DictConfig, choices: dict[str, int]) -> int:
    """How many jobs a long sweep of heads on the same kept features runs at a time where nobody chose: each takes one core."""
    kept = first.model.finetune == "frozen" and first.data.cache_features and first.data.views != 0
    if math.prod(choices.values()) < MANY or not kept or not all(key.startswith(OF_HEADS) for key in choices):
        return 1
    if first.trainer.accelerator != "cpu" and (shutil.which("nvidia-smi") or sys.platform == "darwin"):
        return 1  # a GPU may be there
    return min(_cores(), AT_ONCE)


def _cores() -> int:
    """Cores as torch counts them, within what a container grants."""
    from joblib import cpu_count  # not above: imports of every command

    return int(cpu_count(only_physical_cores=True))


def _first_job(command: str, typed: list[Override]) -> DictConfig:
    """The first job as Hydra composes it. Its folder is that of all: a swept setting that is part of the name must not scatter them."""
    first = [_first_value(override) for override in typed]
    own = get_args_parser().parse_known_args()[0].config_dir  # experiments of the user's own
    if own and not Path(own).is_dir():
        raise FerError(f"--config-dir {own}: there is no such folder")
    places = [f"hydra.searchpath=[{in_quotes(f'file://{Path(own).absolute()}')}]"] if own else []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(command, [*first, *places], return_hydra_config=True)


def _first_value(override: Override) -> str:
    if not override.is_sweep_override() or not override.is_discrete_sweep():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
