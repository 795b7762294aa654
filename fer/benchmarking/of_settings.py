"""`against=...`: two settings in turn, block by block; the ratio of each stage, and how far it moved between the rounds."""

from __future__ import annotations

from pathlib import Path

from fer.benchmarking import of_predict, of_training
from fer.benchmarking.bench import Bench
from fer.benchmarking.clock import Rates, Stage, alternate
from fer.benchmarking.composing import composed
from fer.benchmarking.findings import Findings, of
from fer.cli.command import Call, settings
from fer.cli.typed import refuse_bad_overrides
from fer.config import BenchmarkConfig, TrainConfig, resolve
from fer.errors import FerError
from fer.runs.jobs import Kept

OTHER = "other: "


def other_settings(cfg: BenchmarkConfig, call: Call) -> BenchmarkConfig:
    """What was typed, changed by `against`.

    Raises:
        FerError: `against` holds no `key=value`, or one that `fer.train` does not take.
    """
    assert cfg.against is not None
    words = cfg.against.split()
    if not words or not all("=" in word for word in words):
        raise FerError(
            f"against must be one or more key=value, as in \"against='trainer.precision=32'\" in both quotes; got {cfg.against}"
        )
    refuse_bad_overrides(words, TrainConfig)
    typed = [o for o, key in zip(call.overrides, call.keys, strict=True) if key != "against"]
    other: BenchmarkConfig = settings(BenchmarkConfig, composed("benchmark", [*typed, *words]))
    return other


def measure(cfg: BenchmarkConfig, other: BenchmarkConfig, scratch: Path, budget: float, found: Findings) -> None:
    """Adds to `found` each stage with the other settings over the same stage with those typed."""
    kept = Kept()
    one, two = Bench(resolve(cfg), scratch, "", kept), Bench(resolve(other), scratch, OTHER, kept)
    if cfg.what == "train":
        with of_training.stages(one) as (each, _), of_training.stages(two) as (others, _):
            _add(_in_pairs(each, others), budget, found)
        return
    both = zip(of_predict.runtimes(one, found), of_predict.runtimes(two, found), strict=True)
    for (name, predictor), (_, rival) in both:
        _add(_in_pairs(of_predict.stages(one, name, predictor), of_predict.stages(two, name, rival)), budget, found)


def _in_pairs(each: list[Stage], others: list[Stage]) -> list[tuple[Stage, Stage]]:
    by_name = {stage.name.removeprefix(OTHER): stage for stage in others}
    return [(stage, by_name[stage.name]) for stage in each if stage.name in by_name]


def _add(pairs: list[tuple[Stage, Stage]], budget: float, found: Findings) -> None:
    rates = alternate([stage for pair in pairs for stage in pair], budget)
    found.stages |= rates.as_json()
    for stage, other in pairs:
        _compare(rates, stage.name, other.name, found)


def _compare(rates: Rates, name: str, other: str, found: Findings) -> None:
    low, high = rates.spread(other, name)
    measured = f"{of(rates.images_per_s(other), rates.images_per_s(name))} ({low:.3g} to {high:.3g})"
    found.add(f"{name}: other / typed", rates.ratio(other, name), measured, cores=rates.core_ratio(other, name))
