"""Where a network looked: pictures and labels in, heat maps out, by Grad-CAM (Selvaraju et al., 2017, ICCV) on the last feature map."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fer.errors import FerError
from fer.model.network import TwoHeadNetwork

CHUNK = 16
"""Pictures that go through the backbone at once."""


class GradCam:
    """Heat maps of a network in eval mode, for any of its labels; many labels of one picture cost one pass through the backbone.

    They explain the label's logit, so that other labels do not enter. Of a network that averages over the mirror image it is the mean
    of both maps, the second turned back.

    Attributes:
        layer: name in the backbone of the module whose output is looked at.
        places: height and width of that map: how fine the heat can be.

    Raises:
        FerError: the backbone keeps no map of the picture.
    """

    def __init__(self, network: TwoHeadNetwork, image_size: int) -> None:
        self.network = network
        self.layer, self.places = last_map(network.backbone, image_size)

    def maps(
        self, images: Float[Tensor, "N 3 H W"], rows: Int[Tensor, " M"], labels: Int[Tensor, " M"]
    ) -> Float[Tensor, "M H W"]:
        """A map for each pair of a picture, by its row, and a label, by its place among the AUs and then the emotions.

        Returns:
            1 where most speaks for the label; all 0 where nothing does.
        """
        coarse = images.new_zeros(len(rows), *self.places)
        for start in range(0, len(images), CHUNK):
            mine = ((rows >= start) & (rows < start + CHUNK)).nonzero()[:, 0]
            chunk, pairs = images[start : start + CHUNK], (rows[mine] - start, labels[mine])
            coarse[mine] = self._coarse(chunk, *pairs)
            if self.network.flip_average:
                coarse[mine] += self._coarse(chunk.flip(-1), *pairs).flip(-1)
        fine = nn.functional.interpolate(coarse[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return fine / fine.amax((1, 2), keepdim=True).clamp_min(torch.finfo(fine.dtype).tiny)

    def _coarse(self, images: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        kept: list[Tensor] = []

        def keep(_module: nn.Module, _given: object, out: Tensor) -> Tensor:
            # the graph begins here: nothing below is asked for a gradient. What comes next may work in place, so it gets a copy
            kept.append(out.detach().requires_grad_())
            return kept[0].clone()

        hook = self.network.backbone.get_submodule(self.layer).register_forward_hook(keep)
        try:
            with torch.enable_grad():
                heads = self.network.heads(self.network.features(images.contiguous(memory_format=torch.channels_last)))
                logits = torch.cat([head for head in heads if head is not None], dim=1)  # [N, A + E]
        finally:
            hook.remove()
        (feature_map,) = kept  # [N, C, h, w]
        heat = images.new_zeros(len(rows), *feature_map.shape[-2:])
        for label in set(labels.tolist()):
            (gradient,) = torch.autograd.grad(logits[:, label].sum(), feature_map, retain_graph=True)
            weighed = (gradient.mean((2, 3), keepdim=True) * feature_map.detach()).sum(1).relu()
            heat[labels == label] = weighed[rows[labels == label]].to(heat.dtype)
        return heat


def last_map(backbone: nn.Module, image_size: int) -> tuple[str, tuple[int, int]]:
    """The module that puts out the last map [N, C, h, w] with more than one place, what pooling averages away: its name, and h and w.

    `layer4` of a ResNet at 112 pixels or more, `features` of VGG and MobileNet, `Mixed_7c` of Inception.

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
    name, shape = ends[maps[-1]]
    return name, (shape[2], shape[3])
