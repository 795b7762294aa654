"""Where a network looked: pictures and labels in, heat maps by Grad-CAM out. Needs gradients, so a checkpoint and torch."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fer.data.faces import Box
from fer.data.images import Pixels8
from fer.errors import FerError
from fer.model.network import Logits, TwoHeadNetwork
from fer.use.answers import Face
from fer.use.crops import Picture
from fer.use.packages import needed
from fer.use.predictor import Predictor
from fer.use.runtime_torch import TorchRuntime

Heat = npt.NDArray[np.float32]

FEWEST_PLACES = 4
"""Height and width of the coarsest map that is looked at, where there is a finer one.

Measured on ResNet18s trained on rendered faces (share of a unit's heat in its region above that of spread heat): at 64 pixels 2 x 2 places
+.002 [.000, .003], 4 x 4 +.057 [.048, .066]; at 112 pixels 7 x 7 less 4 x 4 -.012 [-.023, .000]: finer than this is no better.
"""


class HeatMaps:
    """Grad-CAM (Selvaraju et al., 2017, ICCV) on the last feature map of a model, for any of its labels.

    It explains the label's logit, so that other labels do not enter. Of a model that averages over the mirror image it is the mean of
    both maps, the second turned back. It works on a copy of the network: the predictor may answer in other threads meanwhile.

    Attributes:
        labels: what can be explained: `AU12`, ..., then emotions.
        layer: name in the backbone of the module whose output is looked at.
        places: height and width of that map: how fine the heat can be.

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
        attribution = needed("captum.attr", "for heat maps")
        self.facts, self._runtime, self._batch_size = predictor.facts, runtime, predictor.batch_size
        self.labels = (*self.facts.aus, *self.facts.emotions)
        module = runtime.module
        network = copy.deepcopy(module if isinstance(module, TwoHeadNetwork) else module.network)
        assert isinstance(network, TwoHeadNetwork)
        self._network = network.requires_grad_(False)
        self.layer, self.places = last_map(network.backbone, self.facts.image_size)
        self._grad_cam = attribution.LayerGradCam(_AllLogits(network), network.backbone.get_submodule(self.layer))
        self._alone = threading.Lock()

    def of(self, pixels: Pixels8, labels: Sequence[str]) -> Heat:
        """A map for each picture and its label.

        Args:
            pixels: [N, S, S, C] uint8 as `fer.data.faces.face_pixels` makes them.
            labels: N of `labels`; to explain several of one picture, repeat it.

        Returns:
            [N, H, W] on the evaluation view (the centre of `pixels`), 1 where most speaks for the label; all 0 where nothing does.

        Raises:
            FerError: the model does not know a label.
        """
        unknown = sorted(set(labels) - set(self.labels))
        if unknown:
            raise FerError(f"the model knows no {unknown[0]}; it knows {', '.join(self.labels)}")
        targets = torch.tensor([self.labels.index(label) for label in labels], device=self._runtime.device)
        side = self.facts.image_size
        parts = [np.zeros((0, side, side), np.float32)]
        for start in range(0, len(pixels), self._batch_size):
            chosen = slice(start, start + self._batch_size)
            with self._alone, torch.enable_grad():
                heat = self._maps(self._runtime.images(pixels[chosen]), targets[chosen])
            parts.append(heat.cpu().numpy())
        return np.concatenate(parts)

    def _maps(self, images: Tensor, targets: Tensor) -> Tensor:
        heat = self._coarse(images, targets)
        if self._network.flip_average:
            heat = (heat + self._coarse(images.flip(-1), targets).flip(-1)) / 2
        size = list(images.shape[-2:])
        fine = nn.functional.interpolate(heat, size, mode="bilinear", align_corners=False)[:, 0]
        return fine / fine.amax((1, 2), keepdim=True).clamp_min(torch.finfo(fine.dtype).tiny)

    def _coarse(self, images: Tensor, targets: Tensor) -> Tensor:
        seen = images.detach().clone().requires_grad_()
        heat: Tensor = self._grad_cam.attribute(seen, targets, relu_attributions=True)
        return heat.detach().float()


class _AllLogits(nn.Module):
    """A network with its answers side by side, [N, A + E], and without the mirror image: a hook would see the last of two passes only."""

    def __init__(self, network: TwoHeadNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Logits = self.network.heads(self.network.features(images))
        return torch.cat([head for head in logits if head is not None], dim=1)


def last_map(backbone: nn.Module, image_size: int) -> tuple[str, tuple[int, int]]:
    """The module that puts out the last map [N, C, h, w] of at least `FEWEST_PLACES`: its name, and h and w.

    What pooling averages away, unless small pictures leave it too coarse: `layer4` of a ResNet at 112 pixels or more, `layer3` at 64,
    `features` of VGG and MobileNet, `Mixed_7c` of Inception. If no map has so many places, the last with more than one.

    Raises:
        FerError: after the last map come tokens (a vision transformer).
    """
    ends: list[tuple[str, tuple[int, ...]]] = []
    hooks = [
        module.register_forward_hook(
            lambda _module, _given, out, name=name: ends.append(
                (name, tuple(out.shape) if isinstance(out, Tensor) else ())
            )
        )
        for name, module in backbone.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            backbone(torch.zeros(1, 3, image_size, image_size, device=next(backbone.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    maps = [k for k, (_, shape) in enumerate(ends) if len(shape) == 4 and min(shape[2:]) > 1]
    if not maps or any(len(shape) == 3 for _, shape in ends[maps[-1] :]):
        raise FerError(
            f"Grad-CAM needs a convolutional backbone: {type(backbone).__name__} keeps no map of the picture "
            f"up to its end at {image_size} pixels"
        )
    # a module inside of a block sees one of its branches only
    fine = [k for k in maps if min(ends[k][1][2:]) >= FEWEST_PLACES and ends[k][0].count(".") < 2]
    name, shape = ends[(fine or maps)[-1]]
    return name, (shape[2], shape[3])


def heat_maps(predictor: Predictor, pixels: Pixels8, labels: Sequence[str]) -> Heat:
    """`HeatMaps.of` for a single use.

    Raises:
        FerError: see `HeatMaps`.
    """
    return HeatMaps(predictor).of(pixels, labels)


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
    heat = HeatMaps(predictor)
    crop = predictor.cut(picture, None if box is None else [box], "largest")[0]
    chosen = told(predictor.name([crop])[0]) if labels is None else list(labels)
    maps = heat.of(np.repeat(crop.pixels[None], len(chosen), axis=0), chosen)
    return dict(zip(chosen, maps, strict=True))


def told(face: Face, top: int | None = None) -> list[str]:
    """The labels to explain: the active units and the most probable emotion, or the `top` most probable of both heads."""
    if top is None:
        return face.active_aus + ([face.emotion] if face.emotion is not None else [])
    heads = (face.au_prob, face.emotion_prob)
    return [label for head in heads for label in sorted(head, key=lambda name: -head[name])[:top]]


def face_view(pixels: Pixels8, image_size: int) -> Pixels8:
    """What the network saw: the centre [image_size, image_size, 3] of stored pixels [S, S, C]."""
    start = (len(pixels) - image_size) // 2
    view = pixels[start : start + image_size, start : start + image_size]
    return view if view.shape[2] == 3 else np.repeat(view, 3, axis=2)
