"""What was measured, as it is written to `benchmark.json` and printed: ratios first, absolute numbers beside them."""

from __future__ import annotations

import operator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer.benchmarking.clock import Rates

HOLDS = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Ratio:
    """One number over another.

    Attributes:
        name: what is compared with what.
        value: the ratio, or a number of seconds that has a goal.
        goal: such as `>= 0.97`; None: none is set.
        measured: the two numbers in words.
        cores: the ratio by core seconds, which other programs on the machine hardly move; None where those are not known.
    """

    name: str
    value: float
    goal: str | None
    measured: str
    cores: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        sign, limit = self.goal.split()
        return bool(HOLDS[sign](self.value, float(limit)))


@dataclass
class Findings:
    """All results of one benchmark.

    Attributes:
        ratios: what counts.
        stages: by name: `images_per_s`, `core_ms_per_image`, `n_images`, `seconds`.
        memory: by part: the peak of this process's own memory, and of a GPU's, 10^6 bytes.
        more: what has a form of its own, by part.
        left_out: what could not be measured, and why.
    """

    ratios: list[Ratio] = field(default_factory=list)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, measured: str, goal: str | None = None, cores: float | None = None) -> None:
        """One more ratio."""
        self.ratios.append(Ratio(name, round(value, 4), goal, measured, cores and round(cores, 4)))

    def compare(self, rates: Rates, name: str, over: str, goal: str | None = None) -> None:
        """One more ratio: that of two stages that were measured in turn."""
        measured = of(rates.images_per_s(name), rates.images_per_s(over))
        self.add(f"{name} / {over}", rates.ratio(name, over), measured, goal, rates.core_ratio(name, over))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "ratios": [{**asdict(ratio), "met": ratio.met} for ratio in self.ratios],
            "stages": self.stages,
            "memory": self.memory,
            **self.more,
            "left_out": self.left_out,
        }


def of(own: float, other: float) -> str:
    """`88 of 90 images/s`."""
    return f"{own:.4g} of {other:.4g} images/s"
