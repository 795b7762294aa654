"""The run folder: where a command leaves what it did, and what `run.json` says of how it was done. Never imports torch."""

from __future__ import annotations

import json
import logging
import os
import time
from datetime import datetime
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import OmegaConf
from yaml import YAMLError

from fer.errors import FerError, Taken, first_line
from fer.runs.locks import LOCK, check_idle, hold
from fer.runs.surroundings import surroundings

log = logging.getLogger(__name__)

JOB_RECORD = "job.json"
"""The file by which a sweep remembers a job, beside its run (`fer.cli.sweep`)."""

LONGEST_NAME = 150
"""Bytes of a name that comes from settings or pictures, with room for what is added: file systems take 255."""

MOST_NUMBERS = 100
"""Of runs that are started in the same second: where a folder is called taken that nobody has, no more are made than these."""

FOLDS = "folds"
"""The folder in that of a cross-validation that holds the runs of its folds."""


def default_run_dir(command: str, name: str) -> Path:
    """`outputs/<command>/<name>/<date_time>` under the current folder; a run started in the same second gets a number."""
    base = Path("outputs") / command / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}_{number}"), number + 1
    return folder.absolute()


def folder_of(typed: str) -> Path:
    """The folder that was typed as `run_dir`."""
    return Path(typed).expanduser().absolute()


def find_checkpoint(where: str) -> Path:
    """The checkpoint file that a run folder or a path means.

    Raises:
        FerError: there is none.
    """
    path = Path(where).expanduser().absolute()
    if path.is_dir():
        inside = path / "checkpoints" / "best.ckpt"
        if not inside.is_file():
            raise FerError(
                f"checkpoint={where}: {inside} is missing: not a run folder, or its run has not saved a checkpoint yet"
            )
        return inside
    if not path.is_file():
        raise FerError(f"checkpoint={where}: there is no such run folder or file")
    return path


def check_free(path: Path) -> None:
    """Refuses a folder that holds something.

    Raises:
        FerError: says so.
    """
    if not _free(path):
        raise Taken(
            f"run_dir={path} is not empty: choose another folder; fer.train and fer.crossval go on with a run by resume={path}"
        )
    check_idle(path)  # a process may be at work there that has saved nothing yet


def check_place(path: Path) -> None:
    """Refuses a folder that holds something, or that can't be made: before pictures are decoded for it.

    Raises:
        FerError: says so.
    """
    check_free(path)
    above = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise FerError(f"run_dir={path} can't be made: {above} is a file")
    if not os.access(above, os.W_OK):
        raise FerError(f"run_dir={path} can't be written: {above} is read-only")


def holds_run(path: Path) -> bool:
    """Whether a folder holds a run that is finished or can be gone on with."""
    return (path / "run.json").is_file() and not _free(path)


def _free(path: Path) -> bool:
    """Whether a run may be started in a folder: it is empty, or holds one that ended before it saved anything to go on from."""
    if not path.exists():
        return True
    names = {file.name for file in path.iterdir()} if path.is_dir() else {""}
    if LOCK in names:  # a run was begun here, and may have been killed between its first files
        names = {name for name in names if name != "config.yaml" and ".tmp" not in name}
    if names <= {JOB_RECORD, LOCK}:
        return True
    if FOLDS in names:  # what a fold has learned would be pooled with folds of other settings
        return False
    try:
        ended = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return ended.get("finished") is False and not (path / "checkpoints" / "last.ckpt").exists()


def read_json(path: Path) -> Any:
    """The content of a file of a run folder.

    Raises:
        FerError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FerError(f"{path.parent}: its {path.name} can't be read ({first_line(error)})") from error


def name_of(text: str) -> str:
    """The beginning of `text`, short enough for a part of a file's name."""
    return os.fsencode(text)[:LONGEST_NAME].decode(errors="ignore")


def write_text(path: Path, text: str) -> None:
    """Writes a file so that a kill leaves the old one or the new one, never half of one."""
    unfinished = path.with_name(f"{path.name}.tmp{os.getpid()}")
    with open(unfinished, "w", encoding="utf-8", newline="") as file:  # tables bring their own ends of lines
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


class RunFolder:
    """A folder with `config.yaml`, `run.json`, `train.log`, and what the command adds.

    `about` is the content of `run.json`: plain values, written by `save`.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        self.started = time.monotonic()
        self._lock: FileLock | None = None
        self._log: logging.Handler | None = None

    @classmethod
    def create(cls, path: Path, config: dict[str, Any], line: str, *, numbered: bool = False) -> RunFolder:
        """Makes the folder, which is this process's own until the run ends.

        Args:
            numbered: what somebody else has taken since `path` was chosen gets a number.

        Raises:
            FerError: it already holds a run, another process is at work there, or it can't be made.
        """
        about = {"command": line, "name": config["name"], "seed": config.get("seed"), "finished": False}
        chosen, number = path, 2
        while True:
            try:
                run = cls(chosen, {**about, **surroundings()})
                check_free(chosen)
                chosen.mkdir(parents=True, exist_ok=True)
                run._lock = hold(chosen)
                check_free(chosen)  # another process may have come and gone
                break
            except Taken:
                if not numbered or number > MOST_NUMBERS:
                    raise
                chosen, number = path.with_name(f"{path.name}_{number}"), number + 1
            except OSError as error:
                raise FerError(f"run_dir={chosen} can't be written: {error.strerror}") from error
        try:
            run.keep_config(config)
            run.save()
        except OSError as error:
            raise FerError(f"run_dir={chosen} can't be written: {error.strerror}") from error
        return run

    def let_go(self, error: BaseException | None = None) -> None:
        """Gives the folder back, and ends what `log_to_file` began, with a last word there on the `error` that ended the work."""
        if self._lock is not None:
            self._lock.release(force=True)
            self._lock = None
        if self._log is not None:
            if error is not None:
                ours = isinstance(error, FerError)
                trace = None if ours else (type(error), error, error.__traceback__)
                said = log.makeRecord(log.name, logging.ERROR, "", 0, "ended by: %s", (first_line(error),), trace)
                self._log.handle(said)
            logging.getLogger("fer").removeHandler(self._log)
            self._log.close()
            self._log = None

    def take_up(self) -> RunFolder:
        """Makes a folder that was opened this process's own, to go on with its run, and returns it.

        Raises:
            FerError: another process is at work there, or was since.
        """
        self._lock = hold(self.path)
        if RunFolder.open(self.path).about != self.about:
            self.let_go()
            raise FerError(f"{self.path}: another process was at work in this run folder just now: type the line again")
        return self

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder.

        Raises:
            FerError: there is none, or its `run.json` is damaged.
        """
        try:
            return cls(path, json.loads((path / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise FerError(f"{path} is not a run folder: its run.json can't be read ({first_line(error)})") from error

    def config(self) -> dict[str, Any]:
        """The settings that the run was started with."""
        try:
            return OmegaConf.to_container(OmegaConf.load(self.path / "config.yaml"))  # type: ignore[return-value]
        except (OSError, YAMLError) as error:
            raise FerError(f"{self.path}: its config.yaml can't be read ({first_line(error)})") from error

    def keep_config(self, config: dict[str, Any]) -> None:
        """Writes `config.yaml`."""
        self.write("config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))

    def save(self) -> None:
        """Writes `run.json`."""
        self.write("run.json", json.dumps(self.about, indent=2) + "\n")

    def note(self, **values: Any) -> None:
        """Adds to `run.json` and writes it."""
        self.about.update(values)
        self.save()

    def write_json(self, name: str, content: Any) -> None:
        """Writes `content` to the file `name` in the folder; nan is a bug and refused."""
        self.write(name, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def write(self, name: str, text: str) -> None:
        """Writes a file in the folder, whole or not at all."""
        write_text(self.path / name, text)

    def read_json(self, name: str) -> Any:
        """The content of the file `name` in the folder.

        Raises:
            FerError: it is missing or damaged.
        """
        return read_json(self.path / name)

    def log_to_file(self, name: str) -> None:
        """What was logged so far and what will be stands in the file `name` too, with the time."""
        file = logging.FileHandler(self.path / name, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger("fer")
        for kept in [handler for handler in logger.handlers if isinstance(handler, MemoryHandler)]:
            kept.setTarget(file)
            kept.close()
            logger.removeHandler(kept)
        logger.addHandler(file)
        logger.setLevel(logging.INFO)
        self._log = file

    def seconds(self) -> float:
        """Since this process took up the run."""
        return round(time.monotonic() - self.started, 1)


class OthersFolder(RunFolder):
    """The run folder of several processes, as those see it that don't write: the first one does."""

    def write(self, name: str, text: str) -> None:
        pass

    def log_to_file(self, name: str) -> None:
        pass
