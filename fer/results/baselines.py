"""What no skill scores: in, the labels of a split and the label rates of the training split; out, baseline scores.

A baseline has never seen a picture. Its numbers have the keys of a model's, so that they stand beside each of them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fer.results.measures import Measures, measure, unweighted
from fer.results.predictions import (
    Answers,
    BoolArray,
    FloatArray,
    binary_answers,
    class_answers,
    class_codes,
    targets_of,
)


def au_base_rates(table: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    """The positive rate of each AU among its labelled rows; 0 where nothing is labelled."""
    targets = targets_of(table, columns)
    n_known = (~np.isnan(targets)).sum(axis=0)
    rates = np.nansum(targets, axis=0) / np.maximum(n_known, 1)
    return dict(zip(columns, rates.tolist(), strict=True))


def emotion_base_rates(table: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    """The share of each class among the rows with an emotion label."""
    codes = class_codes(table["emotion"], classes)
    counts = np.bincount(codes[codes >= 0], minlength=len(classes))
    shares = counts / max(1, counts.sum())
    return dict(zip(classes, shares.tolist(), strict=True))


def au_baselines(answers: Answers, rates: Mapping[str, float], source: str) -> dict[str, Any]:
    """The two no-skill answers for AUs.

    `constant`: the same yes/no answer for every picture, for each number the answer that is best for it going by the
    training rates: micro scores from the set of AUs with the best micro-F1 (`answer`), macro scores from all AUs
    present, binary accuracy from the majority of each AU. Its one probability (AUC .5, loss) is the overall rate.
    `base_rate`: each AU's training rate as its probability for every picture, decided at .5.

    Args:
        answers: of the AU head; only its labels and targets are used.
        rates: positive rate of each AU in the training split.
        source: where the rates come from, kept as `rates_from`.
    """
    rate = np.array([rates[name] for name in answers.labels])
    subset, overall = best_subset(rate), np.full(rate.shape, rate.mean())
    for_micro = _au_constant(answers, overall, subset)
    for_macro = _au_constant(answers, overall, np.ones(len(rate), dtype=bool))
    by_rate = _au_constant(answers, rate, rate >= 0.5)
    named = [name for name, chosen in zip(answers.labels, subset, strict=True) if chosen]
    constant = {
        "answer": named,
        "rates_from": source,
        "loss": number(for_micro.loss[0]),
        "binary_accuracy": number(by_rate.accuracy[0]),
        "micro": numbers(for_micro.micro),
        "macro": numbers(for_macro.macro),
    }
    return {"constant": constant, "base_rate": {"rates_from": source, **summary(by_rate, "binary_accuracy")}}


def best_subset(rates: FloatArray) -> BoolArray:
    """(AUs,): the AUs to call present in every picture for the highest expected micro-F1.

    For any number of AUs the most frequent ones are best, so only the prefixes of that order are tried.
    """
    order = np.argsort(-rates, kind="stable")
    hits = np.cumsum(rates[order])
    f1 = 2 * hits / (np.arange(1, len(rates) + 1) + rates.sum())
    chosen = np.zeros(len(rates), dtype=bool)
    chosen[order[: int(f1.argmax()) + 1]] = True
    return chosen


def emotion_baseline(answers: Answers, rates: Mapping[str, float], source: str) -> dict[str, Any]:
    """`majority`: always the class that is commonest in training, with the training shares of all classes as probabilities.

    Of classes that nobody shows here none is the answer: 0 would be no baseline.
    """
    classes = list(answers.labels)
    shares = np.array([rates[name] for name in classes])
    n_images = len(answers.targets)
    truth = np.where(np.isnan(answers.targets[:, 0]), -1, answers.targets.argmax(axis=1))
    shown = (answers.targets == 1).any(axis=0)
    common = int(np.where(shown, shares, -1).argmax())
    guess = np.full(n_images, common)
    blind = measure(class_answers(classes, truth, np.tile(shares, (n_images, 1)), guess), unweighted(n_images))
    head = {"answer": classes[common], "rates_from": source}
    scores = summary(blind, "accuracy") | {"accuracy": number(blind.micro["f1"][0])}
    return {"majority": head | scores}


def summary(point: Measures, accuracy_name: str) -> dict[str, Any]:
    """Point values of a head as they stand in `metrics.json`, without intervals."""
    return {
        "loss": number(point.loss[0]),
        accuracy_name: number(point.accuracy[0]),
        "micro": numbers(point.micro),
        "macro": numbers(point.macro),
    }


def number(value: float | np.floating[Any]) -> float | None:
    """A plain float, None for nan: JSON has no nan."""
    return None if np.isnan(value) else float(value)


def numbers(values: Mapping[str, FloatArray]) -> dict[str, float | None]:
    """The first draw of each score."""
    return {name: number(draws[0]) for name, draws in values.items()}


def _au_constant(answers: Answers, probabilities: FloatArray, decisions: BoolArray) -> Measures:
    shape = answers.targets.shape
    scores, chosen = np.broadcast_to(probabilities, shape), np.broadcast_to(decisions, shape)
    blind = binary_answers(list(answers.labels), answers.targets, scores, chosen)
    return measure(blind, unweighted(shape[0]))
