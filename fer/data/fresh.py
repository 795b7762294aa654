"""Training pictures that are drawn while the network trains: the endless counterpart of `fer.data.datamodule.Faces`."""

from __future__ import annotations

import os
from typing import NamedTuple

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.data import Dataset

from fer.config import DataConfig
from fer.data.augment import epoch_draws
from fer.data.faces import Box, How, face_pixels, stored_size
from fer.data.images import Pixels8
from fer.data.landmarks import in_square
from fer.data.synthetic import FreshFace, fresh_face
from fer.labels import MISSING_TARGET, emotion_in_set


class _Drawn(NamedTuple):
    pixels: np.ndarray
    aus: list[int]
    emotion: int
    landmarks: np.ndarray


class FreshFaces(Dataset[dict[str, Tensor]]):
    """`n` new pictures for every epoch, drawn a batch at a time where they are fetched.

    Args:
        n: pictures of an epoch.
        aus, emotions: what the heads say, in tensor order.
        seed: of the pictures; with the epoch and the place it fixes each.
        augmented: whether the batch carries draws for augmentation.
        landmarks: whether it carries their places.
    """

    def __init__(
        self,
        n: int,
        cfg: DataConfig,
        aus: list[int],
        emotions: tuple[str, ...],
        seed: int,
        augmented: bool,
        landmarks: bool = False,
    ) -> None:
        self.landmarks = landmarks
        self.n, self.cfg, self.aus, self.emotions, self.seed, self.augmented = n, cfg, aus, emotions, seed, augmented
        self._draws: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.n

    def __getitems__(self, places: list[tuple[int, int]]) -> dict[str, Tensor]:
        cv2.setNumThreads(1)
        drawn = [self._drawn(epoch, index) for epoch, index in places]
        index = np.array([index for _, index in places])
        batch = {
            "image": torch.from_numpy(np.stack([one.pixels for one in drawn])).permute(0, 3, 1, 2),
            "au": torch.tensor([one.aus for one in drawn], dtype=torch.int64).reshape(len(drawn), len(self.aus)),
            "emotion": torch.tensor([one.emotion for one in drawn], dtype=torch.int64),
            "index": torch.from_numpy(index),
        }
        if self.landmarks:
            batch["landmarks"] = torch.from_numpy(np.stack([one.landmarks for one in drawn])).float()
        if self.augmented:
            epoch = places[0][0]
            if self._draws is None or self._draws[0] != epoch:
                self._draws = epoch, epoch_draws(self.seed, epoch, self.n)
            batch["draws"] = torch.from_numpy(self._draws[1][index])
        return batch

    def _drawn(self, epoch: int, index: int) -> _Drawn:
        size = self.cfg.image_size
        face = fresh_face(self.seed, epoch, index, stored_size(size), self.cfg.reference == "neutral")
        pixels, box, how = self._cut(face)
        if face.neutral is not None:
            pixels = np.concatenate((pixels, self._cut(face.neutral)[0]), axis=2)
        name = face.emotion and emotion_in_set(face.emotion, self.cfg.emotions)
        emotion = self.emotions.index(name) if name in self.emotions else MISSING_TARGET
        points = in_square(face.landmarks, box, how, size)
        return _Drawn(pixels, [int(au in face.aus) for au in self.aus], emotion, points)

    def _cut(self, face: FreshFace) -> tuple[Pixels8, Box, How]:
        rgb = np.repeat(face.image[..., None], 3, axis=2)
        return face_pixels(rgb, self.cfg.image_size, "face", self.cfg.color, face.landmarks)


def yield_to_training(worker: int) -> None:
    """Loader processes that draw must not take the cores from the network: they get what it leaves, and one thread each."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)
    cv2.setNumThreads(1)
    threadpool_limits(1)  # of numpy's products: two draw a face no sooner than one, at twice the processor time
