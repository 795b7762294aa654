"""Which classifiers torchvision has, and which weights of each: a mistyped name is refused before torch is imported."""

from __future__ import annotations

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from fer.config import is_file_name
from fer.errors import FerError

_BUILDER = re.compile(
    r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(\s*\*,\s*weights: Optional\[(\w+)\]", flags=re.MULTILINE
)
_WEIGHTS = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:[ ].*\n|\n)*)", flags=re.MULTILINE)


@cache
def classifiers() -> dict[str, tuple[str, ...]]:
    """Name -> names of its weights, read from torchvision's sources: to ask it takes as long as to import torch."""
    found = importlib.util.find_spec("torchvision")
    folder = Path(next(iter(found.submodule_search_locations or ()))) if found else Path()
    texts = [file.read_text(encoding="utf-8") for file in sorted((folder / "models").glob("*.py"))]
    weights = {
        name: tuple(re.findall(r"^    (\w+) = Weights\(", body, re.MULTILINE))
        for text in texts
        for name, body in _WEIGHTS.findall(text)
    }
    return {name: weights.get(of, ()) for text in texts for name, of in _BUILDER.findall(text)}


def check_backbone(name: str) -> None:
    """Refuses a name that no torchvision classifier has.

    Raises:
        FerError: names the nearest ones.
    """
    if name not in classifiers():
        near = difflib.get_close_matches(name, classifiers(), n=3, cutoff=0)
        raise FerError(f"model.backbone={name}: torchvision has no such classifier; near it are {', '.join(near)}")


def check_weights(backbone: str, wanted: str) -> None:
    """Refuses a `model.weights` that names a file which is not there, or weights that the backbone has not.

    Raises:
        FerError: says so; or that there is no such backbone.
    """
    check_backbone(backbone)
    if is_file_name(wanted):
        if not Path(wanted).is_file():
            raise FerError(f"model.weights={wanted}: there is no such file")
    elif wanted not in ("none", "auto", "DEFAULT", *classifiers()[backbone]):
        raise FerError(
            f"model.weights={wanted}: {backbone} has {', '.join(classifiers()[backbone])}; or name a .safetensors or .pth file, or none"
        )
