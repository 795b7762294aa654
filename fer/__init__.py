"""Train, judge and use one network that reads action units and the emotion off a face picture.

`from fer import load` gives the Python interface: `load("outputs/train/run/...").predict("photo.jpg")`.
"""

from typing import TYPE_CHECKING, Any

from fer.version import __version__

if TYPE_CHECKING:
    from fer.use.answers import Face
    from fer.use.predictor import Predictor, load

__all__ = ["Face", "Predictor", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # on first use: `import fer` stays light
    if name in ("load", "Predictor"):
        from fer.use import predictor

        return getattr(predictor, name)
    if name == "Face":
        from fer.use.answers import Face

        return Face
    raise AttributeError(f"module 'fer' has no attribute {name!r}")
