"""Where a network looked: pictures and labels in, heat maps by Grad-CAM out. Needs gradients, so a checkpoint and torch."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from fer.data.faces import Box, view_of
from fer.data.images import Pixels8
from fer.errors import FerError
from fer.model.heat import GradCam
from fer.model.network import TwoHeadNetwork
from fer.use.answers import Face
from fer.use.crops import SMALLEST_IN_PICTURES, Picture
from fer.use.predictor import Predictor
from fer.use.runtime_torch import TorchRuntime

Heat = npt.NDArray[np.float32]


class HeatMaps:
    """`fer.model.heat.GradCam` of a model, by the names of its labels.

    It works on a copy of the network: the predictor may answer in other threads meanwhile.

    Attributes:
        labels: what can be explained: `AU12`, ..., then emotions.
        layer, places: of `GradCam`.

    Raises:
        FerError: the model was exported, or its backbone keeps no map of the picture.
    """

    def __init__(self, predictor: Predictor) -> None:
        runtime = predictor.runtime
        if not isinstance(runtime, TorchRuntime):
            raise FerError(
                "an exported .onnx or .xml model has no gradients: give the checkpoint (.ckpt) or .safetensors"
            )
        predictor.facts.refuse_pairs("fer.explain")
        self.facts, self._runtime = predictor.facts, runtime
        self.labels = (*self.facts.aus, *self.facts.emotions)
        module = runtime.module
        network = copy.deepcopy(module if isinstance(module, TwoHeadNetwork) else module.network)
        assert isinstance(network, TwoHeadNetwork)
        self._grad_cam = GradCam(network, self.facts.image_size)
        self.layer, self.places = self._grad_cam.layer, self._grad_cam.places
        self._alone = threading.Lock()

    def of(self, pixels: Pixels8, pairs: Sequence[tuple[int, str]]) -> Heat:
        """A map for each pair of a picture, by its row, and one of `labels`; a picture costs as much with many labels as with one.

        Args:
            pixels: [N, S, S, C] uint8 as `fer.data.faces.face_pixels` makes them.

        Returns:
            [M, H, W] on the evaluation view (the centre of `pixels`), 1 where most speaks for the label; all 0 where nothing does.

        Raises:
            FerError: the model does not know a label.
        """
        unknown = sorted({label for _, label in pairs} - set(self.labels))
        if unknown:
            raise FerError(f"the model knows no {unknown[0]}; it knows {', '.join(self.labels)}")
        images = self._runtime.images(pixels)
        places = torch.tensor([(row, self.labels.index(label)) for row, label in pairs], device=images.device)
        rows, labels = places.reshape(-1, 2).long().unbind(1)
        with self._alone:
            return self._grad_cam.maps(images, rows, labels).cpu().numpy()


_of_predictors: WeakKeyDictionary[Predictor, HeatMaps] = WeakKeyDictionary()
"""Those of `explain_face`: to make them takes longer than to explain a face."""


def explain_face(
    predictor: Predictor, picture: Picture, box: Box | None = None, labels: Sequence[str] | None = None
) -> dict[str, Heat]:
    """Where the model looked in one face.

    Args:
        predictor: a checkpoint, by `fer.load`.
        picture: as for `Predictor.predict`.
        box: the face, as x, y, w, h; None: the largest that is found.
        labels: `AU12`, `happy`; None: the active units and the most probable emotion.

    Returns:
        Label -> [H, W] in [0, 1], on the view of `face_view`.

    Raises:
        FerError: the picture can't be read, or the model can't be explained.
    """
    heat = _of_predictors.get(predictor) or _of_predictors.setdefault(predictor, HeatMaps(predictor))
    crop = predictor.cut(picture, None if box is None else [box], "largest", SMALLEST_IN_PICTURES)[0]
    chosen = told(predictor.name([crop])[0]) if labels is None else list(labels)
    maps = heat.of(crop.pixels[None], [(0, label) for label in chosen])
    return dict(zip(chosen, maps, strict=True))


def told(face: Face, top: int | None = None) -> list[str]:
    """The labels to explain: the active units and the most probable emotion, or the `top` most probable of both heads."""
    if top is None:
        return face.active_aus + ([face.emotion] if face.emotion is not None else [])
    heads = (face.au_prob, face.emotion_prob)
    return [label for head in heads for label in sorted(head, key=lambda name: -head[name])[:top]]


def face_view(pixels: Pixels8, image_size: int) -> Pixels8:
    """What the network saw: the centre [image_size, image_size, 3] of stored pixels [S, S, C]."""
    view = view_of(pixels, image_size)
    return view if view.shape[2] == 3 else np.repeat(view, 3, axis=2)
