"""Where a network looked: pictures and labels in, heat maps out, by Grad-CAM (Selvaraju et al., 2017, ICCV) on a late feature map."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn

from fer.errors import FerError
from fer.model.landmark_maps import LANDMARKS
from fer.model.network import Logits, TwoHeadNetwork

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

    def maps(
        self, images: Float[Tensor, "N 3 H W"], rows: Int[Tensor, " M"], labels: Int[Tensor, " M"]
    ) -> Float[Tensor, "M H W"]:
        """A map for each pair of a picture, by its row, and a label, by its place among the AUs and then the emotions.

        A picture goes through the backbone once, however many labels are asked of it.

        Returns:
            1 where most speaks for the label; all 0 where nothing does.
        """
        coarse = images.new_zeros((len(rows), *self.places))
        for start in range(0, len(images), CHUNK):
            here = (rows >= start) & (rows < start + CHUNK)
            if here.any():
                coarse[here] = self._coarse(images[start : start + CHUNK], rows[here] - start, labels[here])
        fine = nn.functional.interpolate(coarse[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return fine / fine.amax((1, 2), keepdim=True).clamp_min(torch.finfo(fine.dtype).tiny)

    def _coarse(self, images: Tensor, rows: Tensor, labels: Tensor) -> Float[Tensor, "M h w"]:
        heat = self._of(images, rows, labels)
        return heat + self._of(images.flip(-1), rows, labels).flip(-1) if self.network.flip_average else heat

    def _of(self, images: Tensor, rows: Tensor, labels: Tensor) -> Float[Tensor, "M h w"]:
        seen, heads = self._forward(images)
        logits = torch.cat([head for head in heads if head is not None], dim=1)
        heat = images.new_zeros((len(rows), *self.places))
        for label in set(labels.tolist()):
            # pictures in eval mode do not enter each other's answers: the slope of the sum is that of each
            (slope,) = torch.autograd.grad(logits[:, label].sum(), seen, retain_graph=True)
            maps = (slope.mean((2, 3), keepdim=True) * seen.detach()).sum(1).relu()
            asked = labels == label
            heat[asked] = maps[rows[asked]]
        return heat

    def _forward(self, images: Tensor) -> tuple[Float[Tensor, "N C h w"], Logits]:
        """The map, and the answers with what they need to tell their slopes along it; nothing is kept of what comes before the map.

        Without the mirror image: of two passes the hook would see the last only.
        """
        seen: list[Tensor] = []

        def begin_here(_module: nn.Module, _given: object, out: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            seen.append(out.detach().requires_grad_())
            return seen[0].clone()  # what comes next may write into it

        hook = self.network.backbone.get_submodule(self.layer).register_forward_hook(begin_here)
        try:
            with torch.no_grad():
                features = self.network.features(images.contiguous(memory_format=torch.channels_last))
                return seen[0], self.network.heads(features)
        finally:
            hook.remove()


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
        if name and not name.startswith(LANDMARKS)
    ]
    try:
        with torch.no_grad():
            backbone(torch.zeros(1, 3, image_size, image_size, device=next(backbone.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    # Swin's blocks put out [N, h, w, C]: only their last, turned, is a map
    maps = [k for k, (_, shape) in enumerate(ends) if len(shape) == 4 and shape[2] == shape[3] > 1]
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
