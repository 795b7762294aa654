"""Runs an exported OpenVINO model (`.xml` with its `.bin`). Never imports torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer.data.images import Pixels8
from fer.errors import FerError, first_line
from fer.use.answers import Answers
from fer.use.facts import METADATA_KEY, Facts
from fer.use.packages import needed
from fer.use.runtime_onnx import by_head, check_input, network_input


class OpenVinoRuntime:
    """An exported model on the processor, in the precision that it was exported for.

    Attributes:
        facts: names, thresholds, preprocessing, from the file's metadata.
    """

    has_gradients = False

    def __init__(self, path: Path) -> None:
        openvino = needed("openvino", "to run an .xml file")
        core = openvino.Core()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise FerError(f"{path} can't be loaded as an OpenVINO model ({first_line(error)[:120]})") from error
        stored = model.get_rt_info([METADATA_KEY]).value if model.has_rt_info([METADATA_KEY]) else "null"
        self.facts = Facts.from_json(str(stored), str(path))
        # left alone, OpenVINO takes bf16 wherever the processor has it
        hint = "bf16" if self.facts.precision == "bf16" else "f32"
        self._compiled = core.compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        )
        shapes = {
            entry.get_any_name(): [d.get_length() if d.is_static else None for d in entry.get_partial_shape()]
            for entry in self._compiled.inputs
        }
        check_input(path, shapes, self.facts)
        self._outputs = [output.get_any_name() for output in self._compiled.outputs]

    def ready(self, pixels: Pixels8) -> npt.NDArray[np.float32]:
        """Stored pixels to [N, 3, H, W] in [0, 1]."""
        return network_input(pixels, self.facts.image_size)

    def run(self, images: npt.NDArray[np.float32]) -> Answers:
        """[N, 3, H, W] to calibrated probabilities."""
        # a request of its own: one that is shared can't be used by two threads
        found = self._compiled.create_infer_request().infer({"image": images})
        return by_head({name: found[name] for name in self._outputs}, len(images))
