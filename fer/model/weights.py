"""Where a backbone's weights come from: a torchvision name, a file, or nowhere; and the pixel statistics that they want."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import socket
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, WeightsEnum, get_model_weights
from torchvision.models.vision_transformer import interpolate_embeddings

from fer.config import is_file_name
from fer.errors import FerError
from fer.model.carried import CarriedHeads
from fer.model.checkpoints import SEEN
from fer.model.landmark_maps import LANDMARKS
from fer.model.names import check_weights
from fer.model.network import IMAGENET_MEAN, IMAGENET_STD
from fer.model.weight_files import heads_in, read_tensors, three_numbers

log = logging.getLogger(__name__)

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")

DOWNLOAD_TIMEOUT_S = 10.0
SAID_AFTER_S = 3.0


@dataclass(frozen=True)
class Weights:
    """A backbone's weights before training.

    Attributes:
        source: what `run.json` and the report say: `IMAGENET1K_V2`, a file, or `random`.
        state: tensors by torchvision's names (a classifier's own are allowed and left out), None for random weights.
        sha256: of the tensors, None for random weights.
        mean, std: per channel, of pictures in [0, 1], as the weights were trained with.
        warning: what the log, the report and `run.json` must say of them.
        heads: the dense layer and heads that they were trained with, if the file holds them.
        seen: hashes of the pictures that they were trained and tuned on, if the file holds them; keyed as `checkpoints.SEEN`.
    """

    source: str
    state: dict[str, Tensor] | None = None
    sha256: str | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    warning: str | None = None
    heads: CarriedHeads | None = None
    seen: dict[str, Tensor] | None = None

    @property
    def pretrained(self) -> bool:
        return self.state is not None

    def load_into(self, backbone: nn.Module) -> None:
        """Copies the weights into a backbone of `backbone.make_backbone`.

        Raises:
            FerError: tensors that the backbone needs are missing or of another shape.
        """
        if self.state is None:
            return
        # names of torchvision's older files, which its DenseNets still have; ViT's are known to its layers
        state = {_OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in self.state.items()}
        if isinstance(backbone, VisionTransformer) and "encoder.pos_embedding" in state:
            with suppress(ValueError, RuntimeError):  # of something else by that name: it does not fit
                state = dict(interpolate_embeddings(backbone.image_size, backbone.patch_size, OrderedDict(state)))
        own = backbone.state_dict()
        wrong = [name for name in own if name in state and state[name].shape != own[name].shape]
        state = {name: tensor for name, tensor in state.items() if name not in wrong}
        missing = [n for n in backbone.load_state_dict(state, strict=False).missing_keys if n not in wrong]
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if (
            missing
            and all(name.startswith(f"{LANDMARKS}.") for name in missing)
            and not any(name.startswith(f"{LANDMARKS}.") for name in state)
        ):
            log.warning(
                "model.landmarks: model.weights=%s has not learned to find them: that part starts anew", self.source
            )
            missing = []
        if missing or wrong:
            raise FerError(
                f"model.weights={self.source} does not fit model.backbone: "
                f"{len(missing)} tensors missing, {len(wrong)} of another shape (e.g. {(missing + wrong)[0]})"
            )


def find_weights(backbone: str, wanted: str) -> Weights:
    """The weights that `model.weights=<wanted>` means for `backbone`.

    Args:
        wanted: `none` (random), `auto` (ImageNet's if they are cached or can be downloaded, else random, said loudly), the name of
            torchvision weights (`DEFAULT`, `IMAGENET1K_V2`), or a file: `.safetensors`, or `.pth` loaded without unpickling code.

    Raises:
        FerError: the weights can't be had; the message says how to get them.
    """
    check_weights(backbone, wanted)
    if wanted == "none":
        return Weights("random")
    if wanted == "auto":
        try:
            return _named(backbone, "DEFAULT")
        except FerError as error:
            warning = f"RANDOM WEIGHTS: ImageNet weights can't be had here, training starts from nothing ({error})"
            log.warning(warning)
            return Weights("random", warning=warning)
    if is_file_name(wanted):
        return _from_file(Path(wanted), backbone)
    return _named(backbone, wanted)


def _preset(backbone: str, name: str) -> WeightsEnum:
    available = get_model_weights(backbone)
    found: WeightsEnum = available.DEFAULT if name == "DEFAULT" else available[name]
    return found


def _named(backbone: str, name: str) -> Weights:
    chosen = _preset(backbone, name)
    try:
        with _timeout(DOWNLOAD_TIMEOUT_S), _said_if_it_takes_long(chosen.url):
            state = chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError, EOFError, UnpicklingError) as error:  # no network, or half a file
        raise FerError(
            f"model.weights={chosen.name} can't be downloaded ({error}): fetch {chosen.url} on a machine with a network "
            f"and put it into {torch.hub.get_dir()}/checkpoints, or give a file with model.weights=FILE, or train with model.weights=none"
        ) from error
    preset = chosen.transforms()
    return Weights(
        f"{backbone} {chosen.name}", dict(state), _sha256(state), *_statistics(backbone, preset.mean, preset.std)
    )


def _statistics(
    backbone: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Pixel mean and standard deviation for torchvision's weights of this backbone."""
    if backbone in ("inception_v3", "googlenet"):
        # trained on pictures in [-1, 1], whatever their preset says: torchvision's networks undo it inside (transform_input), ours don't
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return tuple(mean), tuple(std)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _said_if_it_takes_long(url: str) -> Iterator[None]:
    """In the place of torch's own line, which would stand beside the one that says why it can't be had."""
    saying = threading.Timer(SAID_AFTER_S, log.info, ("downloading %s", url))
    saying.start()
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            yield
    finally:
        saying.cancel()


def _from_file(path: Path, backbone: str) -> Weights:
    state, meta = read_tensors(path)
    for prefix in ("module.", "network.", "backbone."):  # of DataParallel, of our own checkpoints and backbones
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    seen = {name: state.pop(name) for name in SEEN} if set(SEEN) <= set(state) else None
    mean, std = _statistics(backbone, IMAGENET_MEAN, IMAGENET_STD)
    if "mean" in meta and "std" in meta:
        mean, std = three_numbers(path, meta["mean"]), three_numbers(path, meta["std"])
        if min(std) <= 0:
            raise FerError(f"model.weights={path}: its std must be above 0, got {meta['std']}")
    return Weights(str(path), state, _sha256(state), mean, std, heads=heads_in(path, state, meta), seen=seen)


def _sha256(state: Any) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
