"""What every command has in common: Hydra around it, one clear line for a user's mistake, exit status 2.

A command module says `main = command("train", run)`; `run` gets the checked settings and how it was called. Never imports torch.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, TextIO

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer.config import NEVER_SWEPT, SCHEMAS, bad_value, check, conf_dir, settings_of
from fer.errors import FerError, printable
from fer.jobs import Kept
from fer.processes import check_alone, say_once, started, this_line
from fer.quoting import with_paths_quoted
from fer.refusals import REFUSALS, one_line
from fer.sweep import SomeJobsFailed, Sweep, is_sweep

log = logging.getLogger(__name__)

OPTIONS_WITH_VALUE = (
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
    "--info",
    "-i",
)
OPTIONS = (
    *OPTIONS_WITH_VALUE,
    "--help",
    "--hydra-help",
    "--version",
    "--resolve",
    "--run",
    "--multirun",
    "--shell-completion",
    "--experimental-rerun",
)
"""Of Hydra."""

NAMES_OF_GROUPS = ("data.name", "loss.name", "optimizer.name", "scheduler.name")
"""Keys that files of `conf/` set together with others: alone they would make a recipe that no file has."""


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


def command(
    name: str, job: Callable[[Any, Call], float | None], best_of_sweep: Callable[[Path], object] | None = None
) -> Callable[[], None]:
    """Makes the `main` of `python -m fer.<name>` from its job.

    Args:
        best_of_sweep: called with the folder of a sweep's best job when all have ended.
    """

    def main() -> None:
        if {"-h", "--help"} & set(sys.argv[1:]):
            from fer.help import print_help

            with contextlib.suppress(BrokenPipeError):  # piped into something that has read enough
                print_help(name)
                sys.stdout.flush()
            return
        sys.argv[1:] = with_paths_quoted(sys.argv[1:])
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing its own hints
        # torch's threads sleep while they wait: on a busy machine, spinning ones made a small step ten times slower
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            failed = _run(name, job, best_of_sweep)
        except SomeJobsFailed as error:
            print(f"fer {name}: {error}", file=sys.stderr)
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


def _run(
    name: str, job: Callable[[Any, Call], float | None], best_of_sweep: Callable[[Path], object] | None
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
        show_messages()
        call = _call(name, kept)
        if sweep is not None:
            return sweep.run_job(lambda: job(settings(SCHEMAS[name], composed), call))
        try:
            return job(settings(SCHEMAS[name], composed), call)
        except REFUSALS as error:
            failure.append(one_line(error))
            return None

    start = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(task)
    if sweep is None:
        start()
    else:
        sweep.run(start, best_of_sweep)
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


def _call(name: str, kept: Kept) -> Call:
    run = HydraConfig.get()
    typed = tuple(run.overrides.task)
    sweep_dir = Path(run.runtime.output_dir) if run.mode == RunMode.MULTIRUN else None
    return Call(this_line(name, typed), typed, sweep_dir, kept)


class _Terminal(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment: a progress bar puts itself there to keep lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The message, names in it such that they steer nothing; on a terminal its paths can be clicked."""
        if not isinstance(record.args, tuple):
            return super().format(record)
        shown = copy.copy(record)
        shown.args = tuple(_shown(value, self.stream.isatty()) for value in record.args)
        return super().format(shown)


def _shown(value: object, terminal: bool) -> object:
    if isinstance(value, Path) and terminal:
        from rich.style import Style

        return Style(link=value.absolute().as_uri()).render(printable(str(value)))
    return printable(str(value)) if isinstance(value, (str, Path)) else value


def show_messages() -> None:
    """Sends the program's own messages to the terminal, one plain line each, and keeps them for the log of the run folder.

    Of several processes the first one speaks for all.
    """
    terminal = _Terminal()
    terminal.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("fer")
    for old in logger.handlers:  # of an earlier job of a sweep
        old.close()
    kept = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1)
    logger.handlers[:] = [terminal, kept] if started().rank == 0 else [logging.NullHandler()]
    logger.setLevel(logging.INFO)
    # Pillow warns of large pictures beside the line that refuses them: fer.data.images has a lower limit of its own
    warnings.filterwarnings("ignore", r"Image size .* could be decompression bomb")


def refuse_bad_overrides(argv: list[str], schema: type) -> list[Override]:
    """Looks at every typed key and value, each value of a sweep too, before anything is composed or imported.

    Returns:
        What was typed, parsed.

    Raises:
        FerError: names the first key that the schema lacks (with the nearest one) or whose value it does not take.
    """
    _refuse_no_settings(argv)
    typed = OverridesParser.create().parse_overrides([a for a in argv if "=" in a and not a.startswith("-")])
    for override in typed:
        key = override.key_or_group
        if key.split(".")[0].split("/")[0] == "hydra" or (conf_dir() / key).is_dir():
            continue
        known = dict(settings_of(schema))
        if key not in known:
            raise FerError(_unknown(key, list(known)))
        if key in (*NAMES_OF_GROUPS, "augment.name"):
            group, typed_value = key.split(".")[0], str(override.input_line).split("=", 1)[-1]
            raise FerError(f"{key}: type {group}={typed_value}, which brings the settings that go with it")
        if not override.is_delete():
            raw = None if override.is_sweep_override() else str(override.input_line).split("=", 1)[-1]
            for value in _values(override):
                _check_value(schema, key, value, known[key], raw)
    return typed


def _refuse_no_settings(argv: list[str]) -> None:
    """Refuses words that are neither `key=value` nor an option of Hydra: it would answer with a page of help."""
    takes_value = False
    for word in argv:
        option, is_value, takes_value = word.split("=")[0], takes_value, word in OPTIONS_WITH_VALUE
        if option.startswith("--") and option not in OPTIONS:
            raise FerError(f"{word}: settings have no dashes: {word.lstrip('-') if '=' in word else 'key=value'}")
        if not is_value and not word.startswith(("-", "~")) and "=" not in word:
            raise FerError(f"{word}: settings are typed as key=value")


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


def _check_value(schema: type, key: str, value: Any, limits: Any, raw: str | None) -> None:
    if isinstance(value, str) and "${" in value:
        return  # only composition can tell what it stands for
    try:
        cfg = OmegaConf.structured(schema)
        OmegaConf.update(cfg, key, value)
        found = OmegaConf.select(cfg, key)
        problems = list(bad_value(OmegaConf.to_object(found) if OmegaConf.is_config(found) else found, key, limits))
        if isinstance(found, str) and found != raw and not isinstance(value, str) and raw is not None:
            problems.append(f"{key}={raw} reads as {found}: quote it twice, \"{key}='{raw}'\"")
    except OmegaConfBaseException as error:
        raise FerError(f"{key}: {str(error).splitlines()[0]}") from error
    if problems:
        raise FerError(problems[0])
