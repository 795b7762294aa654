"""The peak of a process's own memory while something runs: without the pages of files that are mapped, which the system takes back."""

from __future__ import annotations

import resource
import sys
import threading
from pathlib import Path
from types import TracebackType

import torch

STATUS = Path("/proc/self/status")
EVERY = 0.05
"""Seconds between two looks."""


def own_mb() -> float:
    """Now, 10^6 bytes. Where the system does not tell: the peak of the process so far, mapped files included."""
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


class Peak:
    """A context that watches; afterwards `mb` is the peak and `as_json` all that is known."""

    def __init__(self) -> None:
        self.mb, self._ended = 0.0, threading.Event()

    def __enter__(self) -> Peak:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.start = self.mb = own_mb()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            self.mb = max(self.mb, own_mb())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.mb = max(self.mb, own_mb())

    def as_json(self) -> dict[str, float]:
        """`peak_mb`, `grown_mb` since the start, `gpu_peak_mb` if there is a GPU."""
        found = {"peak_mb": round(self.mb, 1), "grown_mb": round(self.mb - self.start, 1)}
        if torch.cuda.is_available():
            found["gpu_peak_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        return found
