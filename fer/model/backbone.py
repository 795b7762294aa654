"""Any torchvision classifier as a backbone: without its classifier, its features pooled from one map or several.

Letters in shapes: N batch, F features, C channels of a map, H W pixels or places.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torchvision.models import MNASNet, get_model, get_model_weights

from fer.errors import FerError, first_line
from fer.model.landmark_maps import LANDMARKS, MAPS, LandmarkMaps
from fer.model.names import check_backbone


class Backbone(NamedTuple):
    """What `make_backbone` makes: [N, 3, H, W] -> [N, F], F, and what the features are taken from."""

    module: nn.Module
    n_features: int
    levels: int = 1
    grid: int = 1
    landmarks: bool = False


def make_backbone(name: str, image_size: int, levels: int = 1, grid: int = 1, landmarks: bool = False) -> Backbone:
    """A torchvision classifier with random weights and without its classifier: pictures to pooled features.

    Args:
        levels: how many of its resolutions the features come from, the coarsest first.
        grid: rows and columns of cells that each map is averaged over; fewer where the map itself has fewer. 1: the whole map is
            one cell, and with one level the features are what the classifier would see.
        landmarks: whether the last features are the places of the landmarks (`LandmarkMaps`), for which it gets a module `landmarks`.

    Raises:
        FerError: torchvision has no classifier of that name, it does not take pictures of `image_size` pixels, or it has not so many
            levels.
    """
    check_backbone(name)
    # GoogLeNet and Inception come with auxiliary classifiers, and warn of their slow initialisation unless told not to
    extra: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if name.startswith("vit_"):
        extra["image_size"] = image_size
    try:
        model = get_model(name, weights=None, **extra)
    except AssertionError as error:
        raise _not_taken(name, image_size, error) from error
    if isinstance(model, MNASNet):  # whose own way of loading wants a version that names and tensors alone do not tell
        model._load_from_state_dict = partial(nn.Module._load_from_state_dict, model)
    if hasattr(model, "transform_input"):
        model.transform_input = False  # a second normalisation; weights.py sets the statistics that the weights want
    if isinstance(getattr(model, "avgpool", None), nn.AdaptiveAvgPool2d):
        model.avgpool = nn.AdaptiveAvgPool2d(
            1
        )  # VGG and AlexNet pool to 7x7 and 6x6: 25,088 features for a few hundred faces
    if isinstance(getattr(model, "dropout", None), nn.Dropout):
        model.dropout = nn.Identity()  # Inception's and GoogLeNet's own, of the classifier; ours is model.dropout
    _behead(model)
    n_features = _n_features(model, name, image_size)
    if levels == grid == 1 and not landmarks:
        return Backbone(model, n_features)
    model = _pooled_maps(model, name, image_size, levels, grid, landmarks)
    return Backbone(model, _n_features(model, name, image_size), levels, grid, landmarks)


def _behead(model: nn.Module) -> None:
    """Takes the classifier off, in place: the last child, from its first linear layer on."""
    head_name, head = list(model.named_children())[-1]
    layers = list(head.children()) if isinstance(head, nn.Sequential) else [head]
    first = next((k for k, layer in enumerate(layers) if isinstance(layer, nn.Linear)), None)
    if first is None:  # SqueezeNet classifies by convolution
        kept: list[nn.Module] = [nn.AdaptiveAvgPool2d(1)]
    else:
        kept = [layer for layer in layers[:first] if not isinstance(layer, nn.Dropout)]
    setattr(model, head_name, nn.Sequential(*kept))


class _Blocks(fx.Tracer):
    """Sees a network as a row of blocks: what is inside of a block is its own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential)


def _pooled_maps(model: nn.Module, name: str, image_size: int, levels: int, grid: int, landmarks: bool) -> nn.Module:
    """The network up to its last map, putting out the last maps of its `levels` coarsest resolutions, pooled, and where landmarks are.

    Its tensors keep their names, so that the weights of the whole network fit.
    """
    traced = fx.GraphModule(model, _Blocks().trace(model))
    maps = _last_maps(traced, image_size)
    if len(maps) < levels:
        raise FerError(
            f"model.levels={levels}, model.grid={grid}, model.landmarks={str(landmarks).lower()}: "
            f"model.backbone={name} has {len(maps)} resolution(s) to take maps of the picture from"
        )
    graph, chosen = traced.graph, maps[-levels:]
    [output] = graph.find_nodes(op="output")
    with graph.inserting_before(output):
        pooled = graph.call_function(pool_maps, (chosen, grid))
        if landmarks:
            seen = maps[: -MAPS - 1 : -1]
            traced.add_module(LANDMARKS, LandmarkMaps([one.meta["tensor_meta"].shape[1] for one in seen]))
            places = graph.call_module(LANDMARKS, (seen,))
            pooled = graph.call_function(torch.cat, ([pooled, places],), {"dim": 1})
    output.replace_input_with(output.all_input_nodes[0], pooled)
    graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _last_maps(traced: fx.GraphModule, image_size: int) -> list[fx.Node]:
    """Who puts out the last map of each resolution, finest first, after all that is not a map (a transformer's tokens)."""
    traced.eval()
    with torch.no_grad():
        ShapeProp(traced).propagate(torch.zeros(1, 3, image_size, image_size, device=next(traced.parameters()).device))
    traced.train()
    last: dict[int, fx.Node] = {}
    for node in traced.graph.nodes:
        if _pools(traced, node):
            break
        shape = tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))
        if node.op == "placeholder" or len(shape) < 3:
            continue
        if len(shape) == 4 and shape[2] == shape[3]:
            last[shape[2]] = node
        else:
            last.clear()
    return [last[side] for side in sorted(last, reverse=True)]


def _pools(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether here a whole map becomes one place."""
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), nn.AdaptiveAvgPool2d)
    return node.target is nn.functional.adaptive_avg_pool2d


def pool_maps(maps: Sequence[Float[Tensor, "N C H W"]], grid: int) -> Float[Tensor, "N F"]:
    """Each map averaged over at most `grid` x `grid` cells, side by side."""
    cells = [nn.functional.adaptive_avg_pool2d(one, min(grid, one.shape[2])) for one in maps]
    return torch.cat([some.flatten(1) for some in cells], dim=1)


def _n_features(model: nn.Module, name: str, image_size: int) -> int:
    model.eval()
    picture = torch.zeros(1, 3, image_size, image_size, device=next(model.parameters()).device)
    try:
        with torch.no_grad():
            n_features = model(picture).shape[1]
    except (RuntimeError, AssertionError) as error:
        raise _not_taken(name, image_size, error) from error
    model.train()
    return int(n_features)


def _not_taken(name: str, image_size: int, error: Exception) -> FerError:
    made_for = get_model_weights(name).DEFAULT.transforms().crop_size[0]
    return FerError(
        f"model.backbone={name} does not take data.image_size={image_size}, it was made for {made_for}: {first_line(error)}"
    )
