"""What every command has in common: Hydra around it, one clear line for a user's mistake, exit status 2.

A command module says `main = command("train", run)`; `run` gets the checked settings and how it was called. Never imports torch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fer.cli.messages import ONCE, show_messages
from fer.cli.processes import check_alone, say_once, started, this_line
from fer.cli.quoting import with_paths_quoted
from fer.cli.refusals import REFUSALS, one_line
from fer.cli.sweep import SomeJobsFailed, Sweep, is_sweep
from fer.cli.typed import refuse_bad_overrides
from fer.config import NEVER_SWEPT, SCHEMAS, TrainConfig, check, conf_dir, outvoted
from fer.errors import FerError
from fer.runs.folder import default_run_dir, folder_of
from fer.runs.jobs import Kept

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """How a command was called: the line to repeat it, what was typed (`key=value`), of a sweep this job's folder and what jobs share.

    With `one_of_many` (a trial of a search) a run leaves out, as the jobs of a sweep do, what would take longer than to train on
    features: the report, and a backbone of its own.
    """

    line: str
    overrides: tuple[str, ...]
    sweep_dir: Path | None
    kept: Kept = field(default_factory=Kept)
    one_of_many: bool = False

    @property
    def keys(self) -> list[str]:
        """The keys that were typed, without a `+`."""
        return [override.split("=")[0].lstrip("+") for override in self.overrides]

    def folder(self, command: str, run_dir: str | None, name: str) -> Path:
        """Where a run goes: of a sweep's job its own folder, else the one that was typed as `run_dir`, else one named by the time."""
        return self.sweep_dir or (folder_of(run_dir) if run_dir else default_run_dir(command, name))


def command(
    name: str, job: Callable[[Any, Call], float | None], of_best: Sequence[Callable[[Path], object]] = ()
) -> Callable[[], None]:
    """Makes the `main` of `python -m fer.<name>` from its job.

    Args:
        of_best: each is called with the folder of a sweep's best job when all have ended, several at a time where the jobs were.
    """

    def main() -> None:
        if {"-h", "--help"} & set(sys.argv[1:]):
            from fer.cli.help import print_help

            with contextlib.suppress(BrokenPipeError):  # piped into something that has read enough
                print_help(name)
                sys.stdout.flush()
            return
        sys.argv[1:] = with_paths_quoted(sys.argv[1:])
        # several processes are ended by who started them, and may wait for each other where no handler is heard
        if started().count == 1:
            signal.signal(signal.SIGTERM, _interrupt)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing its own hints
        _wait_shortly()
        for stream in (sys.stdout, sys.stderr):  # names and bars that an encoding lacks must not end the work
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            failed = _run(name, job, of_best)
        except SomeJobsFailed as error:
            print(f"fer {name}: {error}", file=sys.stderr)
            sys.exit(1)
        except BrokenPipeError:  # piped into something that has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except REFUSALS as error:
            failed = one_line(error)
        except KeyboardInterrupt:
            print(f"fer {name}: interrupted", file=sys.stderr)
            sys.exit(130)
        if failed is not None:
            say_once(f"fer {name}: {failed}")
            sys.exit(2)

    return main


def _wait_shortly() -> None:
    """Lets torch's threads spin for some ten microseconds, then sleep, unless the user's environment says how they wait.

    Spinning as long as they do by themselves, they made a small step ten times slower beside other work; sleeping at once costs up to
    a fifth of a step on fast cores, which wake them for every layer.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(
    name: str, job: Callable[[Any, Call], float | None], of_best: Sequence[Callable[[Path], object]]
) -> str | None:
    """Composes and runs; returns the line of a refused single run (Hydra would print a second one if it saw the error)."""
    typed = refuse_bad_overrides(sys.argv[1:], SCHEMAS[name])
    _refuse_slurm_elsewhere(typed)
    if is_sweep(typed) and name in NEVER_SWEPT:
        raise FerError(f"-m is not for fer.{name}: type one line for each")
    if is_sweep(typed) or name != "train":
        check_alone("a sweep" if is_sweep(typed) else f"fer.{name}")
    ConfigStore.instance().store(f"{name}_schema", node=SCHEMAS[name])
    failure: list[str] = []
    sweep = Sweep.typed(name, typed) if is_sweep(typed) else None
    kept = Kept()

    def task(composed: DictConfig) -> float | None:
        show_messages(sweep.beside() if sweep else None)
        if (HydraConfig.get().mode == RunMode.MULTIRUN) != (sweep is not None):
            raise FerError("hydra.mode: jobs of a sweep are kept apart by this program: type -m")
        if sweep is not None:
            return sweep.run_job(lambda: job(_looked_at(name, composed), _call(name, kept)))
        try:
            return job(_looked_at(name, composed), _call(name, kept))
        except BrokenPipeError:
            raise
        except REFUSALS as error:
            failure.append(one_line(error))
            return None

    start = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(task)
    if sweep is None:
        start()
    else:
        sweep.run(start, of_best)
    return failure[0] if failure else None


def _refuse_slurm_elsewhere(typed: list[Override]) -> None:
    launcher = next((o.value() for o in typed if o.key_or_group == "hydra/launcher"), None)
    if launcher in ("slurm", "submitit_slurm") and shutil.which("srun") is None:
        raise FerError(
            f"hydra/launcher={launcher}: there is no srun here; start it on a machine of the Slurm cluster, or try "
            "hydra/launcher=submitit_local"
        )


def _looked_at(name: str, composed: DictConfig) -> Any:
    cfg = settings(SCHEMAS[name], composed)
    if isinstance(cfg, TrainConfig):
        for line in outvoted(cfg, HydraConfig.get().overrides.task):
            log.warning(line, extra={ONCE: True})
    return cfg


def settings(schema: type, composed: DictConfig) -> Any:
    """The composed configuration as a checked dataclass; a key that the schema lacks (typed with `+`, say) is refused."""
    strict = OmegaConf.merge(OmegaConf.structured(schema), composed)
    cfg = OmegaConf.to_object(strict)
    check(cfg)
    return cfg


def _call(name: str, kept: Kept) -> Call:
    run = HydraConfig.get()
    typed = tuple(run.overrides.task)
    sweep_dir = Path(run.runtime.output_dir) if run.mode == RunMode.MULTIRUN else None
    return Call(this_line(name, typed), typed, sweep_dir, kept)
