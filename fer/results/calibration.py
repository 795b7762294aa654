"""Temperature calibration: in, a predictions table; out, each head's temperature and the calibrated table.

Networks are surer than they are right. Dividing all logits of a head by one number, fitted on validation pictures,
mends most of it and changes neither the order of the AU probabilities nor the most probable emotion
(Guo et al., "On calibration of modern neural networks", ICML 2017).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax

from fer.results.predictions import (
    Answers,
    FloatArray,
    au_answers,
    au_columns,
    binary_answers,
    class_answers,
    emotion_answers,
    emotion_classes,
    probabilities_of,
)

Temperatures = Mapping[str, float]
"""`au` and `emotion`: what the logits are divided by; above 1 makes a head less sure, 1 leaves it as it is."""

LOWEST, HIGHEST = 0.2, 10.0
_USUAL_SPREAD = 0.5
"""What pulls a temperature towards 1: the standard deviation of log temperatures that is expected before any picture is seen."""
_EDGE = 1e-16
"""Probabilities are kept this far from 0 and 1 before they become logits again."""


def fit_temperatures(predictions: pd.DataFrame) -> dict[str, float]:
    """The temperature of each head with the best likelihood of the labels; 1 for a head without labels.

    With few pictures it is pulled towards 1, as by a normal prior on its logarithm. A picture counts once however many
    AUs are coded in it, because they are not independent.

    Args:
        predictions: validation rows as the network answers, before calibration.

    Returns:
        `au` and `emotion`, each from .2 to 10.
    """
    return {"au": 1.0, "emotion": 1.0} | {
        head: _best_temperature(head, answers) for head, answers in labelled_answers(predictions).items()
    }


def calibrated(predictions: pd.DataFrame, temperature: Temperatures) -> pd.DataFrame:
    """The same table with the probabilities that the network gives when its logits are divided by `temperature`."""
    found = predictions.copy()
    for head, columns in _columns(predictions).items():
        softened = _softened(head, probabilities_of(predictions, columns), temperature[head])
        found[columns] = softened.astype(np.float32)
    return found


def labelled_answers(predictions: pd.DataFrame) -> dict[str, Answers]:
    """The heads that have a labelled picture here."""
    found = {}
    if names := au_columns(predictions):
        found["au"] = au_answers(predictions, dict.fromkeys(names, 0.5))
    if emotion_classes(predictions):
        found["emotion"] = emotion_answers(predictions)
    return {head: answers for head, answers in found.items() if answers.loss_counts.any()}


def at_temperature(temperature: float, head: str, answers: Answers) -> Answers:
    """A head's answers as they are when its logits are divided by `temperature`."""
    labels, scores = list(answers.labels), _softened(head, answers.scores, temperature)
    if head == "au":
        return binary_answers(labels, answers.targets, scores, scores >= 0.5)
    truth = np.where(answers.loss_counts > 0, answers.targets.argmax(axis=1), -1)
    return class_answers(labels, truth, scores, scores.argmax(axis=1))


def negative_log_likelihood(answers: Answers) -> float:
    """Mean over the labelled cells or pictures, in nats."""
    return float(answers.loss_sums.sum() / answers.loss_counts.sum())


def _columns(predictions: pd.DataFrame) -> dict[str, list[str]]:
    """The probability columns of each head that the table has."""
    columns = {
        "au": [f"{name}_prob" for name in au_columns(predictions)],
        "emotion": [f"emotion_prob_{name}" for name in emotion_classes(predictions)],
    }
    return {head: names for head, names in columns.items() if names}


def _softened(head: str, probabilities: FloatArray, temperature: float) -> FloatArray:
    """(images, labels): the logits behind sigmoid or softmax divided by `temperature`, and the function applied again."""
    if head == "au":
        softened: FloatArray = expit(logit(np.clip(probabilities, _EDGE, 1 - _EDGE)) / temperature)
    else:
        softened = softmax(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) / temperature, axis=1)
    return softened


def _best_temperature(head: str, answers: Answers) -> float:
    n_labelled = (answers.loss_counts > 0).sum()

    def cost(log_temperature: float) -> float:
        pull = (log_temperature / _USUAL_SPREAD) ** 2 / 2
        return float(
            n_labelled * negative_log_likelihood(at_temperature(np.exp(log_temperature), head, answers)) + pull
        )

    best = minimize_scalar(cost, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(best.x))
