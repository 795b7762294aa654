"""`what=train`: every stage from the file to the finished step, in turn, and what is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from fer.benchmarking.bench import Bench
from fer.benchmarking.clock import Rates, Stage, alternate, timed
from fer.benchmarking.findings import Findings
from fer.benchmarking.fitting import RealTraining
from fer.benchmarking.loading import augmenting, decoding, loading
from fer.benchmarking.memory import Peak
from fer.benchmarking.stepping import bare_forward, bare_step, default_step
from fer.steps.predicting import predict

REAL_OVER_BARE = ">= 0.97"
BARE_OVER_DEFAULT = ">= 3"


def measure(bench: Bench, budget: float, found: Findings) -> None:
    """Adds everything of training to `found`."""
    with Peak() as peak, stages(bench) as (each, real):
        rates = alternate(each, budget)
    found.stages |= rates.as_json()
    found.memory["train"] = peak.as_json()
    _steps(rates, found)
    if "evaluation" in rates.blocks:
        found.compare(rates, "evaluation", "bare forward, f32")
    if real.between_epochs:
        _between_epochs(bench, real, rates, found)


@contextmanager
def stages(bench: Bench) -> Iterator[tuple[list[Stage], RealTraining]]:
    """All of them; real training ends with the context."""
    with ExitStack() as stack:
        real = stack.enter_context(RealTraining(bench))
        each = [loading(bench), bare_step(bench), real.stage]
        if bench.data.features is None:
            pictures = [decoding(bench), augmenting(bench), default_step(bench)]
            each = [*pictures, *each, evaluating(bench), bare_forward(bench)]
        yield each, real


def evaluating(bench: Bench) -> Stage:
    """What `fer.evaluate` asks of the network: the answers for a split, through Lightning."""
    module = bench.module().eval()

    def batches(n: int) -> int:
        data = bench.data_of(n * bench.batch_size, "all")
        return len(predict(module, data, ["val"], bench.cfg.trainer.accelerator)[0])

    return timed(f"{bench.label}evaluation", batches)


def _steps(rates: Rates, found: Findings) -> None:
    found.compare(rates, "real training", "bare step", REAL_OVER_BARE)
    if "default step" in rates.blocks:
        found.compare(rates, "bare step", "default step", BARE_OVER_DEFAULT)
    lost = 1 - rates.ratio("real training", "bare step")
    cores = 1 - rates.core_ratio("real training", "bare step")
    shares = {"to anything but the network": lost, "likewise, by core seconds": cores}
    own = rates.seconds_per_image("real training")
    for name in ("loader", "augmentation"):
        if name in rates.blocks:
            parts = zip(rates.seconds_per_image(name), own, strict=True)
            shares[f"to {name}"] = median(part / whole for part, whole in parts)
    found.more["share_of_training_lost"] = {name: round(share, 4) for name, share in shares.items()}


def _between_epochs(bench: Bench, real: RealTraining, rates: Rates, found: Findings) -> None:
    pause = median(real.between_epochs[1:] or real.between_epochs)
    epoch = len(bench.data.prepared.part("train")) / rates.images_per_s("real training")
    found.more["between_epochs"] = {
        "seconds": round(pause, 3),
        "share_of_an_epoch": round(pause / (pause + epoch), 4),
        "first_step_s": round(real.between_epochs[0], 3),
    }
