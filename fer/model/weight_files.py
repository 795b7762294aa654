"""Files of weights: `.safetensors`, or pickles that are read without running what they hold; tensors and words about them in and out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fer.errors import FerError, first_line
from fer.model.carried import PARTS, CarriedHeads
from fer.model.checkpoints import CARD, all_seen, write_whole
from fer.model.network import TwoHeadNetwork


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by their names, and what it says of them.

    Raises:
        FerError: it holds something else.
    """
    try:
        return _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise FerError(f"model.weights={path} can't be read as weights: {first_line(error)}") from error


def save_backbone(
    network: TwoHeadNetwork, path: Path, heads: CarriedHeads | None = None, seen: Mapping[str, Tensor] | None = None
) -> None:
    """Writes a trained backbone as a file that `model.weights` takes, with the statistics that its pictures were normalised by.

    Args:
        heads: to travel with it, for `model.carry_heads`.
        seen: likewise, so that nobody whom it learned from counts as new later on; keyed as `checkpoints.SEEN`.

    Raises:
        FerError: the disk is full or the folder can't be written.
    """
    state = {name: tensor.contiguous() for name, tensor in network.backbone.state_dict().items()}
    statistics = {name: getattr(network, name).flatten().tolist() for name in ("mean", "std")}
    meta = {name: ",".join(map(repr, numbers)) for name, numbers in statistics.items()}
    if heads:
        state, meta = state | heads.state, meta | heads.names()
    content = save({**state, **(seen or {})}, meta)
    write_whole(path, lambda file: file.write(content), "the backbone")


def heads_in(path: Path, state: dict[str, Tensor], meta: dict[str, str]) -> CarriedHeads | None:
    """The dense layer and heads in a file of `save_backbone`, None if it holds none."""
    if "aus" not in meta:
        return None
    heads = {name: tensor for name, tensor in state.items() if name.startswith(PARTS)}
    try:
        aus, emotions = (tuple(json.loads(meta[head])) for head in ("aus", "emotions"))
        levels, grid, *landmarks = json.loads(meta.get("maps", "[1, 1]"))
        found = CarriedHeads(heads, aus, emotions, "pairs" in meta, (levels, grid, landmarks == [True]))
        n_dense, n_features = heads["dense.1.weight"].shape
        rows = {"au_head": len(found.aus), "emotion_head": len(found.emotions)}
        shapes: dict[str, tuple[int, ...]] = {"dense.1.weight": (n_dense, n_features), "dense.1.bias": (n_dense,)}
        shapes |= {f"{head}.weight": (n, n_dense) for head, n in rows.items() if n}
        shapes |= {f"{head}.bias": (n,) for head, n in rows.items() if n}
        if found.maps != (1, 1, False):
            shapes |= {
                "standardised.running_mean": (n_features,),
                "standardised.running_var": (n_features,),
                "standardised.num_batches_tracked": (),
            }
        whole = all(heads[name].shape == shape for name, shape in shapes.items())
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise FerError(f"model.weights={path}: its dense layer and heads are damaged")
    return found


def three_numbers(path: Path, text: str) -> tuple[float, ...]:
    """A mean or a standard deviation of three channels.

    Raises:
        FerError: it is none.
    """
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise FerError(f"model.weights={path}: its mean and std must be three numbers each, got {text!r}")
    return numbers


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no iterator)


def _pickled(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever an arbitrary file makes the unpickler say
        raise ValueError(f"not a file of plain tensors ({type(error).__name__})") from error
    about, meta = content, {}
    for name in ("state_dict", "model"):  # of a Lightning checkpoint, of torchvision's own training script
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(k, str) and _is_whole(v) for k, v in content.items()):
        raise ValueError("not a dictionary of tensors")
    if (
        CARD in about
    ):  # a checkpoint of ours says whom it learned from, what its pictures were normalised by, what its heads say
        try:
            content = content | all_seen(about[CARD])
            made = about["hyper_parameters"]
            pixels, labels, model = made["preprocessing"], made["labels"], made["model"]
            meta = {name: ",".join(map(repr, pixels[name])) for name in ("mean", "std") if name in pixels}
            maps = (model.get("levels", 1), model.get("grid", 1), model.get("landmarks", False))
            heads = CarriedHeads({}, labels["aus"], labels["emotions"], bool(pixels.get("reference")), maps)
            meta |= heads.names()
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("a damaged checkpoint") from error
    return content, meta


def _is_whole(value: Any) -> bool:
    """Whether it is a tensor with a number in the file for each of its own: one that repeats some may be any size."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return plain and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
