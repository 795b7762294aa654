"""Dead models: in, the answers of a head; out, why it must not be trusted at all, or None.

A dead network gives the same answer for every picture. Its micro scores can still look decent, because the base rates
of the labels alone give a micro-AUC of .7 on AU data.
"""

import numpy as np

from fer.results.predictions import Answers, BoolArray

_MIN_IMAGES = 10
_SMALLEST_SHARE = 0.05
"""Dead, if the decisions vary less than this share of what the labels vary."""
_SMALLEST_SPREAD = 0.01
"""Dead, if the standard deviation of the probabilities is below this share of its maximum, sqrt(mean (1 - mean)).

A calibrated model with that spread explains .01 % of the variance of a label.
"""
_NEARLY_ALL = 0.9


def dead_reason(answers: Answers) -> str | None:
    """Why the head is dead, in words, or None.

    Two symptoms, either is enough: the decisions (nearly) never differ between pictures although the labels do; or the
    probabilities of nearly every label (90 %) hardly move, so that decisions differ only by where a threshold fell.
    Fewer than 10 images, or labels that do not vary themselves, prove nothing.
    """
    known = ~np.isnan(answers.targets)
    n_images = len(known)
    true_variation = _variation(answers.targets == 1, known)
    if n_images < _MIN_IMAGES or true_variation == 0:
        return None
    variation = _variation(answers.decisions, np.ones_like(known))
    if variation == 0:
        return f"the same decisions for all {n_images} pictures"
    if variation < _SMALLEST_SHARE * true_variation:
        return f"decisions differ between pictures in {variation:.2%} of all cells, the labels in {true_variation:.1%}"
    spread = _relative_spread(answers)
    if spread < _SMALLEST_SPREAD:
        return f"the probabilities hardly move from picture to picture (at most {spread:.2%} of the possible spread)"
    return None


def _variation(marks: BoolArray, known: BoolArray) -> float:
    """The share of known cells that differ from the commonest value of their label."""
    present = (marks & known).sum(axis=0)
    rare = np.minimum(present, known.sum(axis=0) - present)
    return float(rare.sum() / max(1, known.sum()))


def _relative_spread(answers: Answers) -> float:
    mean = answers.scores.mean(axis=0)
    largest = np.sqrt(np.maximum(mean * (1 - mean), 1e-6))
    return float(np.quantile(answers.scores.std(axis=0) / largest, _NEARLY_ALL))
