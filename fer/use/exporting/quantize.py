"""Whole numbers of 8 bits in place of real ones, their ranges chosen on real pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer.use.packages import needed

BATCH = 8


def int8_onnx(path: Path, images: npt.NDArray[np.float32]) -> None:
    """Quantizes an ONNX file in place: activations unsigned, weights signed and per channel, which is the fast path of x86 processors.

    Args:
        path: the file.
        images: [N, 3, H, W] in [0, 1].
    """
    quantization = needed("onnxruntime.quantization", "to quantize")
    needed("onnxruntime.quantization.shape_inference", "to quantize").quant_pre_process(
        path, path, skip_symbolic_shape=True
    )

    class Pictures(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.batches: Iterator[Any] = _batches(images)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    own = logging.root.handlers[:]
    logging.root.addHandler(logging.NullHandler())  # or it would give the root one that prints
    try:
        quantization.quantize_static(
            path,
            path,
            Pictures(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_from_logits_on(needed("onnx", "to quantize").load(path).graph),
        )
    finally:
        logging.root.handlers[:] = own


def _from_logits_on(graph: Any) -> list[str]:
    """Names of the heads' nodes and of all after them, to be left in single precision.

    In 256 steps small probabilities of different faces become the same number: on 157 rendered faces the macro AUC of the emotions
    went from .978 to .901, while hardly a decision changed.
    """
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for output in graph.output:
        node = makers[output.name]
        while node.op_type not in ("Gemm", "MatMul"):
            found.append(node.name)
            node = makers[node.input[0]]
        found.append(node.name)
    return found


def int8_openvino(model: Any, images: npt.NDArray[np.float32]) -> Any:
    """A quantized copy of an OpenVINO model."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # nncf makes it miss a GPU aloud
    nncf = needed("nncf", "to quantize")
    nncf.set_log_level(logging.ERROR)  # its notes are for developers
    batches = list(_batches(images))
    return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))


def _batches(images: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))
