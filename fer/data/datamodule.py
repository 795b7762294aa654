"""Batches for Lightning, exact from the start: the same pictures in the same order for any number of workers, and after any resume.

A batch is a dictionary: `image` [N, 3, H, W] float in [0, 1] (on the device; uint8 [N, C, S, S] until then), `au` [N, A] int64 and
`emotion` [N] int64 with -1 for a missing label, `index` [N] the row of the split's table.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fer.config import AugmentConfig, DataConfig
from fer.data.augment import augmented_view, centre_view, changes_anything, moved_landmarks
from fer.data.batches import Batch, EpochBatches, ResumableLoader, batches_done_in, fetched, outlive_the_stop
from fer.data.cache import Progress
from fer.data.features import FeatureRows, FeatureSource
from fer.data.fresh import FreshFaces, yield_to_training
from fer.data.landmarks import MIRRORED, stored_landmarks
from fer.data.pictures import Faces, au_targets, emotion_targets
from fer.data.prepare import Prepared, chosen_aus, prepare, present_emotions
from fer.labels import MISSING_TARGET


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
        only: the fingerprint that the data must have; None: any.
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
        self.only: str | None = None

    def setup(self, stage: str | None = None) -> None:
        """Idempotent, as Lightning calls it again for each of its stages.

        Raises:
            FerError: see `fer.data.prepare.prepare`.
        """
        if hasattr(self, "aus"):
            return
        if not hasattr(self, "prepared"):
            self.prepared = prepare(
                self.cfg, self.cache_dir, split=self.labels is None, only=self.only, progress=self.progress
            )
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

    def aus_by_emotion(self) -> Tensor:
        """Of the training split: [E, A, 2] pictures of each emotion without and with each unit, where both are labelled."""
        train = self.prepared.part("train")
        au, emotion = au_targets(train, self.aus), emotion_targets(train, self.emotions)
        shown = torch.stack((au == 0, au == 1), -1).float()
        return torch.stack([shown[emotion == k].sum(0) for k in range(len(self.emotions))])

    def train_dataloader(self) -> DataLoader[Batch]:
        loader = self.fresh_loader() if self.cfg.fresh_pictures else self.loader("train", shuffled=True)
        assert isinstance(loader, ResumableLoader) and isinstance(loader.batch_sampler, EpochBatches)
        if self.trainer is not None:
            fit: Any = self.trainer.fit_loop  # its progress trackers are typed by a base class without `processed`
            # On resume Lightning (2.5.3 to 2.6, #21938) sets the epoch only after workers have prefetched with the old one
            loader.batch_sampler.set_epoch(fit.epoch_progress.current.processed)
            loader.batches_done = lambda: batches_done_in(fit.epoch_loop.batch_progress)
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
        taught = shuffled and self.landmarks
        landmarks = stored_landmarks(table, self.prepared.pixels, self.cfg.image_size) if taught else None
        return self._loader(Faces(table, self.prepared.pixels, self.aus, self.emotions, draws, views, landmarks), seed)

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
        more["worker_init_fn"] = partial(outlive_the_stop, more.get("worker_init_fn"))
        return ResumableLoader(
            faces,
            batch_sampler=EpochBatches(len(faces), self.cfg.batch_size, seed, *mine),
            num_workers=workers,
            collate_fn=fetched,
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
