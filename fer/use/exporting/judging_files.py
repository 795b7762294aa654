"""An exported file in the place of its checkpoint: the checkpoint's predictions table in, the same table with the file's answers out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fer.data.prepare import Prepared
from fer.errors import FerError
from fer.results.calibration import calibrated
from fer.use.exporting.formats import EXPORTED
from fer.use.facts import Facts
from fer.use.predictor import Predictor, load

OF_BOTH = ("aus", "emotions", "thresholds", "temperature", "image_size", "crop", "color", "reference")
"""Facts that a file shares with the checkpoint that it was made from."""


def open_exported(path: str, facts: Facts) -> Predictor:
    """The model in an exported file.

    Args:
        facts: of the checkpoint that it should have been made from.

    Raises:
        FerError: there is no such file, it is damaged, or it was made from another checkpoint.
    """
    if Path(path).suffix not in EXPORTED or not Path(path).expanduser().is_file():
        raise FerError(f"exported={path}: there is no such file of fer.export ({', '.join(EXPORTED)})")
    model = load(path, accelerator="cpu")
    other = [name for name in OF_BOTH if getattr(model.facts, name) != getattr(facts, name)]
    if other:
        raise FerError(f"exported={path} was not made from this checkpoint: it has other {', '.join(other)}")
    return model


def answered_by(
    model: Predictor, predictions: pd.DataFrame, prepared: Prepared, part: str, temperature: Mapping[str, float]
) -> pd.DataFrame:
    """`predictions` of a split with the answers of `model` in place of the checkpoint's, not calibrated as those.

    Args:
        temperature: what the file divides its logits by: the checkpoint's.
    """
    places = prepared.part(part)["pixel"].to_numpy()
    n_batches = -(-len(places) // model.batch_size)
    parts = [model.answers(np.asarray(prepared.pixels.array[some])) for some in np.array_split(places, n_batches)]
    au, emotion = (np.concatenate(head).astype(np.float64) for head in zip(*parts, strict=True))
    found = predictions.copy()
    found[[f"{name}_prob" for name in model.facts.aus]] = au
    if model.facts.emotions:
        found[[f"emotion_prob_{name}" for name in model.facts.emotions]] = emotion
        found["emotion_pred"] = np.array(model.facts.emotions)[emotion.argmax(1)]
    return calibrated(found, {head: 1 / value for head, value in temperature.items()})
