"""Landmarks to learn: points must lie where augmentation and cropping put the pixels that they mark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed

from fer.config import AugmentConfig, DataConfig
from fer.data import landmarks
from fer.data.augment import DRAWS, augmented_view, moved_landmarks
from fer.data.datamodule import FaceData
from fer.data.faces import Box, face_pixels, stored_size
from fer.errors import FerError
from fer.model.losses import landmark_loss

SIZE = 64


def brightest(square: np.ndarray) -> np.ndarray:
    """x, y in [-1, 1] of the middle of what is bright in [H, W]."""
    rows, columns = np.nonzero(square > 0.5 * square.max())
    return (np.array([columns.mean(), rows.mean()]) + 0.5) / len(square) * 2 - 1


def test_points_follow_the_crop() -> None:
    face = Box(200.0, 120.0, 180.0, 180.0)
    for crop, box, how in (("face", face, "box"), ("full", Box(0, 0, 640, 490), "whole")):
        for x, y in ((230, 160), (330, 290)):
            picture = np.zeros((490, 640, 3), np.uint8)
            picture[y - 4 : y + 5, x - 4 : x + 5] = 255
            pixels, found, source = face_pixels(picture, SIZE, crop, False, box=face)  # type: ignore[arg-type]
            assert (found, source) == (box, how)
            place = landmarks.in_square(np.array([[x + 0.5, y + 0.5]]), found, source, SIZE)[0]
            np.testing.assert_allclose(place, brightest(pixels[..., 0].astype(float)), atol=0.03)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_points_follow_the_augmentation(padding: str) -> None:
    cfg = AugmentConfig(
        shift=0.1, rotate=20.0, zoom=0.2, stretch=0.1, brightness=0.0, contrast=0.0, flip=0.5, padding=padding
    )
    stored, n = stored_size(SIZE), 24
    rng = np.random.default_rng(0)
    draws = torch.from_numpy(rng.random((n, len(DRAWS)), dtype=np.float32))
    at = rng.integers(26, 46, (n, 2))
    images = torch.zeros(n, 1, stored, stored, dtype=torch.uint8)
    for k, (x, y) in enumerate(at):
        images[k, 0, y - 1 : y + 2, x - 1 : x + 2] = 255
    points = torch.from_numpy((at[:, None] + 0.5) / stored * 2 - 1).float().expand(-1, 68, -1)
    moved = moved_landmarks(points, draws, cfg, SIZE, stored, landmarks.MIRRORED)
    views = augmented_view(images, draws, cfg, SIZE)
    found = np.stack([brightest(view[0].numpy()) for view in views])
    np.testing.assert_allclose(moved[:, 0].numpy(), found, atol=0.04)


def test_a_mirrored_left_eye_is_a_right_eye() -> None:
    points = torch.linspace(-0.5, 0.5, 136).view(1, 68, 2)
    still = {"shift": 0.0, "rotate": 0.0, "zoom": 0.0, "brightness": 0.0, "contrast": 0.0}
    draws = torch.full((1, len(DRAWS)), 0.5)
    kept, flipped = (
        moved_landmarks(points, draws, AugmentConfig(flip=flip, **still), SIZE, SIZE, landmarks.MIRRORED)
        for flip in (0.0, 1.0)
    )
    torch.testing.assert_close(kept, points)
    torch.testing.assert_close(flipped[0, 36], points[0, 45] * torch.tensor([-1.0, 1.0]))
    assert [landmarks.MIRRORED[k] for k in landmarks.MIRRORED] == list(range(68))


def test_pictures_without_landmarks_teach_nothing() -> None:
    target = torch.zeros(2, 68, 2)
    target[1] = float("nan")
    found = torch.ones(2, 68, 2, requires_grad=True)
    loss = landmark_loss(found, target)
    assert loss.item() == pytest.approx(1 - 0.01)  # Huber: distance minus half its bend
    loss.backward()
    assert found.grad is not None and found.grad[0].abs().sum() > 0 and found.grad[1].abs().sum() == 0
    assert landmark_loss(found, torch.full((2, 68, 2), float("nan"))).item() == 0


def test_a_run_learns_landmarks_and_says_the_same_of_its_heads(train: Callable[..., Path]) -> None:
    run_dir = train("loss.landmark_weight=1")
    state = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert state["landmark_head.weight"].shape == (136, 1024)
    assert json.loads((run_dir / "metrics.json").read_text())["test"]["au"]["macro"]["auc"] is not None


@pytest.mark.parametrize("other", ["model.finetune=frozen", "augment.mixup=0.2"])
def test_what_cannot_be_learned_of_landmarks_is_refused(other: str) -> None:
    with pytest.raises(FerError, match=r"loss\.landmark_weight must be 0"):
        composed("train", "loss.landmark_weight=1", other)


def test_batches_of_training_carry_points_as_the_view_shows_them(tree: Path, cache: Path) -> None:
    cfg = DataConfig(name="ckplus", root=str(tree), image_size=SIZE, frames="neutral+peak3", batch_size=16)
    data = FaceData(cfg, AugmentConfig(rotate=20.0, zoom=0.2), 0, cache)
    data.landmarks = True
    data.setup()
    raw = next(iter(data.loader("train", shuffled=True)))
    stored, draws = raw["image"].shape[-1], raw["draws"]
    seen = moved_landmarks(raw["landmarks"], draws, data.augment, SIZE, stored, landmarks.MIRRORED)
    assert (seen - raw["landmarks"]).abs().max() > 0.05
    torch.testing.assert_close(data.on_after_batch_transfer(raw, 0)["landmarks"], seen)


def test_data_without_landmarks_cannot_teach_them(train: Callable[..., Path], tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "plain", ignore=shutil.ignore_patterns("Landmarks"))
    with pytest.raises(FerError, match=r"loss\.landmark_weight: no picture of the training split has landmarks"):
        train(f"data.root={tmp_path / 'plain'}", "loss.landmark_weight=1")
