"""Landmarks and their movement to learn: points must lie where augmentation and cropping put the pixels that they mark."""

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
from fer.model.losses import landmark_loss, movement_loss

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


def test_movement_is_what_the_view_does_to_a_difference_of_places() -> None:
    cfg = AugmentConfig(shift=0.1, rotate=20.0, zoom=0.2, stretch=0.1, flip=0.5)
    rng = np.random.default_rng(0)
    draws = torch.from_numpy(rng.random((24, len(DRAWS)), dtype=np.float32))
    here, rest = (torch.from_numpy(rng.uniform(-0.5, 0.5, (24, 68, 2)).astype(np.float32)) for _ in range(2))
    there, then = (moved_landmarks(points, draws, cfg, SIZE, 73, landmarks.MIRRORED) for points in (here, rest))

    def seen(movement: torch.Tensor, draws: torch.Tensor | None) -> torch.Tensor:
        return moved_landmarks(movement, draws, cfg, SIZE, 73, landmarks.MIRRORED, differences=True)

    torch.testing.assert_close(seen(here - rest, draws), there - then)
    torch.testing.assert_close(seen(here - rest, None), (here - rest) * 73 / SIZE)


def test_a_head_that_turns_in_the_plane_and_comes_nearer_has_not_moved_its_face() -> None:
    neutral = np.random.default_rng(0).uniform(0, 300, (68, 2))
    angle, scale = 0.2, 1.3
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    seen = neutral @ turn.T + [40.0, -7.0]
    seen[48] += [3.0, 5.0]  # the corner of a mouth
    expected = np.zeros((68, 2))
    expected[48] = [3.0, 5.0]
    np.testing.assert_allclose(seen - landmarks.laid_over(neutral, seen), expected, atol=1e-9)


def test_movement_is_from_the_first_frame_of_the_sequence(tree: Path, cache: Path) -> None:
    cfg = DataConfig(name="ckplus", root=str(tree), image_size=SIZE, frames="neutral+peak3", emotions="basic+neutral")
    data = FaceData(cfg, AugmentConfig(), 0, cache)
    data.setup()
    table, pixels = data.prepared.table, data.prepared.pixels
    movement = landmarks.stored_movement(table, pixels, SIZE)
    neutral = (table["emotion"] == "neutral").fillna(False).to_numpy(dtype=bool)
    peak = (table["frame"] == table.groupby(["subject", "sequence"])["frame"].transform("max")).to_numpy()
    assert np.isnan(
        movement[:, landmarks.JAW]
    ).all()  # a head that turns moves its outline more than an expression does
    inside = movement[:, landmarks.JAW.stop :]
    assert neutral.any() and np.abs(inside[neutral]).max() < 1e-6
    sizes = np.linalg.norm(inside, axis=2).max(1)
    assert sizes[peak].min() > 0.01  # about a pixel
    opened = (table["AU27"] == 1).fillna(False).to_numpy(dtype=bool) & peak
    assert opened.any() and (movement[opened, 57, 1] > 2 / SIZE).all()  # jaws drop: the lower lip, by over a pixel
    one = table.assign(reference_landmarks=table["reference_landmarks"].where(neutral))
    assert np.isnan(landmarks.stored_movement(one, pixels, SIZE)[~neutral]).all()
    none = table.drop(columns="reference_landmarks")
    assert np.isnan(landmarks.stored_movement(none, pixels, SIZE)).all()


def test_movement_is_told_in_hundredths_where_it_is_known() -> None:
    target = torch.full((2, 68, 2), 0.03)
    target[1] = float("nan")
    assert movement_loss(torch.full((2, 68, 2), 5.0), target).item() == pytest.approx(2)
    found = torch.full((2, 68, 2), 5.0, requires_grad=True)
    target[0, landmarks.JAW] = float("nan")
    loss = movement_loss(found, target)
    assert loss.item() == pytest.approx(2)  # the mean is over what is known
    loss.backward()
    assert found.grad is not None and found.grad[0, landmarks.JAW].abs().sum() == found.grad[1].abs().sum() == 0
    assert found.grad[0, landmarks.JAW.stop :].abs().min() > 0
    assert movement_loss(found, torch.full((2, 68, 2), float("nan"))).item() == 0


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
    run_dir = train("loss.landmark_weight=1", "loss.movement_weight=0.5")
    state = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert state["landmark_head.weight"].shape == state["movement_head.weight"].shape == (136, 1024)
    assert json.loads((run_dir / "metrics.json").read_text())["test"]["au"]["macro"]["auc"] is not None


@pytest.mark.parametrize("key", ["loss.landmark_weight", "loss.movement_weight"])
@pytest.mark.parametrize("other", ["model.finetune=frozen", "augment.mixup=0.2"])
def test_what_cannot_be_learned_of_landmarks_is_refused(key: str, other: str) -> None:
    with pytest.raises(FerError, match=key):
        composed("train", f"{key}=1", other)


def test_batches_of_training_carry_points_as_the_view_shows_them(tree: Path, cache: Path) -> None:
    cfg = DataConfig(name="ckplus", root=str(tree), image_size=SIZE, frames="neutral+peak3", batch_size=16)
    data = FaceData(cfg, AugmentConfig(rotate=20.0, zoom=0.2), 0, cache)
    data.point_tasks = ("landmarks", "movement")
    data.setup()
    raw = next(iter(data.loader("train", shuffled=True)))
    stored, draws = raw["image"].shape[-1], raw["draws"]
    rest = raw["landmarks"] - raw["movement"]
    seen, still = (
        moved_landmarks(points, draws, data.augment, SIZE, stored, landmarks.MIRRORED)[:, landmarks.JAW.stop :]
        for points in (raw["landmarks"], rest)
    )
    assert (seen - still).abs().max() > 0.05
    batch = data.on_after_batch_transfer(raw, 0)
    torch.testing.assert_close(batch["landmarks"][:, landmarks.JAW.stop :], seen)
    torch.testing.assert_close(batch["movement"][:, landmarks.JAW.stop :], seen - still)


def test_photographs_without_sequences_cannot_teach_movement(tmp_path: Path) -> None:
    with pytest.raises(FerError, match=r"loss\.movement_weight needs the first frames of sequences"):
        composed("train", "data=csv", f"data.table={tmp_path / 'table.csv'}", "loss.movement_weight=1")


def test_first_frames_alone_cannot_teach_movement(train: Callable[..., Path], tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "first")
    for folder in (tmp_path / "first" / "Landmarks").glob("*/*"):
        for file in sorted(folder.glob("*.txt"))[1:]:
            file.unlink()
    with pytest.raises(FerError, match=r"loss\.movement_weight: no picture .* first frame"):
        train(f"data.root={tmp_path / 'first'}", "data.frames=peak", "loss.movement_weight=1")


def test_data_without_neutral_frames_cannot_teach_movement(
    train: Callable[..., Path], tree: Path, tmp_path: Path
) -> None:
    shutil.copytree(tree, tmp_path / "peaks")
    for folder in (tmp_path / "peaks" / "cohn-kanade-images").glob("*/*"):
        for frame in sorted(folder.glob("*.png"))[:-1]:
            frame.unlink()
    with pytest.raises(FerError, match=r"loss\.movement_weight: .* first frame"):
        train(f"data.root={tmp_path / 'peaks'}", "loss.movement_weight=1")
