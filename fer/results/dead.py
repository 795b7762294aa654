"""Dead models: in, the answers of a head; out, why it must not be trusted at all, or None.

A dead network gives the same answer for every picture. Its micro scores can still look decent, because the base rates
of the labels alone give a micro-AUC of .7 on AU data.
"""

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fer.results.measures import measure, unweighted
from fer.results.predictions import Answers, BoolArray, FloatArray

_MIN_IMAGES = 10
_SMALLEST_SHARE = 0.05
"""Dead, if the decisions vary less than this share of what the labels vary."""
_SMALLEST_SPREAD = 0.01
"""Dead, if the standard deviation of the probabilities is below this share of its maximum, sqrt(mean (1 - mean)).

A calibrated model with that spread explains .01 % of the variance of a label.
"""
_NEARLY_ALL = 0.9
_NEARLY_ALWAYS = 0.95
_CHANCE_ERRORS = 3.0
"""Far better than chance: by so many of its standard errors."""


def dead_reason(answers: Answers, networks: npt.NDArray[np.intp] | None = None) -> str | None:
    """Why the head is dead, in words, or None.

    Two symptoms, either is enough: the decisions (nearly) never differ between pictures although the labels do; or the
    probabilities of nearly every label (90 %) hardly move, so that decisions differ only by where a threshold fell.
    Fewer than 10 images, or labels that do not vary themselves, prove nothing. Nor do equal decisions where one label is right
    for 95 % of the pictures, if the probabilities rank what is left far better than chance does.

    Args:
        networks: (images,) which network answered each, from 0: several that are each dead are dead, whatever they differ in.
            Those with fewer than 10 images are judged with the others alone.
    """
    n_images = len(answers.targets)
    found = _reason(answers, np.zeros(n_images, np.intp))
    if found or networks is None:
        return found
    enough = (np.bincount(networks) >= _MIN_IMAGES)[networks]
    if not enough.any():
        return None
    own = Answers(answers.labels, *(getattr(answers, f.name)[enough] for f in fields(Answers) if f.name != "labels"))
    return _reason(own, np.unique(networks[enough], return_inverse=True)[1])


def _reason(answers: Answers, networks: npt.NDArray[np.intp]) -> str | None:
    known = ~np.isnan(answers.targets)
    n_images = len(known)
    true_variation = _variation(answers.targets == 1, known, networks)
    if n_images < _MIN_IMAGES or true_variation == 0:
        return None
    spread = _relative_spread(answers, networks)
    if spread < _SMALLEST_SPREAD:
        return f"the probabilities hardly move from picture to picture (at most {spread:.2%} of the possible spread)"
    variation = _variation(answers.decisions, np.ones_like(known), networks)
    if variation >= _SMALLEST_SHARE * true_variation or _rightly_constant(answers, known):
        return None
    if variation == 0:
        each = "" if networks.max() == 0 else " of each network"
        return f"the same decisions for all {n_images} pictures{each}"
    return f"decisions differ between pictures in {variation:.2%} of all cells, the labels in {true_variation:.1%}"


def _variation(marks: BoolArray, known: BoolArray, networks: npt.NDArray[np.intp]) -> float:
    """The share of known cells that differ from the commonest value of their label, among pictures of the same network."""
    present, n_known = (_sums(cells, networks) for cells in (marks & known, known))
    return float(np.minimum(present, n_known - present).sum() / max(1, known.sum()))


def _relative_spread(answers: Answers, networks: npt.NDArray[np.intp]) -> float:
    n_images = _sums(np.ones((len(networks), 1)), networks)
    mean = answers.scores.mean(axis=0)
    largest = np.sqrt(np.maximum(mean * (1 - mean), 1e-6))
    moved = answers.scores - (_sums(answers.scores, networks) / n_images)[networks]
    return float(np.quantile(np.sqrt((moved**2).mean(axis=0)) / largest, _NEARLY_ALL))


def _sums(cells: npt.NDArray[Any], networks: npt.NDArray[np.intp]) -> FloatArray:
    """(networks, labels) of (images, labels)."""
    total = np.zeros((networks.max() + 1, cells.shape[1]))
    np.add.at(total, networks, cells)
    return total


def _rightly_constant(answers: Answers, known: BoolArray) -> bool:
    right = ((answers.targets == 1) == answers.decisions) | ~known
    if right.all(axis=1).mean() < _NEARLY_ALWAYS:
        return False
    auc = measure(answers, unweighted(len(known))).per_label["auc"][0]
    n_present, n_absent = ((answers.targets == value).sum(axis=0) for value in (1, 0))
    # of chance: Hanley & McNeil, "The meaning and use of the area under a ROC curve", Radiology 1982
    error = np.sqrt((n_present + n_absent + 1) / np.maximum(12 * n_present * n_absent, 1))
    return bool(np.nanmax(np.where(np.isnan(auc), -np.inf, auc - 0.5 - _CHANCE_ERRORS * error)) > 0)
