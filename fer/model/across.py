"""Sums over the processes that train together; alone, they are what is there."""

from __future__ import annotations

from torch import Tensor, distributed


def summed(values: Tensor) -> Tensor:
    """The sum of this tensor over all processes, each of which must ask for it."""
    if not _together():
        return values
    values = values.clone()
    distributed.all_reduce(values)
    return values


def n_processes() -> int:
    """How many train together."""
    return distributed.get_world_size() if _together() else 1


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
