"""The network alone: a backbone, a dense layer, an AU head and an emotion head. No Lightning, no settings object.

Letters in shapes: N batch, A action units, E emotions, D dense units, F backbone features, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fer.model.backbone import Backbone, make_backbone

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Logits(NamedTuple):
    """What the network says of a batch, before sigmoid and softmax; None for a head that it does not have."""

    au: Float[Tensor, "N A"] | None
    emotion: Float[Tensor, "N E"] | None


class TwoHeadNetwork(nn.Module):
    """Face pictures to AU and emotion logits.

    Pictures come in as [N, 3, H, W] in [0, 1]: the statistics of the weights are part of the network and applied here,
    so that no caller can forget them or apply them twice.

    With `reference` they come in pairs, [N, 6, H, W]: a picture and a neutral one of the same person. The heads then see
    the difference of their features alone, which takes out what the person looks like anyway.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str | Backbone,
        image_size: int,
        dense: int,
        dropout: float,
        n_aus: int,
        n_emotions: int,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        flip_average: bool = False,
        reference: bool = False,
        levels: int = 1,
        grid: int = 1,
        landmarks: bool = False,
    ) -> None:
        super().__init__()
        self.flip_average, self.reference = flip_average, reference
        made = make_backbone(backbone, image_size, levels, grid, landmarks) if isinstance(backbone, str) else backbone
        self.backbone, self.n_features, self.levels, self.grid, self.landmarks = made
        several = self.levels * self.grid > 1 or self.landmarks
        self.standardised = _Standardised(self.n_features, affine=False) if several else nn.Identity()
        self.dense = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(self.n_features, dense), nn.ReLU(), nn.Dropout(dropout)
        )
        self.au_head = nn.Linear(dense, n_aus) if n_aus else None
        self.emotion_head = nn.Linear(dense, n_emotions) if n_emotions else None
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Float[Tensor, "N C H W"]) -> Logits:
        return self.with_features(images)[1]

    def with_features(self, images: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, "N F"], Logits]:
        """The features of the picture and the logits; of these, with `flip_average` in eval mode, the mean with its mirror image's."""
        features = self.features(images)
        return features, self.answer(features, self.features(images.flip(-1)) if self.averages else None)

    @property
    def averages(self) -> bool:
        """Whether an answer now needs the features of the mirror image, too."""
        return self.flip_average and not self.training

    def answer(self, features: Float[Tensor, "N F"], mirrored: Float[Tensor, "N F"] | None = None) -> Logits:
        """Logits of a picture's features; if those of its mirror image are given, the mean over both."""
        logits = self.heads(features)
        if mirrored is None:
            return logits
        other = self.heads(mirrored)
        return Logits(*(None if a is None or b is None else (a + b) / 2 for a, b in zip(logits, other, strict=True)))

    def features(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F"]:
        """Of pictures what the backbone says, of pairs the difference between the two."""
        if not self.reference:
            found: Tensor = self.backbone((images - self.mean) / self.std)
            return found
        both = torch.cat(images.chunk(2, dim=1)).contiguous(memory_format=torch.channels_last)
        own, neutral = self.backbone((both - self.mean) / self.std).chunk(2)
        difference: Tensor = own - neutral
        return difference

    def heads(self, features: Float[Tensor, "N F"]) -> Logits:
        hidden = self.dense(self.standardised(features))  # [N, D]
        return Logits(
            au=self.au_head(hidden) if self.au_head is not None else None,
            emotion=self.emotion_head(hidden) if self.emotion_head is not None else None,
        )


class _Standardised(nn.BatchNorm1d):
    """Features to mean 0 and deviation 1 each: those of different maps differ in size.

    What it keeps for use is the mean over the batches, and after ten of them a moving one: an epoch may have no more. A batch
    of one has no deviation: it takes the kept one.
    """

    def forward(self, input: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
        if not self.training:
            return super().forward(input)
        if len(input) == 1:
            return nn.functional.batch_norm(input, self.running_mean, self.running_var, eps=self.eps)
        assert self.num_batches_tracked is not None
        self.momentum = max(0.1, 1 / (int(self.num_batches_tracked) + 1))
        return super().forward(input)


def probabilities(logits: Logits) -> dict[str, Tensor]:
    """Sigmoid and softmax in full precision: `au` [N, A], `emotion` [N, E], for the heads that there are."""
    found = {}
    if logits.au is not None:
        found["au"] = logits.au.float().sigmoid()
    if logits.emotion is not None:
        found["emotion"] = logits.emotion.float().softmax(1)
    return found


@contextmanager
def full_precision() -> Iterator[None]:
    """32-bit sums of convolutions on GPUs, which would take 19-bit numbers (TF32) else: answers are the network's, not the processor's."""
    was = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = was
