"""Stages that are measured in turn, block by block: on a machine that is shared only the ratio of neighbours means anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

ROUNDS = 5
"""Blocks of each stage; rates and ratios are medians over them."""


@dataclass(frozen=True)
class Spent:
    """What a block took: wall seconds, and core seconds of all threads of this process."""

    n_images: int
    seconds: float
    core_seconds: float


@dataclass(frozen=True)
class Stage:
    """Something whose speed is wanted: `work(n)` does n batches and says what that took."""

    name: str
    work: Callable[[int], Spent]


def timed(name: str, batches: Callable[[int], int]) -> Stage:
    """A stage of what does n batches and returns the number of pictures in them."""

    def work(n: int) -> Spent:
        finish_device()
        wall, cores = time.perf_counter(), time.process_time()
        n_images = batches(n)
        finish_device()
        return Spent(n_images, time.perf_counter() - wall, time.process_time() - cores)

    return Stage(name, work)


def finish_device() -> None:
    """Waits for what a GPU still has to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Rates:
    """The blocks of every stage, round by round."""

    def __init__(self, blocks: dict[str, list[Spent]]) -> None:
        self.blocks = blocks

    def seconds_per_image(self, *names: str) -> list[float]:
        """Per round, the sum over stages."""
        per_stage = [[block.seconds / block.n_images for block in self.blocks[name]] for name in names]
        return [sum(values) for values in zip(*per_stage, strict=True)]

    def images_per_s(self, *names: str) -> float:
        """Of stages that each picture passes one after the other."""
        return 1 / median(self.seconds_per_image(*names))

    def ratio(self, name: str, *over: str) -> float:
        """Images/s of a stage over those of others (one after the other), as the median over rounds."""
        return median(self._ratios(name, *over))

    def core_ratio(self, name: str, *over: str) -> float:
        """Core seconds per picture of others over those of a stage: what `ratio` would be if nobody else used the cores."""

        def per_image(stage: str) -> float:
            return median(block.core_seconds / block.n_images for block in self.blocks[stage])

        return sum(map(per_image, over)) / max(per_image(name), 1e-9)

    def spread(self, name: str, *over: str) -> tuple[float, float]:
        """The lowest and the highest of the ratios that `ratio` takes the median of."""
        ratios = self._ratios(name, *over)
        return min(ratios), max(ratios)

    def _ratios(self, name: str, *over: str) -> list[float]:
        pairs = zip(self.seconds_per_image(*over), self.seconds_per_image(name), strict=True)
        return [other / own for other, own in pairs]

    def as_json(self) -> dict[str, dict[str, Any]]:
        """By stage: `images_per_s`, `core_ms_per_image`, and how much was measured."""
        return {name: self._stage(name, blocks) for name, blocks in self.blocks.items()}

    def _stage(self, name: str, blocks: list[Spent]) -> dict[str, Any]:
        return {
            "images_per_s": round(self.images_per_s(name), 3),
            "core_ms_per_image": round(1000 * median(b.core_seconds / b.n_images for b in blocks), 3),
            "n_images": sum(b.n_images for b in blocks),
            "seconds": round(sum(b.seconds for b in blocks), 3),
        }


def alternate(stages: Sequence[Stage], budget: float) -> Rates:
    """Runs the stages in turn, forwards and backwards, each for about `budget` seconds after two batches to warm up.

    A stage whose single batch takes longer than its share of the budget is measured by single batches, fewer of them.
    """
    for stage in stages:
        stage.work(1)
    single = {stage.name: stage.work(1).seconds for stage in stages}
    rounds = max(1, min(ROUNDS, int(budget * len(stages) / max(sum(single.values()), 1e-9))))
    n = {name: max(1, round(budget / rounds / max(seconds, 1e-6))) for name, seconds in single.items()}
    blocks: dict[str, list[Spent]] = {stage.name: [] for stage in stages}
    for number in range(rounds):
        for stage in stages if number % 2 == 0 else reversed(stages):
            blocks[stage.name].append(stage.work(n[stage.name]))
    return Rates(blocks)
