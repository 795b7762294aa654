"""Where the 68 landmarks are on a backbone's maps, as features of their own: heads then see the shape of a face, not only its texture.

Letters in shapes: N batch, P points, C channels of a map, h w places of the finest map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fer.data.faces import N_LANDMARKS

MAPS = 4
"""Resolutions that are looked at, as far as there are so many: the coarsest knows what a place is, the finest where.

The fourth of a ResNet has a quarter of the places that the picture has pixels along a side; what it gives: conf/experiment/README.md.
"""

WIDTH = 64

LANDMARKS = "landmarks"
"""Name of the module in a backbone."""


class LandmarkMaps(nn.Module):
    """A heat map for each landmark, and of that the mean place (soft-argmax; Nibali et al., "Numerical coordinate regression with
    convolutional neural networks", 2018).

    Args:
        channels: of the maps, the coarsest first.

    Attributes:
        taught: whether `heat` is to be kept in training.
        heat: [N, P, h, w] of the last batch of training, before the softmax.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(n, WIDTH, 1) for n in channels)
        self.head = nn.Sequential(
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, N_LANDMARKS, 1),
        )
        self.taught = False
        self.heat: Tensor | None = None

    def forward(self, maps: Sequence[Float[Tensor, "N C H W"]]) -> Float[Tensor, "N 2P"]:
        """Each point's x and y in turn, in [-1, 1] from the left and upper edge of the view."""
        summed = self.laterals[0](maps[0])
        for lateral, finer in zip(list(self.laterals)[1:], maps[1:], strict=True):
            summed = lateral(finer) + nn.functional.interpolate(
                summed, size=finer.shape[-2:], mode="bilinear", align_corners=False
            )
        heat = self.head(summed).float()
        self.heat = heat if self.taught and self.training else None
        share = heat.flatten(2).softmax(2).view(heat.shape)
        x, y = (_middles(side, heat) for side in (heat.shape[3], heat.shape[2]))
        return torch.stack(((share.sum(2) * x).sum(2), (share.sum(3) * y).sum(2)), 2).flatten(1)


def heat_loss(heat: Float[Tensor, "N P h w"], target: Float[Tensor, "N P 2"]) -> Float[Tensor, ""]:
    """Cross-entropy between heat maps and a Gaussian of one place around each landmark, mean over those that are known and in the view.

    A mean place may be right with heat that is nowhere near it: this says where the heat itself belongs.

    Args:
        heat: before the softmax.
        target: x, y in [-1, 1]; NaN where unknown.
    """
    known = ((~target.isnan()) & (target.abs() < 1)).all(2)
    x, y = (_middles(side, heat) for side in (heat.shape[3], heat.shape[2]))
    points = target.nan_to_num()
    across = torch.exp(-0.5 * ((x - points[..., :1]) * heat.shape[3] / 2) ** 2)
    down = torch.exp(-0.5 * ((y - points[..., 1:]) * heat.shape[2] / 2) ** 2)
    wanted = (down[..., :, None] * across[..., None, :]).flatten(2)
    wanted = wanted / wanted.sum(2, keepdim=True).clamp_min(torch.finfo(wanted.dtype).tiny)
    cells = -(wanted * heat.flatten(2).log_softmax(2)).sum(2)
    return (cells * known).sum() / known.sum().clamp(min=1)


def _middles(side: int, like: Tensor) -> Float[Tensor, " side"]:
    """The middle of each of `side` places along a view, in [-1, 1]."""
    return (torch.arange(side, device=like.device) + 0.5) * (2 / side) - 1
