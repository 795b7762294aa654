"""Augmentation: each setting does what it says, per picture, and only that; the plain view is the centre."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import composed

from fer.config import AugmentConfig
from fer.data.augment import DRAWS, augmented_view, centre_view, changes_anything, epoch_draws, epoch_order

NONE = {"flip": 0.0, "shift": 0.0, "rotate": 0.0, "zoom": 0.0, "brightness": 0.0, "contrast": 0.0}


def only(**settings: float) -> AugmentConfig:
    return AugmentConfig(**{**NONE, **{name: float(value) for name, value in settings.items()}})


def pictures(n: int = 4, stored: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(n, 1, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, stored, mode="bicubic").clamp(0.1, 0.9)
    return (smooth * 255).byte()


def draws(n: int = 4, **fixed: float) -> torch.Tensor:
    values = torch.full((n, len(DRAWS)), 0.5)
    for name, value in fixed.items():
        values[:, DRAWS.index(name)] = value
    return values


def test_without_settings_the_augmented_view_is_the_plain_one() -> None:
    images = pictures()
    random = torch.from_numpy(epoch_draws(0, 0, 4))
    assert torch.allclose(augmented_view(images, random, only(), 40), centre_view(images, 40), atol=1e-5)
    assert not changes_anything(only()) and changes_anything(only(erase=0.1))


def test_plain_view_is_the_centre_in_three_equal_channels_between_0_and_1() -> None:
    images = pictures()
    view = centre_view(images, 40)
    assert view.shape == (4, 3, 40, 40)
    assert torch.equal(view[:, 0], images[:, 0, 4:44, 4:44] / 255) and torch.equal(view[:, 0], view[:, 2])


def test_flip_mirrors_left_and_right_only() -> None:
    images = pictures()
    flipped = augmented_view(images, draws(flip=0.2), only(flip=0.5), 40)
    assert torch.allclose(flipped, centre_view(images, 40).flip(-1), atol=1e-5)
    assert torch.allclose(
        augmented_view(images, draws(flip=0.8), only(flip=0.5), 40), centre_view(images, 40), atol=1e-5
    )


def test_shift_moves_by_its_share_of_the_side_into_real_pixels() -> None:
    images = pictures()
    moved = augmented_view(
        images, draws(shift_x=1.0), only(shift=0.1), 40
    )  # a tenth of 40: four pixels, all of the margin
    assert torch.allclose(moved[:, 0], images[:, 0, 4:44, 8:48] / 255, atol=1e-5)


def test_seed_augmentation_crops_from_a_padded_picture() -> None:
    seed = composed("train", "augment=seed").augment
    assert (seed.rotate, seed.zoom, seed.contrast, seed.padding) == (0, 0, 0, "zeros")
    moved = augmented_view(pictures(), draws(shift_y=1.0), only(shift=0.1), 40)
    padded = augmented_view(
        pictures(), draws(shift_y=1.0), AugmentConfig(**NONE | {"shift": 0.1, "padding": "zeros"}), 40
    )
    assert (padded[:, :, -4:] == 0).all() and (moved[:, :, -4:] > 0).all()


def test_rotation_and_zoom_keep_the_centre_and_the_aspect() -> None:
    stored = torch.zeros(1, 1, 48, 48, dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(48) - 23.5, indexing="ij")
    stored[0, 0][(x**2 + y**2) < 100] = 255  # a disc of radius 10
    for cfg, draw in ((only(rotate=30), draws(1, rotate=0.9)), (only(zoom=0.5), draws(1, zoom=1.0))):
        mask = augmented_view(stored, draw, cfg, 40)[0, 0] > 0.5
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert rows.float().mean() == pytest.approx(19.5, abs=0.1) and columns.float().mean() == pytest.approx(
            19.5, abs=0.1
        )
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert abs(height - width) <= 1
        assert height == pytest.approx(20 if cfg.rotate else 30, abs=1)


def test_light_is_bounded_and_changes_no_shape() -> None:
    images = pictures()
    brighter = augmented_view(images, draws(brightness=1.0), only(brightness=0.1), 40)
    assert torch.allclose(brighter, (centre_view(images, 40) + 0.1).clamp(max=1), atol=1e-5)
    flat = augmented_view(images, draws(contrast=0.0), only(contrast=0.5), 40)
    assert torch.allclose(flat.std((2, 3)), centre_view(images, 40).std((2, 3)) / 2, rtol=1e-3)
    assert augmented_view(images, draws(brightness=1.0), only(brightness=1.0), 40).max() <= 1


def test_erase_blanks_one_rectangle_of_the_promised_size() -> None:
    images = pictures()
    erased = augmented_view(images, draws(erase=0.0, erase_w=1.0, erase_h=0.0), only(erase=0.5), 40)
    changed = (erased - centre_view(images, 40)).abs().amax(1) > 1e-4
    rows, columns = changed[0].any(1).sum(), changed[0].any(0).sum()
    assert 3 <= rows <= 4 and 15 <= columns <= 16


def test_each_picture_has_draws_of_its_own_and_every_epoch_new_ones() -> None:
    one, other = epoch_draws(7, 0, 100), epoch_draws(7, 1, 100)
    assert np.array_equal(one, epoch_draws(7, 0, 100)) and not np.array_equal(one, other)
    assert len(np.unique(one[:, 0])) > 90 and not np.array_equal(one, epoch_draws(8, 0, 100))
    assert np.array_equal(
        epoch_draws(7, 0, 40), one[:40]
    )  # a picture's draws do not depend on how many others there are
    assert sorted(epoch_order(7, 0, 100)) == list(range(100))
    assert not np.array_equal(epoch_order(7, 0, 100), epoch_order(7, 1, 100))
