"""How the C library holds memory for a process that trains.

A training step frees and wants back the same gigabytes every time. glibc gives large blocks back to the kernel at once, and gets them
again as pages that the kernel must clear first: an eighth of a bf16 step of ResNet50 on two cores.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
"""Of malloc.h."""


def keep_memory() -> None:
    """Keeps what was freed for the next allocation, in one place for all threads that start later; does nothing without glibc."""
    _set({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_ARENA_MAX: 1})


@contextlib.contextmanager
def as_it_comes() -> Iterator[None]:
    """Within it large blocks are handled as glibc does unless it is told otherwise: by the thresholds that its own tuning arrives at."""
    _set({M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20})
    try:
        yield
    finally:
        keep_memory()


def _set(values: dict[int, int]) -> None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):  # musl has none
        return
    for name, value in values.items():
        library.mallopt(name, value)
