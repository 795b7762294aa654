"""How many threads torch works with: a backbone takes all of them, heads on its features one.

A step of the heads is too short to be shared, and the bits of a sum may hang on how many threads share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_outside: list[int] = []


def every() -> int:
    """As many as torch has outside of every `limited`."""
    return _outside[0] if _outside else torch.get_num_threads()


@contextmanager
def limited(n: int) -> Iterator[None]:
    """Within it torch works with `n` threads."""
    before = torch.get_num_threads()
    _outside.append(before)
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _outside.pop()
