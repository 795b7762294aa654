"""Loss and scores of both heads while training, over a whole split, never means of batch scores.

`fer.results` judges a finished model; these are for the curves, for early stopping and for choosing the best checkpoint. All units are
scored at once: a call of torchmetrics for each of them took longer than training on features. Letters as in `network`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from fer.labels import MISSING_TARGET


class HeadScores(Metric):
    """Keeps a split's probabilities, targets and losses and scores them at its end; subclasses say how."""

    full_state_update = False
    probabilities: list[Tensor]
    targets: list[Tensor]
    losses: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("probabilities", "targets", "losses"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Adds a batch: probabilities (not logits) [N, A] or [N, E], targets [N, A] or [N], and its mean loss per labelled cell."""
        n_labelled = (targets != MISSING_TARGET).sum()
        self.probabilities.append(probabilities.detach().float())
        self.targets.append(targets)
        self.losses.append(torch.stack((loss.detach().float() * n_labelled, n_labelled)))

    def collected(self) -> tuple[Tensor, Tensor]:
        return dim_zero_cat(self.probabilities), dim_zero_cat(self.targets)

    def loss(self) -> Float[Tensor, ""]:
        """Over the labelled cells of the split: a mean of batch means would hang on who shares a batch with whom. nan without any."""
        total, n_labelled = dim_zero_cat(self.losses).view(-1, 2).sum(0).unbind()
        return total / n_labelled


class AuScores(HeadScores):
    """Accuracy over labelled cells and F1, both at 0.5, AP and AUC: F1 per unit, and means over units that are shown.

    Args:
        brief: no AP, no AUC, and nothing per unit.
    """

    def __init__(self, aus: list[int], *, brief: bool = False) -> None:
        super().__init__()
        self.aus, self.brief = aus, brief

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        probabilities, targets = self.collected()  # [N, A]
        known, positive, predicted = targets != MISSING_TARGET, targets == 1, probabilities > 0.5
        n_known, n_positive = known.sum(0), positive.sum(0)
        # as in metrics.json: a unit that never occurs has no score, and its 0 would drag the means down
        scored = n_positive > 0
        f1 = 2 * (positive & predicted).sum(0) / (n_positive + (predicted & known).sum(0)).clamp(min=1)
        scores = {"loss": self.loss(), "au_accuracy": (known & (predicted == positive)).sum() / known.sum()}
        means = {"au_f1": f1}
        if not self.brief:
            means["au_ap"], means["au_auc"] = ranked(probabilities, positive, known)
            scores |= {f"au_f1_each/AU{self.aus[k]}": f1[k] for k in scored.nonzero()[:, 0].tolist()}
        ranked_units = scored & (n_positive < n_known)  # one that always occurs has no AUC
        places = {"au_f1": scored, "au_ap": scored, "au_auc": ranked_units}
        return scores | {name: values[places[name]].mean() for name, values in means.items() if places[name].any()}


class EmotionScores(HeadScores):
    """Accuracy and macro F1 (over the classes that occur, as in metrics.json) of the most probable class."""

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        probabilities, targets = self.collected()  # [N, E], [N]
        known = targets != MISSING_TARGET
        n_classes = probabilities.shape[1]
        cells = targets[known] * n_classes + probabilities[known].argmax(1)
        confusion = torch.bincount(cells, minlength=n_classes**2).view(n_classes, n_classes)
        hits, shown, answered = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        f1 = (2 * hits / (shown + answered))[shown > 0].mean()
        return {"loss": self.loss(), "emotion_accuracy": hits.sum() / known.sum(), "emotion_f1": f1}


def ranked(
    probabilities: Float[Tensor, "N A"], positive: Bool[Tensor, "N A"], known: Bool[Tensor, "N A"]
) -> tuple[Float[Tensor, " A"], Float[Tensor, " A"]]:
    """Average precision (step-wise area) and AUC (a tie counts one half) of each unit over its known rows; nan where undefined."""
    falling, order = (-probabilities).masked_fill(~known, 1).T.contiguous().sort()  # [A, N]
    hits, seen = positive.T.gather(1, order).float(), known.T.gather(1, order).float()
    n_hits, n_seen = hits.cumsum(1), seen.cumsum(1)
    last = torch.searchsorted(falling, falling, right=True) - 1  # of those that share a probability
    hits_here, seen_here = n_hits.gather(1, last), n_seen.gather(1, last)
    first = torch.searchsorted(falling, falling)
    hits_above = (n_hits - hits).gather(1, first)
    n_positive, n_negative = n_hits[:, -1], n_seen[:, -1] - n_hits[:, -1]
    ap = (hits * hits_here / seen_here.clamp(min=1)).sum(1) / n_positive
    auc = ((seen - hits) * (hits_above + hits_here) / 2).sum(1) / (n_positive * n_negative)
    return ap, auc
