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
from torch import nn

from fer.config import AugmentConfig, DataConfig
from fer.data import landmarks
from fer.data.augment import DRAWS, augmented_view, moved_landmarks
from fer.data.datamodule import FaceData
from fer.data.faces import Box, face_pixels, stored_size
from fer.data.synthetic import head
from fer.data.synthetic.face import grid
from fer.errors import FerError
from fer.model.backbone import make_backbone
from fer.model.landmark_maps import LandmarkMaps, heat_loss
from fer.model.losses import landmark_loss
from fer.model.network import TwoHeadNetwork
from fer.model.weight_files import save_backbone
from fer.model.weights import find_weights

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


def test_a_symmetric_face_is_its_own_mirror_image() -> None:
    face = head.landmarks(grid("small").base, "small", brow=(4.0, 0.8, 3.0, 11.0))[:, :2]
    np.testing.assert_allclose(face[landmarks.MIRRORED] * [-1, 1], face, atol=0.05)  # of 150 mm


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
    run_dir = train("loss.landmark_weight=1", "model.landmarks=true")
    state = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert state["network.backbone.landmarks.head.5.weight"].shape == (68, 64, 1, 1)
    assert json.loads((run_dir / "metrics.json").read_text())["test"]["au"]["macro"]["auc"] is not None


def test_landmarks_rest_while_the_backbone_is_frozen(train: Callable[..., Path]) -> None:
    gradual = ("model.finetune=gradual", "model.freeze_epochs=1", "trainer.max_epochs=2")
    run_dir = train("loss.landmark_weight=1", "model.landmarks=true", *gradual)
    assert json.loads((run_dir / "run.json").read_text())["finished"]


def test_a_landmark_is_where_the_heat_is() -> None:
    maps = LandmarkMaps([8, 4]).eval()
    heat = torch.full((1, 68, 6, 6), -50.0)
    heat[0, 0, 1, 4], heat[0, 1, 5, 0], heat[0, 1, 5, 1] = 50, 50, 50
    maps.head = nn.Identity()
    maps.laterals = nn.ModuleList([nn.Identity(), nn.Identity()])
    places = maps([torch.zeros(1, 68, 3, 3), heat]).view(68, 2)
    torch.testing.assert_close(places[0], torch.tensor([4.5, 1.5]) / 3 - 1)
    torch.testing.assert_close(places[1], torch.tensor([1.0, 5.5]) / 3 - 1)
    torch.testing.assert_close(places[2], torch.zeros(2))


def test_heat_is_drawn_to_the_landmark_and_nowhere_without_one() -> None:
    heat = torch.zeros(2, 68, 8, 8, requires_grad=True)
    target = torch.full((2, 68, 2), float("nan"))
    assert heat_loss(heat, target).item() == 0
    target[0, 3] = torch.tensor([-0.375, 0.625])  # the middle of column 2 and row 6
    target[1, 5] = torch.tensor([1.5, 0.0])  # outside of the view
    loss = heat_loss(heat, target)
    assert loss.item() == pytest.approx(np.log(64))  # of even heat
    loss.backward()
    assert heat.grad is not None and heat.grad[0, 3].argmin() == 6 * 8 + 2
    assert heat.grad[1].abs().sum() == 0 and heat.grad[0, :3].abs().sum() == 0


def test_a_few_steps_bring_landmarks_nearer() -> None:
    torch.manual_seed(0)
    network = make_backbone("resnet18", SIZE, landmarks=True).module.train()
    maps = network.get_submodule("landmarks")
    assert isinstance(maps, LandmarkMaps)
    maps.taught = True
    images, target = torch.zeros(8, 3, SIZE, SIZE), torch.rand(8, 1, 2) * 1.2 - 0.6
    for image, (x, y) in zip(images, ((target[:, 0] + 1) * SIZE / 2).int().tolist(), strict=True):
        image[:, y - 3 : y + 4, x - 3 : x + 4] = 1
    target = target.expand(8, 68, 2)
    optimizer, errors = torch.optim.AdamW(network.parameters(), lr=2e-3), []
    for _ in range(40):
        places = network(images)[:, -136:].view(8, 68, 2)
        assert maps.heat is not None
        loss = landmark_loss(places, target) + heat_loss(maps.heat, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append((places - target).abs().mean().item())
    assert errors[-1] < 0.3 * errors[0]
    assert network.eval()(images).shape == (8, 512 + 136) and maps.heat is None


def test_weights_that_know_no_landmarks_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = TwoHeadNetwork("resnet18", SIZE, 8, 0.0, 2, 2)
    save_backbone(plain, tmp_path / "plain.safetensors")
    made = make_backbone("resnet18", SIZE, landmarks=True).module
    find_weights("resnet18", str(tmp_path / "plain.safetensors")).load_into(made)
    assert "has not learned to find them" in caplog.text
    assert torch.equal(made.state_dict()["conv1.weight"], plain.backbone.state_dict()["conv1.weight"])


def test_what_teaches_landmarks_needs_a_network_that_finds_them() -> None:
    with pytest.raises(FerError, match=r"needs model\.landmarks=true"):
        composed("train", "loss.landmark_weight=1")


@pytest.mark.parametrize("other", ["model.finetune=frozen", "augment.mixup=0.2"])
def test_what_cannot_be_learned_of_landmarks_is_refused(other: str) -> None:
    with pytest.raises(FerError, match=r"loss\.landmark_weight must be 0"):
        composed("train", "loss.landmark_weight=1", "model.landmarks=true", other)


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
        train(f"data.root={tmp_path / 'plain'}", "loss.landmark_weight=1", "model.landmarks=true")
