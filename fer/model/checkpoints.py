"""Checkpoints that survive a kill and a full disk, and that hold nothing but tensors and plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from fer.errors import FerError, NotWritten, first_line

CARD = "fer"
"""The checkpoint's key for what a user of the model needs: names, preprocessing, thresholds, the split it was trained on."""

SEEN = ("seen", "seen_files")
"""Tensors [n] int64 in a card and in a file of weights: hashes of pixels and of files (`fer.data.seen`)."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, then renames: the file of the old checkpoint is whole until the new one is.

    Lightning's own writes to the system's temporary folder, from where a rename is not atomic.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        write_atomically(checkpoint, Path(path))


def write_atomically(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Saves a checkpoint so that `path` holds either what it held before or all of the new one.

    Raises:
        NotWritten: the disk is full or the folder can't be written; the old file is as it was.
    """
    write_whole(path, lambda file: torch.save(dict(checkpoint), file), "the checkpoint")


def write_whole(path: Path, write: Callable[[BinaryIO], object], what: str) -> None:
    """Makes a file by `write` so that `path` holds either what it held before or all of the new one.

    Args:
        what: the message of an error calls it.

    Raises:
        NotWritten: the disk is full or the folder can't be written; the old file is as it was.
    """
    unfinished = path.with_suffix(f".tmp{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        unfinished.unlink(missing_ok=True)
        kept = f"; the last good one is kept: {path}" if path.exists() else ""
        raise NotWritten(f"{path}: {what} can't be written ({first_line(error)}){kept}") from error


def all_seen(card: Mapping[str, Any]) -> dict[str, Tensor]:
    """Hashes (`fer.data.seen`) of the pictures that a model, or the weights that it started from, learned from: `seen`, `seen_files`."""
    none = torch.empty(0, dtype=torch.int64)
    before = card.get("seen_in_weights", {})
    # a checkpoint of an older version has no hashes of files
    return {name: torch.cat((card.get(name, none), before.get(name, none))) for name in SEEN}


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of this program, opened without running any code from it.

    Raises:
        FerError: it is damaged, holds something else than plain values, or is not one of ours.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever an arbitrary file makes the unpickler say
        why = error.strerror if isinstance(error, OSError) else None
        raise FerError(
            f"{path} can't be loaded as a checkpoint: {why or 'it is damaged, or something else'} ({type(error).__name__})"
        ) from error
    parts = (CARD, "hyper_parameters", "state_dict")
    if not isinstance(checkpoint, dict) or not all(isinstance(checkpoint.get(part), Mapping) for part in parts):
        raise FerError(f"{path} is not a checkpoint of fer: it lacks the model's names and preprocessing")
    return checkpoint
