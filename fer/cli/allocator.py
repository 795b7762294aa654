"""How the C library holds memory for this process. Never imports torch.

A training step frees and wants back the same gigabytes every time. glibc gives large blocks back to the kernel at once, and gets them
again as pages that the kernel must clear first: an eighth of a bf16 step of ResNet50 on two cores.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Of malloc.h."""
NEVER = 2**31 - 1
GLIBC_TRIM_THRESHOLD, GLIBC_MMAP_MAX = 128 * 1024, 65536


def keep_memory() -> None:
    """Keeps what was freed for the next allocation, of all threads in one place; does nothing where the C library is not glibc."""
    _set({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_ARENA_MAX: 1})


@contextlib.contextmanager
def as_it_comes() -> Iterator[None]:
    """Within it large blocks are handled as glibc does unless it is told otherwise."""
    _set({M_MMAP_MAX: GLIBC_MMAP_MAX, M_TRIM_THRESHOLD: GLIBC_TRIM_THRESHOLD})
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
