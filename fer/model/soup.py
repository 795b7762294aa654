"""The networks of a cross-validation in, one network out: the mean of their weights, to use on people whom none of them has seen.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time",
ICML 2022. It holds for networks that were tuned from the same pretrained weights, and lie near each other still.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fer.model.checkpoints import CARD, SEEN, load_checkpoint


def make_soup(paths: Sequence[Path], thresholds: dict[str, float]) -> dict[str, Any]:
    """A checkpoint whose weights are the mean of those of the given ones.

    Its card calls everybody whom one of them has seen a training person; temperatures are the geometric mean, rates the mean.

    Args:
        paths: best checkpoints of runs with the same settings on different people.
        thresholds: of the AUs, chosen on answers about people whom the answering network had not seen.

    Raises:
        FerError: one can't be loaded.
    """
    checkpoints = [load_checkpoint(path) for path in paths]
    cards = [checkpoint[CARD] for checkpoint in checkpoints]
    states = [checkpoint["state_dict"] for checkpoint in checkpoints]
    card = {
        **cards[0],
        "split": dict.fromkeys(sorted({person for one in cards for person in one["split"]}), "train"),
        **{name: torch.from_numpy(np.unique(torch.cat([one[name] for one in cards]))) for name in SEEN},
        "temperature": _geometric_means([one["temperature"] for one in cards]),
        "thresholds": thresholds,
        "dead": None,  # that it is not can only be seen on other people
        **{name: _means([one[name] for one in cards]) for name in ("au_rates", "emotion_rates")},
    }
    return {
        **checkpoints[0],
        "state_dict": {name: _mean([state[name] for state in states]) for name in states[0]},
        CARD: card,
    }


def _mean(tensors: list[Tensor]) -> Tensor:
    """Counters, such as BatchNorm's of batches, have no mean: the first stays."""
    return torch.stack(tensors).mean(0) if tensors[0].is_floating_point() else tensors[0]


def _means(each: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}


def _geometric_means(each: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.exp(np.mean([np.log(values[name]) for values in each]))) for name in each[0]}
