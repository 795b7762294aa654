"""Reliability: in, a predictions table before calibration and the temperatures; out, how far its probabilities can be believed.

A reliable head is right in 80 % of the cases in which it says 80 %.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from fer.results.calibration import Temperatures, at_temperature, calibrated, labelled_answers, negative_log_likelihood
from fer.results.predictions import Answers, BoolArray, FloatArray

_N_BINS = 15


def reliability(predictions: pd.DataFrame, temperature: Temperatures) -> dict[str, Any]:
    """How reliable the probabilities of each head are, before and after calibration: the `calibration` blocks of `metrics.json`.

    `ece` is the expected calibration error: pictures are put into 15 bins of equal width by their probability, and the
    gap between the mean probability and the share that came true is averaged over the pictures. For AUs over all
    labelled cells, for emotions over the probability of the answer. `ece_if_perfect` is its mean for
    probabilities that are exactly right: with few pictures nobody gets to 0. `nll` is the mean negative
    log-likelihood in nats, `bins` what a reliability diagram shows, `n` the number of cells or answers.

    Args:
        predictions: rows of one split as the network answers, before calibration.
        temperature: of each head.
    """
    return {
        head: _block(head, answers, at_temperature(temperature[head], head, answers), temperature[head])
        for head, answers in labelled_answers(predictions).items()
    }


def reliability_of_folds(folds: Sequence[tuple[pd.DataFrame, Temperatures]]) -> dict[str, Any]:
    """The same of the answers of several networks together, each with temperatures of its own.

    Args:
        folds: of each network its predictions after calibration and the temperatures of the heads that had labels there; `temperature`
            becomes their geometric mean.
    """
    after = labelled_answers(pd.concat([table for table, _ in folds], ignore_index=True))
    raw = [calibrated(table, {head: 1 / own.get(head, 1.0) for head in ("au", "emotion")}) for table, own in folds]
    before = labelled_answers(pd.concat(raw, ignore_index=True))
    means = {
        head: float(np.exp(np.mean([np.log(own[head]) for _, own in folds if head in own] or [0.0]))) for head in after
    }
    return {head: _block(head, before[head], answers, means[head]) for head, answers in after.items()}


def expected_calibration_error(bins: Mapping[str, list[Any]]) -> float:
    """The l1 calibration error of `reliability_bins`, 0 to 1 (Naeini, Cooper & Hauskrecht, AAAI 2015)."""
    filled = [row for row in zip(bins["n"], bins["predicted"], bins["observed"], strict=True) if row[0]]
    total = sum(n for n, _, _ in filled)
    return float(sum(n * abs(predicted - observed) for n, predicted, observed in filled) / total)


def reliability_bins(probabilities: FloatArray, came_true: BoolArray) -> dict[str, list[Any]]:
    """15 bins of equal width from 0 to 1: `n`, and the means `predicted` and `observed`, None in an empty bin.

    Args:
        probabilities: (cells,).
        came_true: (cells,).
    """
    places = np.clip(np.searchsorted(np.linspace(0, 1, _N_BINS + 1), probabilities, side="right") - 1, 0, _N_BINS - 1)
    counts, predicted, observed = (
        np.bincount(places, weights=values, minlength=_N_BINS)
        for values in (np.ones_like(probabilities), probabilities, came_true.astype(np.float64))
    )
    return {
        "n": counts.astype(int).tolist(),
        "predicted": [float(s / n) if n else None for s, n in zip(predicted, counts, strict=True)],
        "observed": [float(s / n) if n else None for s, n in zip(observed, counts, strict=True)],
    }


def _block(head: str, before: Answers, after: Answers, temperature: float) -> dict[str, Any]:
    cells, cells_before = _cells(head, after), _cells(head, before)
    bins, bins_before = reliability_bins(*cells), reliability_bins(*cells_before)
    return {
        "n": len(cells[0]),
        "temperature": float(temperature),
        "ece": expected_calibration_error(bins),
        "ece_before": expected_calibration_error(bins_before),
        "ece_if_perfect": _error_if_perfect(bins),
        "nll": negative_log_likelihood(after),
        "nll_before": negative_log_likelihood(before),
        "bins": bins,
        "bins_before": bins_before,
    }


def _cells(head: str, answers: Answers) -> tuple[FloatArray, BoolArray]:
    """(cells,): what was predicted with which probability, and whether it came true."""
    if head == "au":
        known = ~np.isnan(answers.targets)
        return answers.scores[known], answers.targets[known] == 1
    known = answers.loss_counts > 0
    scores, targets = answers.scores[known], answers.targets[known]
    return scores.max(axis=1), targets.argmax(axis=1) == scores.argmax(axis=1)


def _error_if_perfect(bins: Mapping[str, list[Any]]) -> float:
    """The mean calibration error if each picture of a bin came true with the bin's mean probability.

    The mean absolute deviation of a binomial count has a closed form (de Moivre, 1730).
    """
    filled = [(n, p) for n, p in zip(bins["n"], bins["predicted"], strict=True) if n]
    counts, probabilities = np.array([n for n, _ in filled]), np.array([p for _, p in filled])
    above = np.floor(counts * probabilities) + 1
    deviations = 2 * above * (1 - probabilities) * binom.pmf(above, counts, probabilities)
    return float(deviations.sum() / counts.sum())
