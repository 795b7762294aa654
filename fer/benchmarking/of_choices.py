"""`what=choices`: what each choice of a training step is worth, by steps in which that choice alone is another."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torchvision.transforms import v2

from fer.benchmarking.bench import Bench
from fer.benchmarking.clock import Stage, alternate, finish_device, timed
from fer.benchmarking.findings import Findings
from fer.benchmarking.loading import augmenting
from fer.config import AugmentConfig
from fer.steps import fitting


@dataclass(frozen=True)
class Chosen:
    """How a step is done."""

    bf16: bool = True
    channels_last: bool = True
    fused: bool = True
    compiled: bool = False


SINGLE_PRECISION, NOT_FUSED = "single precision", "optimizer not fused"
OTHERS = {
    SINGLE_PRECISION: Chosen(bf16=False),
    "channels first": Chosen(channels_last=False),
    NOT_FUSED: Chosen(fused=False),
}
"""Steps that a step as training does it is set against."""

AS_CHOSEN, COMPILED = "step as chosen", "step, compiled"
BATCHED, SINGLE = "augmentation", "augmentation, picture by picture"


def measure(bench: Bench, budget: float, found: Findings) -> None:
    """Adds the choices to `found`: those that pay have a ratio above 1."""
    usual = Chosen(bf16=bench.precision == "bf16-mixed")
    others = dict(OTHERS)
    if not usual.bf16:
        others.pop(SINGLE_PRECISION)
        found.left_out[SINGLE_PRECISION] = "it is what trainer.precision chooses here"
    if bench.cfg.optimizer.name == "rmsprop":
        others.pop(NOT_FUSED)
        found.left_out[NOT_FUSED] = "torch has no fused RMSprop"
    stages = [_step(bench, AS_CHOSEN, usual)]
    stages += [_step(bench, name, replace(other, bf16=other.bf16 and usual.bf16)) for name, other in others.items()]
    stages += [augmenting(bench), _by_picture(bench)]
    if compiled := _compiled(bench, replace(usual, compiled=True), found):
        stages.append(compiled)
    rates = alternate(stages, budget)
    found.stages |= rates.as_json()
    for name in others:
        found.compare(rates, AS_CHOSEN, name)
    found.compare(rates, BATCHED, SINGLE)
    if compiled:
        found.compare(rates, COMPILED, AS_CHOSEN)


def _step(bench: Bench, name: str, chosen: Chosen) -> Stage:
    """Forward, losses, backward and optimizer on one batch again and again."""
    order = torch.channels_last if chosen.channels_last else torch.contiguous_format
    module, batch = bench.module().to(memory_format=order), bench.batch()
    images = batch["image"].contiguous(memory_format=order)
    optimizer = module.optimizer_of_settings()
    for group in optimizer.param_groups:
        group["fused"] = chosen.fused and group.get("fused", False)
    if chosen.compiled:
        fitting.compile_backbone(module)

    def batches(n: int) -> int:
        for _ in range(n):
            with torch.autocast(bench.device.type, torch.bfloat16, enabled=chosen.bf16):
                loss: torch.Tensor = module.balance(module.losses(module.network(images), batch))
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return n * len(images)

    return timed(name, batches)


def _compiled(bench: Bench, chosen: Chosen, found: Findings) -> Stage | None:
    """The compiled step after its first one, whose time is told; None where torch can't compile."""
    stage, started = _step(bench, COMPILED, chosen), time.monotonic()
    try:
        stage.work(1)
    except Exception as error:  # of a compiler that is missing or fails: whatever it is, the rest can be measured
        found.left_out["torch.compile"] = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        return None
    finish_device()
    found.more["compile_first_step_s"] = round(time.monotonic() - started, 1)
    return stage


def _by_picture(bench: Bench) -> Stage:
    """What the augmentation does, by torchvision's v2 transforms on the processor, each picture with draws of its own."""
    batch: dict[str, Any] = next(iter(bench.data.loader("train", shuffled=True)))
    change = _transforms(bench.cfg.augment, bench.cfg.data.image_size)

    def batches(n: int) -> int:
        for _ in range(n):
            views = torch.stack([change(picture) for picture in batch["image"]]).expand(-1, 3, -1, -1)
            views.to(bench.device)
        return n * len(batch["index"])

    return timed(SINGLE, batches)


def _transforms(cfg: AugmentConfig, image_size: int) -> v2.Compose:
    return v2.Compose(
        [
            v2.RandomAffine(cfg.rotate, (cfg.shift, cfg.shift), (1 - cfg.zoom, 1 + cfg.zoom)),
            v2.CenterCrop(image_size),
            v2.RandomHorizontalFlip(cfg.flip),
            v2.ColorJitter(brightness=cfg.brightness, contrast=cfg.contrast),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomErasing(cfg.erase),
        ]
    )
