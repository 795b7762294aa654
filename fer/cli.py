"""What every command has in common: Hydra around it, one clear line for a user's mistake, exit status 2.

A command module says `main = command("train", run)`; `run` gets the checked settings and how it was called. Never imports torch.
"""

from __future__ import annotations

import difflib
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, TextIO

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer.config import SCHEMAS, bad_value, check, conf_dir, settings_of
from fer.errors import FerError, first_line

log = logging.getLogger(__name__)

REFUSALS = (FerError, HydraException, OmegaConfBaseException, OSError)
"""Errors that are the user's to mend: a setting, the data, the disk. All else is a bug and keeps its traceback."""


@dataclass(frozen=True)
class Call:
    """How a command was called: the line to repeat it, what was typed (`key=value`), and a sweep's folder for this job."""

    line: str
    overrides: tuple[str, ...]
    sweep_dir: Path | None

    @property
    def keys(self) -> list[str]:
        """The keys that were typed, without a `+`."""
        return [override.split("=")[0].lstrip("+") for override in self.overrides]


def command(name: str, job: Callable[[Any, Call], float | None]) -> Callable[[], None]:
    """Makes the `main` of `python -m fer.<name>` from its job."""

    def main() -> None:
        if {"-h", "--help"} & set(sys.argv[1:]):
            from fer.help import print_help

            print_help(name)
            return
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing its own hints
        try:
            failed = _run(name, job)
        except REFUSALS as error:
            failed = _one_line(error)
        except KeyboardInterrupt:
            print(f"fer {name}: interrupted", file=sys.stderr)
            sys.exit(130)
        if failed is not None:
            print(f"fer {name}: {failed}", file=sys.stderr)
            sys.exit(2)

    return main


def _run(name: str, job: Callable[[Any, Call], float | None]) -> str | None:
    """Composes and runs; returns the line of a refused single run (Hydra would print a second one if it saw the error)."""
    typed = refuse_bad_overrides(sys.argv[1:], SCHEMAS[name])
    _refuse_slurm_elsewhere(typed)
    if any(override.is_sweep_override() or override.key_or_group == "sweep" for override in typed):
        if "run_dir" in {override.key_or_group for override in typed}:
            raise FerError(
                "run_dir names one folder, and a sweep makes one for each job: name=NAME chooses outputs/sweeps/NAME"
            )
        # job folders are named by what differs between them
        same = ",".join(override.key_or_group for override in typed if not override.is_sweep_override())
        # beside the others: Hydra does not take overrides on both sides of an option
        place = next(k for k, word in enumerate(sys.argv) if k and "=" in word and not word.startswith("-"))
        sys.argv.insert(place, f"hydra.job.config.override_dirname.exclude_keys=[{same}]")
    ConfigStore.instance().store(f"{name}_schema", node=SCHEMAS[name])
    failure: list[str] = []

    def task(composed: DictConfig) -> float | None:
        show_messages()
        try:
            return job(settings(SCHEMAS[name], composed), _call(name))
        except REFUSALS as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                log.error("this job of the sweep failed: %s", _one_line(error))
                raise
            failure.append(_one_line(error))
            return None

    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(task)()
    return failure[0] if failure else None


def _refuse_slurm_elsewhere(typed: list[Override]) -> None:
    launcher = next((o.value() for o in typed if o.key_or_group == "hydra/launcher"), None)
    if launcher in ("slurm", "submitit_slurm") and shutil.which("srun") is None:
        raise FerError(
            f"hydra/launcher={launcher}: there is no srun here; start it on a machine of the Slurm cluster, or try "
            "hydra/launcher=submitit_local"
        )


def settings(schema: type, composed: DictConfig) -> Any:
    """The composed configuration as a checked dataclass; a key that the schema lacks (typed with `+`, say) is refused."""
    strict = OmegaConf.merge(OmegaConf.structured(schema), composed)
    cfg = OmegaConf.to_object(strict)
    check(cfg)
    return cfg


def _call(name: str) -> Call:
    run = HydraConfig.get()
    typed = tuple(run.overrides.task)
    sweep_dir = Path(run.runtime.output_dir) if run.mode == RunMode.MULTIRUN else None
    return Call(shlex.join(["python", "-m", f"fer.{name}", *typed]), typed, sweep_dir)


class _Terminal(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment: a progress bar puts itself there to keep lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def show_messages() -> None:
    """Sends the program's own messages to the terminal, one plain line each, and keeps them for the log of the run folder."""
    terminal = _Terminal()
    terminal.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("fer")
    for old in logger.handlers:  # of an earlier job of a sweep
        old.close()
    logger.handlers[:] = [terminal, MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1)]
    logger.setLevel(logging.INFO)


def refuse_bad_overrides(argv: list[str], schema: type) -> list[Override]:
    """Looks at every typed key and value, each value of a sweep too, before anything is composed or imported.

    Returns:
        What was typed, parsed.

    Raises:
        FerError: names the first key that the schema lacks (with the nearest one) or whose value it does not take.
    """
    typed = OverridesParser.create().parse_overrides([a for a in argv if "=" in a and not a.startswith("-")])
    for override in typed:
        key = override.key_or_group
        if key.split(".")[0].split("/")[0] == "hydra" or (conf_dir() / key).is_dir():
            continue
        known = dict(settings_of(schema))
        if key not in known:
            raise FerError(_unknown(key, list(known)))
        if not override.is_delete():
            for value in _values(override):
                _check_value(schema, key, value, known[key])
    return typed


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    group = f"{key.split('.')[0]}."
    siblings = [k for k in known if k.startswith(group)] or [k for k in known if "." not in k]
    return f"{key}: no such key{f'; did you mean {near[0]}?' if near else ''} (known: {', '.join(siblings)})"


def _values(override: Override) -> Iterator[Any]:
    if override.is_sweep_override():
        yield from override.sweep_iterator() if override.is_choice_sweep() or override.is_range_sweep() else ()
    else:
        yield override.value()


def _check_value(schema: type, key: str, value: Any, limits: Any) -> None:
    if isinstance(value, str) and "${" in value:
        return  # only composition can tell what it stands for
    try:
        cfg = OmegaConf.structured(schema)
        OmegaConf.update(cfg, key, value)
        found = OmegaConf.select(cfg, key)
        problems = list(bad_value(OmegaConf.to_object(found) if OmegaConf.is_config(found) else found, key, limits))
    except OmegaConfBaseException as error:
        raise FerError(f"{key}: {str(error).splitlines()[0]}") from error
    if problems:
        raise FerError(problems[0])


def _one_line(error: Exception) -> str:
    """What is wrong, on one line: of a Hydra or OmegaConf error without its hints, options joined with commas."""
    if isinstance(error, FerError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and not isinstance(error, HydraException):  # Hydra's missing files are both
        return f"{error.filename or 'disk'}: {error.strerror or first_line(error)}"
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if line.strip() and not line.startswith("To append to your config")
    ]
    head = [
        line for line in lines if not line.startswith(("Config search path", "full_key", "object_type", "provider="))
    ]
    if any("hydra.cc" in line for line in head):
        said = " ".join(line for line in head if not line.startswith(("See ", "^")))
        return f"{said}; quote a value with other than plain characters twice: \"data.root='my, folder'\""
    if "Available options" in str(error):
        at = next(i for i, line in enumerate(head) if line.startswith("Available options"))
        return f"{' '.join(head[:at])} {head[at]} {', '.join(head[at + 1 :])}"
    return " ".join(head[:3])
