"""The cached pictures of one split, and labels as tensors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fer.data.augment import DRAWS, epoch_draws, epoch_views, view_draws
from fer.data.batches import Batch, EpochIndex
from fer.data.cache import Pixels
from fer.labels import MISSING_TARGET


class Faces(Dataset[Batch]):
    """The pictures of one split, fetched a batch at a time from the cached pixels.

    Args:
        table: rows of `fer.data.prepare.Prepared.table`.
        seed: of the augmentation; None fetches no draws, for the plain view.
        n_views: how many lasting views each picture has; 0: a new one each epoch.
        landmarks: [n, 68, 2] to learn, as `fer.data.landmarks` gives them; None: batches carry none.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        pixels: Pixels,
        aus: list[int],
        emotions: tuple[str, ...],
        seed: int | None,
        n_views: int = 0,
        landmarks: np.ndarray | None = None,
    ) -> None:
        self.pixels, self.seed, self.n_views = pixels, seed, n_views
        self.landmarks = None if landmarks is None else torch.from_numpy(landmarks)
        self.rows = table["pixel"].to_numpy(copy=True)
        self.au = au_targets(table, aus)
        self.emotion = emotion_targets(table, emotions)
        self._draws: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, places: list[EpochIndex]) -> Batch:
        epoch, index = places[0][0], np.array([index for _, index in places])
        stored = np.asarray(self.pixels.array[self.rows[index]])  # [N, S, S, C]
        batch = {
            "image": torch.from_numpy(stored).permute(0, 3, 1, 2),
            "au": self.au[index],
            "emotion": self.emotion[index],
            "index": torch.from_numpy(index),
        }
        if self.landmarks is not None:
            batch["landmarks"] = self.landmarks[index]
        return batch if self.seed is None else {**batch, "draws": self._draws_of(epoch, index)}

    def _draws_of(self, epoch: int, index: np.ndarray) -> Tensor:
        if self._draws is None or self._draws[0] != epoch:
            self._draws = epoch, self._draws_in(epoch)
        return torch.from_numpy(self._draws[1][index])

    def _draws_in(self, epoch: int) -> np.ndarray:
        assert self.seed is not None
        if not self.n_views:
            return epoch_draws(self.seed, epoch, len(self))
        shown = epoch_views(self.seed, epoch, len(self), self.n_views)
        draws = np.empty((len(self), len(DRAWS)), np.float32)
        for view in np.unique(shown):
            # by the place in the picture list: a view stays the same for other splits
            draws[shown == view] = view_draws(int(view), len(self.pixels.array))[self.rows[shown == view]]
        return draws


def au_targets(table: pd.DataFrame, aus: list[int]) -> Tensor:
    """[N, A] int64: 1 present, 0 absent, -1 missing (a unit that the table lacks is missing everywhere)."""
    units = table.reindex(columns=[f"AU{au}" for au in aus])
    return torch.from_numpy(
        units.to_numpy(dtype=np.float64, na_value=MISSING_TARGET).astype(np.int64).reshape(len(table), len(aus))
    )


def emotion_targets(table: pd.DataFrame, emotions: tuple[str, ...]) -> Tensor:
    """[N] int64: the place of the emotion in `emotions`, -1 missing or of another set (a model may have no emotion head)."""
    places = pd.Index(list(emotions), dtype="str").get_indexer(pd.Index(table["emotion"].astype("str")))
    return torch.from_numpy(places.astype(np.int64))
