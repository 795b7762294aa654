"""Features of a frozen backbone: made once for each picture and view, kept in the cache, bit for bit what training would make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fer.config import AugmentConfig
from fer.data.augment import augmented_view, centre_view, changes_anything, view_draws
from fer.data.cache import Pixels, Progress
from fer.data.features import Rows
from fer.data.store import obtain
from fer.model import threads
from fer.model.network import TwoHeadNetwork, full_precision

FEATURES_VERSION = 2
"""Raised when the same pictures, weights and settings give other features: old ones are then not used."""

CHUNK = 16
"""Pictures that go through a frozen backbone at once, always: the last bits of a convolution hang on how many they are."""

_NO_MATTER = ("name", "mixup")


def frozen_features(network: TwoHeadNetwork, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F"]:
    """What a frozen backbone says of pictures; of each one the same, whoever shares its batch."""
    if network.backbone.training:
        raise AssertionError("a frozen backbone in training mode would move its BatchNorm statistics")
    with torch.no_grad(), full_precision(), threads.limited(threads.every()):
        chunks = [network.features(_filled(chunk)) for chunk in torch.split(images, CHUNK)]
    return torch.cat(chunks)[: len(images)]


def _filled(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "M C H W"]:
    empty = images.new_zeros(CHUNK - len(images), *images.shape[1:])
    return torch.cat((images, empty)).contiguous(memory_format=torch.channels_last)


def digest(network: TwoHeadNetwork) -> str:
    """A hash of all that makes the features of a picture, apart from the picture."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in [*network.backbone.state_dict().items(), ("mean", network.mean), ("std", network.std)]:
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


@dataclass
class FrozenFeatures:
    """The features of a picture list (`fer.data.features.FeatureSource`).

    Args:
        network: whose backbone it is.
        backbone: `digest(network)`.
        n_views: lasting views of training; without augmentation there is one, the plain view.
        precision: Lightning's name of it; `bf16-mixed` gives bfloat16 features.
        memory: features that were used before, by folder.
        progress: called with (pictures done, pictures) of each pass, when features are made and not found.
    """

    network: TwoHeadNetwork
    backbone: str
    pixels: Pixels
    image_size: int
    augment: AugmentConfig
    n_views: int
    cache_dir: Path
    device: torch.device
    precision: str
    memory: dict[Path, Tensor] = field(default_factory=dict)
    progress: Progress | None = None

    def in_full_precision(self) -> FrozenFeatures:
        """The same for `32-true`."""
        return replace(self, precision="32-true")

    def views(self) -> list[Tensor]:
        rows = np.arange(len(self.pixels.array))
        if not changes_anything(self.augment):
            return [self._obtain(rows, "plain")]
        return [self._obtain(rows, view) for view in range(self.n_views)]

    def plain(self, rows: Rows) -> Tensor:
        return self._obtain(rows, "plain")

    def mirrored(self, rows: Rows) -> Tensor | None:
        return self._obtain(rows, "mirrored") if self.network.flip_average else None

    def _obtain(self, rows: Rows, view: str | int) -> Tensor:
        folder = self.cache_dir / "features" / self._key(rows, view)
        if folder not in self.memory:
            n_bytes = 4 * len(rows) * self.network.n_features
            self.memory[folder] = obtain(folder, _load, lambda new: self._make(rows, view, new), n_bytes)
        return self.memory[folder]

    def _key(self, rows: Rows, view: str | int) -> str:
        augment = (
            {k: v for k, v in asdict(self.augment).items() if k not in _NO_MATTER} if isinstance(view, int) else {}
        )
        machine = (torch.__version__, self.device.type, self.precision)
        maps = (self.network.levels, self.network.grid) + (("landmarks",) if self.network.landmarks else ())
        backbone = self.backbone if maps == (1, 1) else (self.backbone, *maps)
        said = (FEATURES_VERSION, machine, backbone, self.pixels.folder.name, self.image_size, view, augment)
        # the files' content, too: a picture that could not be read, and can be now, is in pixels of the same name
        content = self.pixels.digests[rows].astype("<i8").tobytes()
        return hashlib.sha256(repr(said).encode() + rows.astype("<i8").tobytes() + content).hexdigest()

    def _make(self, rows: Rows, view: str | int, folder: Path) -> None:
        draws = view_draws(view, len(self.pixels.array)) if isinstance(view, int) else None
        backbone, training = self.network.backbone, self.network.backbone.training
        self.network.to(self.device)  # with the statistics that pictures are normalised by
        backbone.eval()
        found = torch.cat(list(self._chunks(rows, view, draws)))
        backbone.train(training)
        save_file({"features": found}, folder / "features.safetensors")

    def _chunks(self, rows: Rows, view: str | int, draws: np.ndarray | None) -> Iterator[Tensor]:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            stored = torch.from_numpy(self.pixels.array[chunk]).permute(0, 3, 1, 2).to(self.device)
            if draws is None:
                images = centre_view(stored, self.image_size)
            else:
                drawn = torch.from_numpy(draws[chunk]).to(self.device)
                images = augmented_view(stored, drawn, self.augment, self.image_size)
            if view == "mirrored":
                images = images.flip(-1)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
                found = frozen_features(self.network, images).cpu()
            yield found
            if self.progress:
                self.progress(min(start + CHUNK, len(rows)), len(rows))


def _load(folder: Path) -> Tensor:
    try:
        return load_file(folder / "features.safetensors")["features"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{folder} is damaged") from error
