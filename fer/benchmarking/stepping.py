"""Stages of the network alone, on tensors that are ready."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fer.benchmarking.bench import Bench
from fer.benchmarking.clock import Stage, timed
from fer.model import allocator, threads


@contextmanager
def _as_fast_as_it_can() -> Iterator[None]:
    """Without the repeatability that training asks torch for: what that costs is lost to something else than the network."""
    was, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=warned)


def bare_step(bench: Bench) -> Stage:
    """Forward, losses, backward, clipping and optimizer, as training does them, on one batch again and again."""
    module, batch = bench.module(), bench.batch()
    optimizer = module.optimizer_of_settings()
    clip = bench.cfg.trainer.gradient_clip

    def batches(n: int) -> int:
        with _as_fast_as_it_can(), threads.limited(1 if bench.cfg.model.finetune == "frozen" else threads.every()):
            for _ in range(n):
                with bench.autocast():
                    total = module.learn_from(batch).total
                torch.autograd.backward(total)
                if clip:
                    nn.utils.clip_grad_norm_(module.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
        return n * len(batch["index"])

    return timed(f"{bench.label}bare step", batches)


def default_step(bench: Bench) -> Stage:
    """The same network and batch as torchvision and torch give them: single precision, their AdamW and order in memory, glibc's ways."""
    module, batch = bench.module().to(memory_format=torch.contiguous_format), bench.batch()
    images = batch["image"].contiguous()
    optimizer = torch.optim.AdamW(module.parameters())

    def batches(n: int) -> int:
        with _as_fast_as_it_can(), allocator.as_it_comes():
            for _ in range(n):
                loss: torch.Tensor = module.balance(module.losses(module.network(images), batch))
                torch.autograd.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        return n * len(images)

    return timed(f"{bench.label}default step", batches)


def bare_forward(bench: Bench) -> Stage:
    """Answers in full precision, as evaluation wants them."""
    module, batch = bench.module().eval(), bench.batch()

    def batches(n: int) -> int:
        with _as_fast_as_it_can(), torch.inference_mode():
            for _ in range(n):
                module(batch["image"])
        return n * len(batch["index"])

    return timed(f"{bench.label}bare forward, f32", batches)
