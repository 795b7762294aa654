"""A network into a file: ONNX, OpenVINO or safetensors, each with the model's `Facts` in its metadata."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

from fer.config import ModelConfig
from fer.model.checkpoints import all_seen
from fer.model.module import FaceModule
from fer.model.network import TwoHeadNetwork
from fer.use.exporting.graph import AnsweringNetwork
from fer.use.exporting.quantize import int8_onnx, int8_openvino
from fer.use.facts import METADATA_KEY, Facts
from fer.use.packages import needed

Images = npt.NDArray[np.float32]
"""[N, 3, H, W] in [0, 1]."""


def write_onnx(module: FaceModule, facts: Facts, path: Path, calibration: Images | None) -> None:
    """An ONNX file: `image` [N, 3, H, W] for any N, to `au` [N, A] and `emotion` [N, E].

    Args:
        module: the checkpoint's.
        facts: their `precision` is `f32` or `int8`.
        path: ends in `.onnx`.
        calibration: for `int8`: pictures by which the ranges of the activations are chosen.

    Raises:
        FerError: a package that is needed is not installed.
    """
    onnx = needed("onnx", "to write ONNX")
    needed("onnxscript", "to write ONNX")
    example = torch.zeros(2, 3, facts.image_size, facts.image_size)
    with _quiet():
        program = torch.onnx.export(
            AnsweringNetwork(_plain(module), facts).eval(),
            (example,),
            dynamo=True,
            input_names=["image"],
            output_names=[head for head, names in (("au", facts.aus), ("emotion", facts.emotions)) if names],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.save(path, external_data=False)
    if calibration is not None:
        int8_onnx(path, calibration)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: facts.as_json()})
    onnx.save(model, path)


def write_openvino(module: FaceModule, facts: Facts, path: Path, calibration: Images | None) -> None:
    """An OpenVINO model: `path` (`.xml`) and its `.bin`; inputs, outputs and arguments as for `write_onnx`, or `bf16`."""
    openvino = needed("openvino", "to write OpenVINO")
    graph = path.with_suffix(".onnx")
    write_onnx(module, facts, graph, None)
    model = openvino.convert_model(graph)
    graph.unlink()
    if calibration is not None:
        model = int8_openvino(model, calibration)
    model.set_rt_info(facts.as_json(), [METADATA_KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


def write_safetensors(module: FaceModule, facts: Facts, path: Path, calibration: Images | None) -> None:
    """The network's weights and how to build it again; `bf16` halves the file, and is computed in single precision."""
    network, kind = module.network, torch.bfloat16 if facts.precision == "bf16" else torch.float32
    tensors = {
        name: tensor.to(kind if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    tensors |= all_seen(module.card)  # as a start for another run it still knows whom it learned from
    # not by `save_file`, whose files nobody else may read
    path.write_bytes(save(tensors, {METADATA_KEY: facts.as_json(network=_arguments(module.model, facts))}))


WRITERS: dict[str, Callable[[FaceModule, Facts, Path, Images | None], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "safetensors": write_safetensors,
}


EXPORTED = (".onnx", ".xml", ".safetensors")
"""Endings of exported files."""


def _plain(module: FaceModule) -> TwoHeadNetwork:
    """A copy on the CPU in the usual memory order."""
    return copy.deepcopy(module.network).cpu().to(memory_format=torch.contiguous_format)


def _arguments(model: ModelConfig, facts: Facts) -> dict[str, Any]:
    """What `TwoHeadNetwork` is built from; mean and standard deviation are among its tensors."""
    return {
        "backbone": model.backbone,
        "image_size": facts.image_size,
        "dense": model.dense,
        "dropout": model.dropout,
        "n_aus": len(facts.aus),
        "n_emotions": len(facts.emotions),
        "flip_average": model.flip_average,
        "levels": model.levels,
        "grid": model.grid,
        "landmarks": model.landmarks,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's notes to developers off the terminal."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
