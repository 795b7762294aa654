"""In which order, and by which process, pictures are fetched: a function of (seed, epoch), the same after any resume."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from fer.data.augment import epoch_order
from fer.errors import FerError

Batch = dict[str, Tensor]
EpochIndex = tuple[int, int]


class EpochBatches(Sampler[list[EpochIndex]]):
    """Batches of (epoch, index), equal in size to within one picture; the order of an epoch is a function of (seed, epoch) alone.

    Args:
        seed: of the shuffled order; None keeps the order of the table.
        rank, n_processes: of each batch, process `rank` gets its part, equal to within one picture: none twice, none left out.

    Raises:
        FerError: some process would get no picture of a batch.
    """

    def __init__(self, n_images: int, batch_size: int, seed: int | None, rank: int = 0, n_processes: int = 1) -> None:
        self.n_images, self.seed, self.rank, self.n_processes = n_images, seed, rank, n_processes
        self.n_batches = -(-n_images // batch_size)
        self.epoch, self.first_batch = 0, 0
        if n_processes > 1 and n_images < n_processes * self.n_batches:
            raise FerError(
                f"{n_images} pictures in batches of data.batch_size={batch_size} are too few for {n_processes} processes: "
                "lower trainer.devices, or raise data.batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    @property
    def sampler(self) -> EpochBatches:
        """Where Lightning looks for the `set_epoch` of a batch sampler."""
        return self

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[list[EpochIndex]]:
        order = np.arange(self.n_images) if self.seed is None else epoch_order(self.seed, self.epoch, self.n_images)
        first, self.first_batch = self.first_batch, 0
        for batch in np.array_split(order, self.n_batches)[first:]:
            yield [(self.epoch, int(index)) for index in np.array_split(batch, self.n_processes)[self.rank]]


class ResumableLoader(DataLoader[Batch]):
    """A loader that starts, once, where an interrupted epoch stopped: Lightning saves and restores its state."""

    batches_done: Callable[[], int] = staticmethod(lambda: 0)

    def state_dict(self) -> dict[str, int]:
        return {"batches_done": self.batches_done()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert isinstance(self.batch_sampler, EpochBatches)
        self.batch_sampler.first_batch = state["batches_done"]


def batches_done_in(progress: Any) -> int:
    """Batches of the current epoch that are behind us; 0 once it is complete and the next one starts from its beginning."""
    return 0 if progress.is_last_batch else int(progress.current.processed)


def outlive_the_stop(also: Callable[[int], None] | None, worker: int) -> None:
    """Ctrl-C, and SIGTERM to a whole group, reach loader processes, too: the training process needs them for its last step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if also is not None:
        also(worker)


def fetched(batch: Any) -> Any:
    """`Faces` fetches whole batches: there is nothing left to collate."""
    return batch
