"""Offsets of the AU head: in, validation rows; out, what to add to each unit's logit so that probabilities are what they say.

Binary cross-entropy needs none: what class weights do to it is known (`fer.model.losses.shift_learned`). Focal and asymmetric loss move
probabilities in ways of their own; a scale and an offset per unit mend most of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit

from fer.results.predictions import FloatArray, au_columns, probabilities_of, targets_of

_USUAL_SHIFT = 5.0
"""Standard deviation of offsets, in calibrated logits, that is expected before any picture is seen; it pulls them towards 0."""
_USUAL_SPREAD = 0.5
"""Likewise of the logarithm of the temperature, towards 1 (see `fer.results.calibration`)."""
_LEAST = 1e-6
_LEAST_RATE = 1e-3


def fit_au_offsets(predictions: pd.DataFrame, rates: Mapping[str, float]) -> dict[str, float]:
    """The offset of each unit with the best likelihood of the labels, with one temperature for all.

    Args:
        predictions: validation rows as the network answers, before calibration.
        rates: how often each unit shows in training.

    Returns:
        Unit (`AU12`) -> what to add to its logit; empty without an AU head.
    """
    aus = au_columns(predictions)
    if not aus:
        return {}
    probabilities = probabilities_of(predictions, [f"{au}_prob" for au in aus])
    logits = logit(probabilities.clip(_LEAST, 1 - _LEAST))
    truth = targets_of(predictions, aus)
    known = ~np.isnan(truth)
    both = (truth == 1).any(0) & (truth == 0).any(0)
    known[:, ~both] = False  # likelihood alone would silence one that nobody shows here for good
    signs = np.where(truth == 1, -1.0, 1.0)  # log(1 + exp(sign x logit)) is the loss of a cell

    def cost(point: FloatArray) -> float:
        scale, offsets = point[0], point[1:]
        cells = np.logaddexp(0, signs * (logits * np.exp(scale) + offsets))
        pull = (scale / _USUAL_SPREAD) ** 2 + (offsets / _USUAL_SHIFT) @ (offsets / _USUAL_SHIFT)
        return float(pull / 2 + cells[known].sum())

    best = minimize(cost, np.zeros(1 + len(aus))).x
    scale = np.exp(best[0])
    offsets = best[1:] / scale
    for k in np.flatnonzero(~both):
        offsets[k] = _offset_to_mean(scale * logits[:, k], rates[aus[k]]) / scale
    return dict(zip(aus, offsets.tolist(), strict=True))


def _offset_to_mean(logits: FloatArray, rate: float) -> float:
    """What makes answers as probable on the mean as a unit is frequent in training: all that is known of one that all or none show here."""
    wanted = min(max(rate, _LEAST_RATE), 1 - _LEAST_RATE)
    found: float = brentq(lambda offset: expit(logits + offset).mean() - wanted, -50, 50)
    return found
