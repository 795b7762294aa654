"""Batches for Lightning, exact from the start: the same pictures in the same order for any number of workers, and after any resume.

A batch is a dictionary: `image` [N, 3, H, W] float in [0, 1] (on the device; uint8 [N, C, S, S] until then), `au` [N, A] int64 and
`emotion` [N] int64 with -1 for a missing label, `index` [N] the row of the split's table.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fer.config import AugmentConfig, DataConfig
from fer.data.augment import (
    DRAWS,
    augmented_view,
    centre_view,
    changes_anything,
    epoch_draws,
    epoch_order,
    epoch_views,
    moved_landmarks,
    view_draws,
)
from fer.data.cache import Pixels, Progress
from fer.data.features import FeatureRows, FeatureSource
from fer.data.fresh import FreshFaces, yield_to_training
from fer.data.landmarks import MIRRORED, stored_landmarks
from fer.data.prepare import Prepared, chosen_aus, prepare, present_emotions
from fer.errors import FerError
from fer.labels import MISSING_TARGET

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


class Faces(Dataset[Batch]):
    """The pictures of one split, fetched a batch at a time from the cached pixels.

    Args:
        table: rows of `fer.data.prepare.Prepared.table`.
        seed: of the augmentation; None fetches no draws, for the plain view.
        n_views: how many lasting views each picture has; 0: a new one each epoch.
        landmarks: [n, 68, 2] to learn, see `fer.data.landmarks`.
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
    """[N] int64: the place of the emotion in `emotions`, -1 missing."""
    return torch.from_numpy(pd.Categorical(table["emotion"], categories=list(emotions)).codes.astype(np.int64))


class ResumableLoader(DataLoader[Batch]):
    """A loader that starts, once, where an interrupted epoch stopped: Lightning saves and restores its state."""

    batches_done: Callable[[], int] = staticmethod(lambda: 0)

    def state_dict(self) -> dict[str, int]:
        return {"batches_done": self.batches_done()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert isinstance(self.batch_sampler, EpochBatches)
        self.batch_sampler.first_batch = state["batches_done"]


class FaceData(lightning.LightningDataModule):
    """Reads, splits by person, caches, augments. Call `setup` before the model is built: the heads depend on the labels.

    Args:
        seed: of the order and the augmentation (the split has its own in `cfg`).
        labels: the AUs and emotions of a finished model; the data is then not split and not searched for labels.

    Attributes:
        prepared: the tables and pixels.
        aus, emotions: what the heads say, in tensor order.
        predicted: the splits that `predict_dataloader` gives, in order.
        landmarks: whether batches of training carry landmarks to learn.
        features: gives features of a frozen backbone for the batches; None: they are of pictures.
    """

    prepared: Prepared
    aus: list[int]
    emotions: tuple[str, ...]
    predicted: list[str]

    def __init__(
        self,
        cfg: DataConfig,
        augment: AugmentConfig,
        seed: int,
        cache_dir: Path,
        labels: tuple[list[int], tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.cfg, self.augment, self.seed, self.cache_dir, self.labels = cfg, augment, seed, cache_dir, labels
        self.progress: Progress | None = None
        self.features: FeatureSource | None = None
        self.landmarks = False

    def setup(self, stage: str | None = None) -> None:
        """Idempotent, as Lightning calls it again for each of its stages.

        Raises:
            FerError: see `fer.data.prepare.prepare`.
        """
        if hasattr(self, "aus"):
            return
        if not hasattr(self, "prepared"):
            self.prepared = prepare(self.cfg, self.cache_dir, split=self.labels is None, progress=self.progress)
        if self.labels is not None:
            self.aus, self.emotions = self.labels
            return
        train = self.prepared.part("train")
        self.aus = chosen_aus(train, self.cfg.aus, self.cfg.min_au_count)
        self.emotions = present_emotions(train, self.cfg.emotions)

    def label_counts(self) -> tuple[Tensor, Tensor]:
        """Of the training split: [A, 2] absent and present labels per unit, [E] pictures per emotion."""
        train = self.prepared.part("train")
        au, emotion = au_targets(train, self.aus), emotion_targets(train, self.emotions)
        n_emotion = torch.bincount(emotion[emotion != MISSING_TARGET], minlength=len(self.emotions))
        return torch.stack(((au == 0).sum(0), (au == 1).sum(0)), 1).float(), n_emotion.float()

    def train_dataloader(self) -> DataLoader[Batch]:
        loader = self.fresh_loader() if self.cfg.fresh_pictures else self.loader("train", shuffled=True)
        assert isinstance(loader, ResumableLoader) and isinstance(loader.batch_sampler, EpochBatches)
        if self.trainer is not None:
            fit: Any = self.trainer.fit_loop  # its progress trackers are typed by a base class without `processed`
            # On resume Lightning (2.5.3 to 2.6, #21938) sets the epoch only after workers have prefetched with the old one
            loader.batch_sampler.set_epoch(fit.epoch_progress.current.processed)
            loader.batches_done = lambda: _batches_done(fit.epoch_loop.batch_progress)
        return loader

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.loader("val")

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        return [self.loader(part) for part in self.predicted]

    def loader(self, part: str, *, shuffled: bool = False) -> DataLoader[Batch]:
        """A split's batches: every picture once, in the order of the table; `shuffled` and augmented for training."""
        seed = self.seed if shuffled else None
        table = self.prepared.part(part)
        if self.features is not None:
            return self._loader(self._features(self.features, table, seed), seed)
        draws = seed if changes_anything(self.augment) else None
        views = self.cfg.views or 0
        points = (
            stored_landmarks(table, self.prepared.pixels, self.cfg.image_size) if self.landmarks and shuffled else None
        )
        return self._loader(Faces(table, self.prepared.pixels, self.aus, self.emotions, draws, views, points), seed)

    def _features(self, source: FeatureSource, table: pd.DataFrame, seed: int | None) -> FeatureRows:
        rows = table["pixel"].to_numpy(copy=True)
        labels = {"au": au_targets(table, self.aus), "emotion": emotion_targets(table, self.emotions)}
        if seed is not None:
            return FeatureRows(source.views(), rows, labels, None, seed)
        return FeatureRows([source.plain(rows)], np.arange(len(rows)), labels, source.mirrored(rows), 0)

    def fresh_loader(self) -> DataLoader[Batch]:
        """`data.fresh_pictures` new drawn pictures for each epoch, in the order in which they are drawn."""
        faces = FreshFaces(
            self.cfg.fresh_pictures,
            self.cfg,
            self.aus,
            self.emotions,
            self.seed,
            changes_anything(self.augment),
            self.landmarks,
        )
        # spawned: a forked process waits forever for the threads that OpenCV had in its parent
        context = "spawn" if self.cfg.workers else None
        return self._loader(faces, None, worker_init_fn=yield_to_training, multiprocessing_context=context)

    def _loader(self, faces: Faces | FreshFaces | FeatureRows, seed: int | None, **more: Any) -> DataLoader[Batch]:
        # features are only looked up: no other process could do it faster
        workers = 0 if isinstance(faces, FeatureRows) else self.cfg.workers
        mine = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        more["worker_init_fn"] = partial(_outlive_the_stop, more.get("worker_init_fn"))
        return ResumableLoader(
            faces,
            batch_sampler=EpochBatches(len(faces), self.cfg.batch_size, seed, *mine),
            num_workers=workers,
            collate_fn=_fetched,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # so that a loader takes nothing from the stream that dropout draws from
            **more,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Stored pixels to the network's input, on the device."""
        if "features" in batch:
            return batch
        draws = batch.pop("draws", None)
        images, size = batch["image"], self.cfg.image_size
        if "landmarks" in batch:
            points = moved_landmarks(batch["landmarks"], draws, self.augment, size, images.shape[-1], MIRRORED)
            batch = {**batch, "landmarks": points}
        view = centre_view(images, size) if draws is None else augmented_view(images, draws, self.augment, size)
        return {**batch, "image": view}


def _batches_done(progress: Any) -> int:
    """Batches of the current epoch that are behind us; 0 once it is complete and the next one starts from its beginning."""
    return 0 if progress.is_last_batch else int(progress.current.processed)


def _outlive_the_stop(also: Callable[[int], None] | None, worker: int) -> None:
    """Ctrl-C, and SIGTERM to a whole group, reach loader processes, too: the training process needs them for its last step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if also is not None:
        also(worker)


def _fetched(batch: Any) -> Any:
    """`Faces` fetches whole batches: there is nothing left to collate."""
    return batch
