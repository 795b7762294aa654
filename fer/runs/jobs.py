"""The jobs of a sweep: what they share, the folder and the record of each, one table of them. Never imports torch."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from fer.runs.folder import JOB_RECORD, name_of, write_text
from fer.terminal import fitted, short, table

T = TypeVar("T")


class Kept:
    """What one job of a sweep leaves for the next one in the same process: the last of each kind, so that memory stays bounded.

    Sent to another process it is what jobs have left there.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[Any, Any]] = {}

    def get(self, kind: str, made_of: Any, make: Callable[[], T]) -> T:
        """What `make` returns, or did for the same `made_of`."""
        if kind not in self._last or self._last[kind][0] != made_of:
            self._last.pop(kind, None)  # before the new one is made: the two may not fit into memory
            self._last[kind] = made_of, make()
        value: T = self._last[kind][1]
        return value

    def __reduce__(self) -> tuple[Callable[[], Kept], tuple[()]]:
        return _kept_here, ()


@cache
def _kept_here() -> Kept:
    return Kept()


def folder_name(overrides: str) -> str:
    """The folder of a job, one level deep: what was typed, with a hash where that can't be a name as it is (a path, a long list)."""
    plain = name_of(re.sub(r"[^\w=,.+@\[\]-]", "-", overrides)).lstrip(".") or "job"
    if plain == overrides:
        return plain
    return f"{plain}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Job:
    """What became of one job; the content of its `job.json`.

    Attributes:
        overrides: the settings that tell it from the others.
        status: `finished` or `failed`.
        score: what the command returned: the validation score of a training run.
        seconds: that it took.
        error: why it failed, in one line.
        call: of the command that ran it last.
        dead: whether a head of its model gives the same answer for every picture.
    """

    overrides: str
    status: str
    score: float | None
    seconds: float
    error: str
    call: str
    dead: bool = False

    def keep(self, folder: Path) -> None:
        """Writes the record; a run that was finished before keeps the time that it took then."""
        job, old = self, read_job(folder)
        same = old and (old.overrides, old.status, old.score) == (self.overrides, self.status, self.score)
        if old and same and self.status == "finished":
            job = Job(**{**asdict(self), "seconds": old.seconds})
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / JOB_RECORD, json.dumps(asdict(job), indent=1) + "\n")


def read_job(folder: Path) -> Job | None:
    """The record in a job's folder; None if there is none that can be read."""
    try:
        return Job(**json.loads((folder / JOB_RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def read_jobs(sweep_dir: Path) -> list[Job]:
    """All jobs of a sweep folder, of this call and of earlier ones: the best first, dead models after it, the failed last."""
    jobs = [job for path in sorted(sweep_dir.glob(f"*/{JOB_RECORD}")) if (job := read_job(path.parent))]
    return sorted(
        jobs, key=lambda job: (job.status == "failed", job.dead, -(job.score if job.score is not None else -1))
    )


def why_dead(run_dir: Path) -> str | None:
    """Why the model of a run is worth nothing, by its `metrics.json`; None if it is alive, or nothing is said of it."""
    try:
        metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    heads = [scores[head] for scores in metrics.values() for head in ("au", "emotion") if head in scores]
    return "; ".join(dict.fromkeys(str(head["dead_reason"]) for head in heads if head["dead"])) or None


def write_summary(sweep_dir: Path, jobs: list[Job]) -> Path:
    """Writes `summary.csv`, a row per job, and returns its path."""
    text = io.StringIO()
    columns = ("overrides", "score", "status", "dead", "seconds", "error")
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(job) for job in jobs)
    path = sweep_dir / "summary.csv"
    write_text(path, text.getvalue())
    return path


def print_summary(jobs: list[Job], console: Console) -> None:
    """The same on the terminal."""
    made = table("settings", "score", "seconds")
    made.add_column("status")
    for job in jobs:
        made.add_row(
            Text(job.overrides), short(job.score), f"{job.seconds:.1f}", "[red]dead[/]" if job.dead else job.status
        )
    fitted(console).print(made)
    if n_dead := sum(job.dead for job in jobs):
        alive = "" if n_dead < sum(job.status == "finished" for job in jobs) else ", every one: there is no best"
        console.print(f"[red]{n_dead} dead{alive}: a head of each gives the same answer for every picture[/]")
