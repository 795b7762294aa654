"""Where a network looked: pictures and labels in, heat maps out, by Grad-CAM (Selvaraju et al., 2017, ICCV) on a late feature map."""

from __future__ import annotations

import torch
from captum.attr import LayerGradCam
from jaxtyping import Float, Int
from torch import Tensor, fx, nn

from fer.errors import FerError
from fer.model.network import TwoHeadNetwork

CHUNK = 16
"""Pictures that go through the backbone at once."""

FEWEST_PLACES = 4
"""Height and width of the coarsest map that is looked at, where there is a finer one.

Measured on ResNet18s trained on rendered faces (share of a unit's heat in its region above that of spread heat): at 64 pixels 2 x 2 places
+.002 [.000, .003], 4 x 4 +.057 [.048, .066]; at 112 pixels 7 x 7 less 4 x 4 -.012 [-.023, .000]: finer than this is no better.
"""


class GradCam:
    """Heat maps of a network in eval mode, for any of its labels.

    They explain the label's logit, so that other labels do not enter; of heads that see several maps (`model.levels`) the part that goes
    through this one, the coarsest that is fine enough. Of a network that averages over the mirror image it is the mean
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
        self._grad_cam = LayerGradCam(_AllLogits(network), network.backbone.get_submodule(self.layer))

    def maps(
        self, images: Float[Tensor, "N 3 H W"], rows: Int[Tensor, " M"], labels: Int[Tensor, " M"]
    ) -> Float[Tensor, "M H W"]:
        """A map for each pair of a picture, by its row, and a label, by its place among the AUs and then the emotions.

        Returns:
            1 where most speaks for the label; all 0 where nothing does.
        """
        pairs = zip(torch.split(rows, CHUNK), torch.split(labels, CHUNK), strict=True)
        coarse = torch.cat([self._coarse(images[some], targets) for some, targets in pairs])
        fine = nn.functional.interpolate(coarse, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return fine / fine.amax((1, 2), keepdim=True).clamp_min(torch.finfo(fine.dtype).tiny)

    def _coarse(self, images: Tensor, targets: Tensor) -> Float[Tensor, "N 1 h w"]:
        heat = self._of(images, targets)
        return heat + self._of(images.flip(-1), targets).flip(-1) if self.network.flip_average else heat

    def _of(self, images: Tensor, targets: Tensor) -> Tensor:
        with torch.enable_grad():
            heat: Tensor = self._grad_cam.attribute(
                images.detach().clone().requires_grad_(), targets, relu_attributions=True
            )
        return heat.detach().float()


class _AllLogits(nn.Module):
    """A network with its answers side by side, [N, A + E], and without the mirror image: a hook would see the last of two passes only."""

    def __init__(self, network: TwoHeadNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        heads = self.network.heads(self.network.features(images.contiguous(memory_format=torch.channels_last)))
        return torch.cat([head for head in heads if head is not None], dim=1)


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
    blocks = (
        {str(node.target) for node in backbone.graph.find_nodes(op="call_module")}
        if isinstance(backbone, fx.GraphModule)
        else {name for name, _ in ends if name.count(".") < 2}
    )
    fine = [k for k in maps if min(ends[k][1][2:]) >= FEWEST_PLACES and ends[k][0] in blocks]
    name, shape = ends[(fine or maps)[-1]]
    return name, (shape[2], shape[3])
