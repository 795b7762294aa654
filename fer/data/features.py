"""Batches of features instead of pictures: what a frozen backbone said of each, in the order and the views that the pictures would have.

A batch is that of `datamodule` with `features` [N, F] in place of `image`, and `mirrored` [N, F] of the mirror images where they count.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fer.data.augment import epoch_views

Rows = np.ndarray
"""[n] int: places in the picture list (`fer.data.cache.Pixels`)."""


class FeatureSource(Protocol):
    """Where features come from (`fer.model.features`)."""

    def views(self) -> list[Tensor]:
        """The lasting views that training draws from: [n, F] each, over the whole picture list."""

    def plain(self, rows: Rows) -> Tensor:
        """[n, F] of the centre views of these pictures."""

    def mirrored(self, rows: Rows) -> Tensor | None:
        """[n, F] of their mirror images; None for a network that does not average over them."""

    def in_full_precision(self) -> FeatureSource:
        """The same, computed without lower precision."""


class FeatureRows(Dataset[dict[str, Tensor]]):
    """The features of one split, fetched a batch at a time.

    Args:
        views: [*, F] each.
        rows: [n] the row of each picture of the split in `views`.
        labels: [n, ...] each, by the name they have in a batch.
        mirrored: [n, F], or None.
        seed: of which view is shown when.
    """

    def __init__(
        self, views: list[Tensor], rows: Rows, labels: dict[str, Tensor], mirrored: Tensor | None, seed: int
    ) -> None:
        self.views, self.rows, self.labels, self.mirrored, self.seed = views, rows, labels, mirrored, seed
        self._shown: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, places: list[tuple[int, int]]) -> dict[str, Tensor]:
        at = torch.tensor([index for _, index in places])
        batch = {"features": self._features_in(places[0][0])[at], "index": at}
        if self.mirrored is not None:
            batch["mirrored"] = self.mirrored[at]
        return batch | {name: values[at] for name, values in self.labels.items()}

    def _features_in(self, epoch: int) -> Tensor:
        """[n, F], gathered once for all batches of an epoch."""
        if self._shown is None or self._shown[0] != epoch:
            shown = epoch_views(self.seed, epoch, len(self), len(self.views))
            features = self.views[0].new_empty(len(self), self.views[0].shape[1])
            for view, whole in enumerate(self.views):
                mine = np.flatnonzero(shown == view)
                features[torch.from_numpy(mine)] = whole[torch.from_numpy(self.rows[mine])]
            self._shown = epoch, features
        return self._shown[1]
