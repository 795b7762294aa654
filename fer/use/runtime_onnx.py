"""Runs an exported ONNX file with onnxruntime. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer.data.faces import view_of
from fer.data.images import Pixels8
from fer.errors import FerError, first_line
from fer.use.answers import Answers
from fer.use.facts import METADATA_KEY, Facts
from fer.use.packages import needed


class OnnxRuntime:
    """An exported model on the processor.

    Attributes:
        facts: names, thresholds, preprocessing, from the file's metadata.
    """

    has_gradients = False

    def __init__(self, path: Path) -> None:
        onnxruntime = needed("onnxruntime", "to run an .onnx file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # its warnings are about graphs, not for users
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # whatever an arbitrary file makes the parser say
            raise FerError(f"{path} can't be loaded as an ONNX model ({first_line(error)[:120]})") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.facts = Facts.from_json(metadata.get(METADATA_KEY, "null"), str(path))
        check_input(path, {entry.name: entry.shape for entry in self._session.get_inputs()}, self.facts)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def ready(self, pixels: Pixels8) -> npt.NDArray[np.float32]:
        """Stored pixels to [N, 3, H, W] in [0, 1]."""
        return network_input(pixels, self.facts.image_size)

    def run(self, images: npt.NDArray[np.float32]) -> Answers:
        """[N, 3, H, W] to calibrated probabilities."""
        return by_head(dict(zip(self._outputs, self._session.run(None, {"image": images}), strict=True)), len(images))


def check_input(path: Path, inputs: Mapping[str, Sequence[Any]], facts: Facts) -> None:
    """Refuses a graph that does not take what its own metadata says.

    Args:
        inputs: name -> shape; what is no number is free.

    Raises:
        FerError: says so.
    """
    wanted = (None, 3, facts.image_size, facts.image_size)
    shape = inputs.get("image", ())
    fits = len(shape) == len(wanted) and all(
        a == b for a, b in zip(shape, wanted, strict=True) if isinstance(a, int) and b
    )
    if set(inputs) != {"image"} or not fits:
        raise FerError(f"{path} is no model of fer: it does not take the pictures that its metadata speaks of")


def network_input(pixels: Pixels8, image_size: int) -> npt.NDArray[np.float32]:
    """What `fer.data.augment.centre_view` makes: stored pixels [N, S, S, C] to [N, 3, H, W] in [0, 1]."""
    scaled = view_of(pixels, image_size).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(np.broadcast_to(scaled, (len(pixels), 3, image_size, image_size)))


def by_head(outputs: dict[str, npt.NDArray[np.float32]], n: int) -> Answers:
    """The outputs `au` and `emotion` of a graph, each optional."""
    nothing = np.zeros((n, 0), np.float32)
    return Answers(outputs.get("au", nothing), outputs.get("emotion", nothing))
