"""Offsets of the emotion head: in, validation rows; out, what to add to each class's logit so that no class is favoured.

The emotion head decides by its largest logit and has no thresholds: a head that ranks pictures well but leans to one class errs all the
same, and after a short fine-tuning heads lean. Offsets and temperature are fitted together and the offsets become part of the head's bias
(bias-corrected temperature scaling: Alexandari, Kundaje & Shrikumar, ICML 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from fer.results.predictions import FloatArray, class_codes, emotion_classes, probabilities_of

_USUAL_SHIFT = 2.0
"""Standard deviation of offsets, in calibrated logits, that is expected before any picture is seen; it pulls them towards 0."""
_USUAL_SPREAD = 0.5
"""Likewise of the logarithm of the temperature, towards 1 (see `fer.results.calibration`)."""
_FOLDS = 5
"""Of validation people, for `answered_by_others`."""
_LEAST = float(np.finfo(np.float64).tiny)


def fit_emotion_offsets(predictions: pd.DataFrame, weights: Sequence[float] | None = None) -> dict[str, float]:
    """The offset of each class with the best likelihood of the labels, with few pictures pulled towards 0.

    Args:
        predictions: validation rows as the network answers, before calibration.
        weights: of the classes in the training loss, so that the head stays as balanced as it was trained to be; None for equal ones.

    Returns:
        Class -> what to add to its logit; the mean is 0. Empty without an emotion head, or without a labelled picture. A class that no
        labelled picture shows keeps its logit: nothing is known of it, and likelihood alone would silence it.
    """
    classes = emotion_classes(predictions)
    truth = class_codes(predictions["emotion"], classes) if classes else np.array([])
    known = truth >= 0
    if not known.any():
        return {}
    weight = np.ones(len(classes)) if weights is None else np.asarray(weights, dtype=np.float64)
    shown, truth = np.unique(truth[known], return_inverse=True)
    logits, weight = _logits(predictions, classes)[known][:, shown], weight[shown]
    counts = weight[truth] / weight[truth].mean()

    answered, usual = np.eye(len(shown))[truth], np.array([_USUAL_SPREAD, *[_USUAL_SHIFT] * len(shown)])

    def cost(point: FloatArray) -> tuple[float, FloatArray]:
        """Minus the logarithm of what is known before and of the likelihood, and its gradient."""
        scaled = logits * np.exp(point[0])
        fit = log_softmax(scaled + point[1:], axis=1)
        errors = counts[:, None] * (np.exp(fit) - answered)
        pull = point / usual
        slope = pull / usual + np.array([(errors * scaled).sum(), *errors.sum(axis=0)])
        return float(pull @ pull / 2 - counts @ fit[np.arange(len(truth)), truth]), slope

    best = minimize(cost, np.zeros(1 + len(shown)), jac=True).x
    found = best[1:] / np.exp(best[0])  # in logits as the network gives them
    offsets = np.zeros(len(classes))
    offsets[shown] = found - found.mean()
    return dict(zip(classes, offsets.tolist(), strict=True))


def answered_by_others(
    predictions: pd.DataFrame, offsets: Mapping[str, float], weights: Sequence[float] | None = None
) -> pd.DataFrame:
    """Validation rows as if the offsets of their answers had been fitted on other people, so that their scores can be believed.

    Args:
        predictions: as the network answers with `offsets` in it, before calibration.
        offsets: fitted on all of these rows.
        weights: see `fit_emotion_offsets`.
    """
    classes = emotion_classes(predictions)
    if not classes or not offsets or predictions.empty:
        return predictions
    columns = [f"emotion_prob_{name}" for name in classes]
    logits = _logits(predictions, classes) - np.array([offsets.get(name, 0.0) for name in classes])
    plain, found = predictions.copy(), predictions.copy()
    plain[columns] = softmax(logits, axis=1)
    people = np.sort(predictions["subject"].unique())
    for fold in np.array_split(people, min(_FOLDS, len(people))):
        own = predictions["subject"].isin(fold).to_numpy()
        others = fit_emotion_offsets(plain[~own], weights)
        found.loc[own, columns] = softmax(logits[own] + np.array([others.get(name, 0.0) for name in classes]), axis=1)
    found["emotion_pred"] = np.array(classes)[found[columns].to_numpy().argmax(axis=1)]
    return found


def _logits(predictions: pd.DataFrame, classes: list[str]) -> FloatArray:
    """(images, classes): the logits, up to a constant per picture."""
    probabilities = probabilities_of(predictions, [f"emotion_prob_{name}" for name in classes])
    found: FloatArray = np.log(np.maximum(probabilities, _LEAST))
    return found
