"""Stored pixels to network input: the centre view, or a randomly moved, mirrored and relit one for training.

A whole batch is augmented at once on the device it is on, each picture with draws of its own that are a function of (seed, epoch, index)
alone: any number of loader processes, and a resumed run, see the same pictures. (torchvision's v2 transforms share one draw per batch,
and called picture by picture they cost more than a small network's training step.)
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from fer.config import AugmentConfig

DRAWS = (
    "flip",
    "shift_x",
    "shift_y",
    "rotate",
    "zoom",
    "stretch",
    "brightness",
    "contrast",
    "erase",
    "erase_x",
    "erase_y",
    "erase_w",
    "erase_h",
)


def changes_anything(cfg: AugmentConfig) -> bool:
    """Whether any picture would come out other than as its plain centre view."""
    return any((cfg.flip, cfg.shift, cfg.rotate, cfg.zoom, cfg.stretch, cfg.brightness, cfg.contrast, cfg.erase))


def epoch_draws(seed: int, epoch: int, n_images: int) -> Float[np.ndarray, "n_images draws"]:
    """Uniform numbers in [0, 1) for every picture of an epoch, a column per name in `DRAWS`."""
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 1, epoch]))
    return generator.random((n_images, len(DRAWS)), dtype=np.float32)


def epoch_order(seed: int, epoch: int, n_images: int) -> np.ndarray:
    """The order of an epoch: a permutation of range(n_images), independent of `epoch_draws`."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 2, epoch])).permutation(n_images)


def view_draws(view: int, n_images: int) -> Float[np.ndarray, "n_images draws"]:
    """Like `epoch_draws`, for a lasting view: a function of (view, index) alone, the same in every run."""
    generator = np.random.Generator(np.random.Philox(key=0, counter=[0, 0, 3, view]))
    return generator.random((n_images, len(DRAWS)), dtype=np.float32)


def epoch_views(seed: int, epoch: int, n_images: int, n_views: int) -> Int[np.ndarray, " n_images"]:
    """Which of its `n_views` lasting views each picture shows in an epoch."""
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 4, epoch]))
    return generator.integers(n_views, size=n_images)


def centre_view(images: UInt8[Tensor, "N C S S"], image_size: int) -> Float[Tensor, "N D H W"]:
    """What evaluation and use see: the centre of the stored pixels, in [0, 1], luminance repeated over three channels.

    D is 3, or 6 for pictures with a neutral one beside them (C 2 or 6), which comes after.
    """
    return _three_channels(_centre(images, image_size).float() / 255)


def augmented_view(
    images: UInt8[Tensor, "N C S S"], draws: Float[Tensor, "N draws"], cfg: AugmentConfig, image_size: int
) -> Float[Tensor, "N D H W"]:
    """What training sees: moved by one affine map per picture, relit, partly erased; in [0, 1]. D as in `centre_view`."""
    draw = _by_name(draws)
    moved = _move(images, draw, cfg, image_size)
    lit = _relight(moved, draw, cfg)
    return _three_channels(_erase(lit, draw, cfg))


def moved_landmarks(
    points: Float[Tensor, "N P 2"],
    draws: Float[Tensor, "N draws"] | None,
    cfg: AugmentConfig,
    image_size: int,
    stored: int,
    mirrored: list[int],
) -> Float[Tensor, "N P 2"]:
    """Where landmarks of the stored pixels lie in the augmented view, or (without draws) in the centre view; both in [-1, 1].

    Args:
        mirrored: which point of a face each point of its mirror image is: a flipped picture's left eye is its right one.
    """
    points = points * (stored / image_size)
    if draws is None:
        return points
    draw = _by_name(draws)
    maps = _maps(draw, cfg, 1.0)  # from a place in the view to one in the centre of the stored picture
    back = torch.linalg.inv(maps[:, :, :2])
    moved = torch.einsum("nij,npj->npi", back, points - maps[:, None, :, 2])
    flipped = (draw["flip"] < cfg.flip)[:, None, None]
    return torch.where(flipped, moved[:, mirrored], moved)


def _by_name(draws: Float[Tensor, "N draws"]) -> dict[str, Tensor]:
    return dict(zip(DRAWS, draws.float().unbind(1), strict=True))


def _centre(images: UInt8[Tensor, "N C S S"], image_size: int) -> UInt8[Tensor, "N C H W"]:
    start = (images.shape[-1] - image_size) // 2
    return images[..., start : start + image_size, start : start + image_size]


def _three_channels(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D H W"]:
    """Luminance repeated over three channels; of a pair of pictures, each one's."""
    if images.shape[1] == 2:
        return images.repeat_interleave(3, dim=1)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _symmetric(draw: Float[Tensor, " N"], largest: float) -> Float[Tensor, " N"]:
    return (2 * draw - 1) * largest


def _move(
    images: UInt8[Tensor, "N C S S"], draw: dict[str, Tensor], cfg: AugmentConfig, image_size: int
) -> Float[Tensor, "N C H W"]:
    if cfg.padding == "zeros":
        images = _centre(images, image_size)
    n, channels, stored, _ = images.shape
    grid = functional.affine_grid(
        _maps(draw, cfg, image_size / stored), [n, channels, image_size, image_size], align_corners=False
    )
    return functional.grid_sample(images.float() / 255, grid, padding_mode=cfg.padding, align_corners=False)


def _maps(draw: dict[str, Tensor], cfg: AugmentConfig, view: float) -> Float[Tensor, "N 2 3"]:
    """From a place in the view to one in a picture that is `1 / view` times as large, both in [-1, 1]."""
    angle = torch.deg2rad(_symmetric(draw["rotate"], cfg.rotate))
    size = 1 / (1 + _symmetric(draw["zoom"], cfg.zoom))
    aspect = torch.sqrt(1 + _symmetric(draw["stretch"], cfg.stretch))
    mirror = torch.where(draw["flip"] < cfg.flip, -1.0, 1.0)
    across, down = size * aspect * mirror, size / aspect
    x_row = (
        torch.stack((angle.cos() * across, -angle.sin() * down, _symmetric(draw["shift_x"], 2 * cfg.shift)), 1) * view
    )
    y_row = (
        torch.stack((angle.sin() * across, angle.cos() * down, _symmetric(draw["shift_y"], 2 * cfg.shift)), 1) * view
    )
    return torch.stack((x_row, y_row), 1)


def _relight(images: Float[Tensor, "N C H W"], draw: dict[str, Tensor], cfg: AugmentConfig) -> Float[Tensor, "N C H W"]:
    def each(values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1)

    gain = each(1 + _symmetric(draw["contrast"], cfg.contrast))
    offset = each(_symmetric(draw["brightness"], cfg.brightness))
    middle = images.mean((1, 2, 3), keepdim=True)
    return ((images - middle) * gain + middle + offset).clamp(0, 1)


def _erase(images: Float[Tensor, "N C H W"], draw: dict[str, Tensor], cfg: AugmentConfig) -> Float[Tensor, "N C H W"]:
    """Blanks a rectangle of 10 to 40 % of each side (Zhong et al., "Random erasing data augmentation", AAAI 2020) with the mean."""
    if cfg.erase == 0:
        return images
    height, width = images.shape[-2:]

    def within(length: int, centre: Tensor, share: Tensor) -> Tensor:
        places = (torch.arange(length, device=images.device) + 0.5) / length
        return (places - centre[:, None]).abs() < (0.05 + 0.15 * share)[:, None]  # [N, length]

    rows = within(height, draw["erase_y"], draw["erase_h"])
    columns = within(width, draw["erase_x"], draw["erase_w"])
    chosen = (draw["erase"] < cfg.erase)[:, None, None]
    blank = (rows[:, :, None] & columns[:, None, :] & chosen)[:, None]  # [N, 1, H, W]
    return torch.where(blank, images.mean((1, 2, 3), keepdim=True), images)
