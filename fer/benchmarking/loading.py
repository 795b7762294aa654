"""Stages on the way to the network: decoding, augmentation, the loader."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from fer.benchmarking.bench import Bench
from fer.benchmarking.clock import Stage, timed
from fer.data.cache import make_pixels
from fer.data.prepare import crop_of


def decoding(bench: Bench) -> Stage:
    """Files to cached pixels, by all threads, as the first run on some data does it once."""

    def batches(n: int) -> int:
        table, cfg = bench.data_of(n * bench.batch_size).prepared.table, bench.cfg.data
        return len(list(make_pixels(table, cfg.image_size, crop_of(cfg), cfg.color)))

    return timed(f"{bench.label}decode + crop", batches)


def augmenting(bench: Bench) -> Stage:
    """Cached pixels of one batch to the network's input, on the device."""
    batch: dict[str, Any] = next(iter(bench.data.loader("train", shuffled=True)))
    on_device = {name: tensor.to(bench.device) for name, tensor in batch.items()}

    def batches(n: int) -> int:
        return sum(len(bench.data.on_after_batch_transfer(dict(on_device), 0)["index"]) for _ in range(n))

    return timed(f"{bench.label}augmentation", batches)


def loading(bench: Bench) -> Stage:
    """The loader of training alone: batches of cached pixels, or of features, epoch after epoch."""
    endless = _epochs(bench.data.loader("train", shuffled=True))

    def batches(n: int) -> int:
        return sum(len(batch["index"]) for batch in islice(endless, n))

    return timed(f"{bench.label}loader", batches)


def _epochs(loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader
