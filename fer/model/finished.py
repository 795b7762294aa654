"""A checkpoint file in, a finished model out; that of a sweep's job finds the frozen backbone that all its jobs share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fer.data.faces import PIXELS_VERSION
from fer.errors import FerError, first_line
from fer.model.backbone import Backbone
from fer.model.checkpoints import CARD, SEEN, load_checkpoint, write_atomically
from fer.model.features import digest
from fer.model.module import BACKBONE, FaceModule

BACKBONE_FILE = "backbone_file"
"""In the card of a sweep's job: the name of the file, beside the folders of the jobs, that holds their frozen backbone."""


def load_module(path: Path, backbone: Backbone | None = None) -> tuple[FaceModule, dict[str, Any]]:
    """The module of a checkpoint, in eval mode, and its card (`checkpoints.CARD`).

    Args:
        backbone: of an unfinished run with a frozen backbone: its checkpoints hold the rest alone. (So do those of a sweep's finished
            jobs, beside which the backbone lies once: it is found.)

    Raises:
        FerError: the file is not a checkpoint of this program, does not fit this version of it, or its backbone is not there.
    """
    return module_of(load_checkpoint(path), path, backbone)


def module_of(
    checkpoint: dict[str, Any], path: Path, backbone: Backbone | None = None
) -> tuple[FaceModule, dict[str, Any]]:
    """Likewise, of the content of the checkpoint at `path`."""
    apart = backbone is None and not _holds_backbone(checkpoint)
    try:
        module = FaceModule(**checkpoint["hyper_parameters"], backbone=backbone)
        beside = module.backbone_state() if backbone else _backbone_beside(path, checkpoint[CARD]) if apart else {}
        module.load_state_dict({**beside, **checkpoint["state_dict"]})
        other = apart and digest(module.network) != checkpoint[CARD]["backbone"]
        pixels_version = checkpoint["hyper_parameters"]["preprocessing"]["pixels_version"]
    except (TypeError, KeyError, RuntimeError, ValueError, AttributeError, IndexError) as error:
        written_by = checkpoint[CARD].get("fer_version", "another version")
        raise FerError(
            f"{path} was written by fer {written_by} and does not fit this one: {first_line(error)}"
        ) from error
    if other:
        raise FerError(
            f"{_beside(path, checkpoint[CARD])} is not the backbone that {path} was trained with: put back that of its sweep"
        )
    if pixels_version != PIXELS_VERSION:
        raise FerError(
            f"{path} was trained on faces cropped in another way (version {pixels_version}, here {PIXELS_VERSION})"
        )
    module.card = checkpoint[CARD]
    return module.eval(), module.card


def _beside(path: Path, card: Mapping[str, Any]) -> Path:
    """The file with the frozen backbone of a sweep's jobs, one of whose checkpoints stands at `path`."""
    if BACKBONE_FILE not in card:
        raise FerError(f"{path} is of a run that has not ended and holds no backbone yet: finish it with resume=")
    name = card[BACKBONE_FILE]
    if not isinstance(name, str) or not re.fullmatch(r"backbone-[0-9a-f]+\.safetensors", name):
        raise FerError(f"{path} is damaged: {name!r} is not the name of a sweep's backbone")
    return sweep_folder(path) / name


def sweep_folder(path: Path) -> Path:
    """The folder of the sweep that the checkpoint of one of its jobs lies in."""
    # of a checkpoint that was taken elsewhere, the topmost folder at most
    return path.absolute().parents[:3][-1]


def _backbone_beside(path: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    best = path.with_name("best.ckpt")
    if (
        BACKBONE_FILE not in card and best != path and best.is_file()
    ):  # last.ckpt of a run that has ended: its backbone never changed
        kept = load_checkpoint(best)
        if _holds_backbone(kept):
            return {name: tensor for name, tensor in kept["state_dict"].items() if name.startswith(BACKBONE)}
        card = kept[CARD]
    file = _beside(path, card)
    try:
        return {BACKBONE + name: tensor for name, tensor in load_file(file).items() if name not in SEEN}
    except (OSError, SafetensorError) as error:
        raise FerError(
            f"{path} is of a sweep, which keeps the frozen backbone of its jobs once, here in {file}: that can't be read "
            f"({first_line(error)}); put the folder of the job back below that of its sweep, or copy the sweep's {file.name} there"
        ) from error


def make_whole(path: Path) -> None:
    """Puts the backbone into the checkpoint of a sweep's job, so that it can be taken elsewhere."""
    checkpoint = load_checkpoint(path)
    if not _holds_backbone(checkpoint):
        backbone = load_module(path)[0].backbone_state()
        write_atomically({**checkpoint, "state_dict": {**backbone, **checkpoint["state_dict"]}}, path)


def _holds_backbone(checkpoint: Mapping[str, Any]) -> bool:
    return any(name.startswith(BACKBONE) for name in checkpoint["state_dict"])
