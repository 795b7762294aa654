"""The processes of a training run as one: what the first does before the others, what they learn from it, and how they part."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from fer.cli.processes import started
from fer.errors import FerError
from fer.runs.folder import OthersFolder, RunFolder

PATIENCE = timedelta(days=7)
"""How long the others wait for the first, which may have a million pictures to decode. If it dies, torchrun or Slurm ends them."""

T = TypeVar("T")


@dataclass
class Team:
    """All processes of a run; that of a single one does everything by itself.

    Attributes:
        rank: number of this process.
        environment: what Lightning asks who is who; None alone.
        store: through which the first one speaks to the others.
    """

    rank: int = 0
    environment: ClusterEnvironment | None = None
    store: Store | None = None
    _turns: count[int] = field(default_factory=count)

    @property
    def leads(self) -> bool:
        """Whether this is the first process, the one that writes."""
        return self.rank == 0

    def alone(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, which alone calls it: a plain value, fit for JSON.

        Raises:
            FerError: in the others, if `make` failed in the first one, which says why.
        """
        if self.store is None:
            return make()
        key = f"fer/{next(self._turns)}"
        if self.leads:
            said: dict[str, Any] = {"failed": True}
            try:
                value = make()
                said = {"value": value}
                return value
            finally:
                self.store.set(key, json.dumps(said))
        try:
            self.store.wait([key], PATIENCE)
            said = json.loads(self.store.get(key))
        except distributed.DistError:  # it has ended already, and under Slurm the store with it
            said = {"failed": True}
        if "failed" in said:
            raise FerError("the first process failed and says why")
        found: T = said["value"]
        return found

    def first(self, make: Callable[[], T]) -> T:
        """What `make` returns in this process; the others call it after the first one, and find what it left in the caches.

        Raises:
            FerError: in the others, if it failed in the first one, which says why.
        """
        made: list[T] = []
        self.alone(lambda: made.append(make()))
        return made[0] if made else make()

    def folder(self, make: Callable[[], RunFolder]) -> RunFolder:
        """The run folder that `make` makes or opens in the first process; the others know it and write nothing."""
        made: list[RunFolder] = []

        def about() -> dict[str, Any]:
            made.append(make())
            return {"path": str(made[0].path), "about": made[0].about}

        said = self.alone(about)
        return made[0] if made else OthersFolder(Path(said["path"]), said["about"])

    def part(self) -> None:
        """The end of what is done together."""
        if self.store is not None:
            distributed.barrier()
            distributed.destroy_process_group()
            self.store = None


def lost_another(error: RuntimeError) -> bool:
    """Whether torch says that a process of the group is gone: by an error type for some ways of noticing, in words for gloo."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def assemble(accelerator: str) -> Team:
    """Waits until all processes are there. The group of torch that Lightning would make later is made here: data come first."""
    if started().count == 1:
        return Team()
    # no requeueing by Lightning: it would start another run folder; `resume=` goes on
    environment = TorchElasticEnvironment() if started().by == "torchrun" else SLURMEnvironment(auto_requeue=False)
    os.environ["MASTER_ADDR"] = environment.main_address
    os.environ["MASTER_PORT"] = str(environment.main_port)
    store, rank, size = next(iter(rendezvous("env://", environment.global_rank(), environment.world_size())))
    if accelerator in ("auto", "gpu") and environment.local_rank() < torch.cuda.device_count():
        torch.cuda.set_device(environment.local_rank())
        distributed.init_process_group("nccl", store=store, rank=rank, world_size=size)
    else:
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    return Team(rank, environment, PrefixStore("fer", store))
