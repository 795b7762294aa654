"""Heat maps for the page: a picture, a face and a label in, a layer to lay over the picture out. Imports torch for checkpoints only."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fer.data.faces import Box, view_box
from fer.data.images import MAX_PIXELS
from fer.errors import FerError
from fer.results.thumbnails import layer
from fer.use.crops import SMALLEST_IN_PICTURES
from fer.use.predictor import Predictor
from fer.use.serving.replies import BoxReply, HeatReply

if TYPE_CHECKING:
    from fer.use.heat import HeatMaps

SIDE = 320
"""Of a layer, in pixels: heat is smooth, so browsers may enlarge it."""


class HeatLayers:
    """Answers `POST /heat`."""

    def __init__(self, predictor: Predictor, maps: HeatMaps) -> None:
        self._predictor, self._maps = predictor, maps

    def answer(self, label: str, box: Box | None, picture: bytes) -> HeatReply:
        """The layer of one label.

        Args:
            label: one that the model knows.
            box: the face; None: the largest that is found.
            picture: the content of a file.

        Raises:
            FerError: the picture can't be read, the box is not in it, or the model does not know the label.
        """
        (crop,) = self._predictor.cut(picture, None if box is None else [box], "largest", SMALLEST_IN_PICTURES)
        if box is not None and crop.how != "box":  # another face would be explained
            raise FerError(
                f"box={','.join(f'{number:g}' for number in box)} is no part of the picture that can be looked at"
            )
        (heat,) = self._maps.of(crop.pixels[None], [(0, label)])
        png = io.BytesIO()
        Image.fromarray(layer(heat, SIDE)).save(png, "PNG")
        view = view_box(crop.box, crop.how)
        return HeatReply(
            label=label,
            view=BoxReply(**view._asdict()),
            empty=not np.any(heat),
            png=base64.b64encode(png.getvalue()).decode("ascii"),
        )


def open_heat(predictor: Predictor) -> HeatLayers | str:
    """What answers about this model, or the line that says why nothing can."""
    if not predictor.runtime.has_gradients:
        return "heat maps need a checkpoint (.ckpt) or .safetensors: an exported .onnx or .xml model has no gradients"
    from fer.use.heat import HeatMaps

    try:
        return HeatLayers(predictor, HeatMaps(predictor))
    except FerError as error:
        return str(error)


def read_box(text: str | None) -> Box | None:
    """`x,y,w,h` as a box.

    Raises:
        FerError: anything else.
    """
    if text is None:
        return None
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(abs(number) <= MAX_PIXELS for number in numbers) or min(numbers[2:]) <= 0:
        raise FerError(f"box={text[:60]} must be x,y,w,h in pixels")
    return Box(*numbers)
