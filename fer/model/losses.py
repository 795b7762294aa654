"""The losses, masked for missing labels, and their sum. Pure functions of tensors; letters as in `network`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from fer.config import LossConfig
from fer.labels import MISSING_TARGET
from fer.model.network import Logits

FOCUS = 2.0
"""Focal loss: its authors' exponent."""

ABSENT_FOCUS = 4.0
ABSENT_MARGIN = 0.05
"""Asymmetric loss: its authors' exponent of absent labels, and the probability below which they cost nothing."""


def au_loss(
    logits: Float[Tensor, "N A"],
    target: Int[Tensor, "N A"],
    class_weights: Float[Tensor, "A 2"] | None = None,
    kind: str = "bce",
) -> Float[Tensor, ""]:
    """The loss of the AU head, mean over the labelled cells; 0 with a gradient of 0 if there are none.

    Args:
        target: 1 present, 0 absent, `MISSING_TARGET`.
        class_weights: weight of an absent and of a present label, per unit.
        kind: `bce`, binary cross-entropy; `focal` (Lin et al., "Focal loss for dense object detection", ICCV 2017) or `asymmetric`
            (Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021), which turn to what is not yet known.
    """
    known = target != MISSING_TARGET
    cells = _au_cells(kind, logits.float(), target.clamp(min=0).float())
    if class_weights is not None:
        cells = cells * torch.where(target == 1, class_weights[:, 1], class_weights[:, 0])
    return (cells * known).sum() / known.sum().clamp(min=1)


def _au_cells(kind: str, logits: Float[Tensor, "N A"], target: Float[Tensor, "N A"]) -> Float[Tensor, "N A"]:
    match kind:
        case "focal":
            focal: Tensor = sigmoid_focal_loss(logits, target, alpha=-1, gamma=FOCUS)
            return focal
        case "asymmetric":
            # of an absent label: log(1 - (p - margin)), with nothing to pay below the margin
            excess = (logits.sigmoid() - ABSENT_MARGIN).clamp(min=0)
            absent = -torch.log1p(-excess) * excess**ABSENT_FOCUS
            return torch.where(target == 1, functional.softplus(-logits), absent)
        case _:
            return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")


def emotion_loss(
    logits: Float[Tensor, "N E"],
    target: Int[Tensor, " N"],
    class_weights: Float[Tensor, " E"] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Cross-entropy, mean over the labelled rows; 0 with a gradient of 0 if there are none.

    torch's own mean divides by the sum of the weights, which is 0/0 for a batch without labels.
    """
    rows = functional.cross_entropy(
        logits.float(),
        target,
        weight=class_weights,
        ignore_index=MISSING_TARGET,
        label_smoothing=smoothing,
        reduction="none",
    )
    return rows.sum() / (target != MISSING_TARGET).sum().clamp(min=1)


def landmark_loss(found: Float[Tensor, "N P 2"], target: Float[Tensor, "N P 2"]) -> Float[Tensor, ""]:
    """Mean distance of each coordinate (Huber's loss, quadratic below a hundredth of the view), over the pictures that have landmarks.

    Args:
        target: places in [-1, 1]; NaN in pictures that have none.
    """
    known = ~target.isnan()
    cells = functional.smooth_l1_loss(found.float(), target.nan_to_num(), beta=0.02, reduction="none")
    return (cells * known).sum() / known.sum().clamp(min=1)


def consistency_loss(
    au: Float[Tensor, "N A"], emotion: Float[Tensor, "N E"], au_given_emotion: Float[Tensor, "E A"]
) -> Float[Tensor, ""]:
    """Cross-entropy between the units answered and those that go with the emotions answered, mean over all cells; needs no label.

    Kollias, Sharmanska & Zafeiriou, "Distribution matching for multi-task learning of classification tasks", AAAI 2024, where
    `au_given_emotion` is p(AU | emotion). A unit that shows in half of an emotion's pictures is not drawn either way.

    Args:
        au, emotion: logits of a world in which classes are as frequent as in `au_given_emotion`.
    """
    # not a matrix product: autocast would take it in bf16, in which a share of .998 is 1
    expected = (emotion.float().softmax(1).unsqueeze(2) * au_given_emotion).sum(1)
    answered = au.float().sigmoid()
    return -(answered * expected.log() + (1 - answered) * (-expected).log1p()).mean()


class HeadLosses(nn.Module):
    """The loss of each head, as the settings and the labels of the training split want it.

    Args:
        class_weights: what the function of this name gives.
        au_given_emotion: what the function of this name gives, for `consistency_loss`; None leaves that out.
    """

    au: Tensor | None
    emotion: Tensor | None
    au_shift: Tensor | None
    emotion_shift: Tensor | None
    au_given_emotion: Tensor | None
    learned_shift: Tensor | None
    learned_weights: Tensor | None

    def __init__(
        self, cfg: LossConfig, class_weights: dict[str, Any], au_given_emotion: list[list[float]] | None = None
    ) -> None:
        super().__init__()
        self.kind, self.smoothing = cfg.name, cfg.label_smoothing
        shift, weights = shift_learned(class_weights), emotion_weights(class_weights)
        facts = {
            **{name: class_weights.get(name) or None for name in ("au", "emotion", "au_shift", "emotion_shift")},
            "au_given_emotion": au_given_emotion,
            "learned_shift": shift,
            "learned_weights": weights,
        }
        for name, values in facts.items():
            self.register_buffer(name, None if values is None else torch.as_tensor(values), persistent=False)

    def forward(self, logits: Logits, batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, ""]]:
        """The losses, keyed `au` and `emotion`, of the heads that the network has; in training also `consistency`, if asked for."""
        found = {}
        if logits.au is not None:
            found["au"] = au_loss(_shifted(logits.au, self.au_shift), batch["au"], self.au, self.kind)
        if logits.emotion is not None:
            answers = _shifted(logits.emotion, self.emotion_shift)
            found["emotion"] = emotion_loss(answers, batch["emotion"], self.emotion, self.smoothing)
        if self.training and self.au_given_emotion is not None and logits.au is not None and logits.emotion is not None:
            # what weighing or shifting classes adds to the logits says nothing of the picture
            au = _shifted(logits.au, None if self.learned_shift is None else -self.learned_shift)
            rare = None if self.learned_weights is None else -self.learned_weights.log()
            found["consistency"] = consistency_loss(au, _shifted(logits.emotion, rare), self.au_given_emotion)
        return found


def _shifted(logits: Tensor, shift: Tensor | None) -> Tensor:
    return logits if shift is None else logits + shift


class TaskBalance(nn.Module):
    """The sum of the losses: with fixed weights, or with weights learned from each task's uncertainty.

    Uncertainty: Kendall, Gal & Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018, with s = log variance.

    Args:
        absent: heads that the network does not have, and whose weight would wait for a loss in vain.
    """

    def __init__(self, cfg: LossConfig, absent: Sequence[str] = ()) -> None:
        super().__init__()
        further = {"landmarks": cfg.landmark_weight, "consistency": cfg.consistency_weight}
        weights = {"au": cfg.au_weight, "emotion": cfg.emotion_weight} | {task: w for task, w in further.items() if w}
        self.weights = {task: weight for task, weight in weights.items() if task not in absent}
        self.log_variances = (
            nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in self.weights})
            if cfg.balance == "uncertainty"
            else None
        )

    def forward(
        self, losses: dict[str, Float[Tensor, ""]], labelled: Bool[Tensor, " tasks"] | None = None
    ) -> Float[Tensor, ""]:
        """One loss from those of the tasks at hand, keyed by task.

        Args:
            labelled: of each task whether the batch has a label for it, None for all: to learned weights a batch without says nothing.
        """
        if self.log_variances is None:
            return torch.stack([self.weights[task] * loss for task, loss in losses.items()]).sum()
        log_variances = torch.stack([self.log_variances[task] for task in losses])
        terms = torch.exp(-log_variances) * torch.stack(list(losses.values())) + 0.5 * log_variances
        return (terms if labelled is None else terms * labelled).sum()


def balanced_weights(counts: Float[Tensor, "*classes"], most: float) -> Float[Tensor, "*classes"]:
    """Weights n / (k n_c) over the last axis, so that each of the k classes weighs the same in sum; none above `most`, 1 where n_c is 0."""
    n_classes, total = counts.shape[-1], counts.sum(-1, keepdim=True)
    weights = (total / (n_classes * counts.clamp(min=1))).clamp(max=most)
    return torch.where(counts > 0, weights, torch.ones_like(weights))


def class_weights(cfg: LossConfig, au_counts: Tensor, emotion_counts: Tensor) -> dict[str, Any]:
    """The weights per class as plain lists, from the label counts of the training split; empty if `loss.class_weights=none`.

    With `logit_adjusted`, `au_shift` [A] and `emotion_shift` [E] in their place: see `class_shifts`.
    """
    if cfg.class_weights == "none":
        return {}
    weights = {
        "au": balanced_weights(au_counts, cfg.max_weight),
        "emotion": balanced_weights(emotion_counts, cfg.max_weight),
    }
    if cfg.class_weights == "logit_adjusted":
        return {f"{head}_shift": shift.tolist() for head, shift in class_shifts(weights).items()}
    return {head: values.tolist() for head, values in weights.items()}


def au_given_emotion(counts: Float[Tensor, "E A 2"]) -> Float[Tensor, "E A"]:
    """How often each unit shows where each emotion does, from pictures without and with the unit; never 0 or 1.

    Half a picture of each kind is added to those counted (Jeffreys' prior): .5 where none was.
    """
    return (counts[..., 1] + 0.5) / (counts.sum(-1) + 1)


def class_shifts(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What to add to logits in the loss, so that logits without it learn the answers of a world in which all classes are as frequent.

    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021: the logarithm of how frequent a class is. That is, up to a
    constant, of 1 / weight, whose cap holds here, too.

    Args:
        weights: `au` [A, 2] of absent and present, `emotion` [E].
    """
    absent, present = weights["au"].unbind(1)
    return {"au": (absent / present).log(), "emotion": -weights["emotion"].log()}


def shift_learned(class_weights: dict[str, Any]) -> Tensor | None:
    """[A]: what is added to each AU's logit of a network that fits well, by training on cross-entropy with these; None for nothing.

    Weighing present labels `w1` and absent ones `w0` adds log(w1 / w0): probabilities are then those of a world in which a unit is as
    frequent as not (Elkan, "The foundations of cost-sensitive learning", IJCAI 2001). Logits that the loss saw shifted lack that shift.
    """
    if shift := class_weights.get("au_shift"):
        return -torch.tensor(shift)
    if weights := class_weights.get("au"):
        absent, present = torch.tensor(weights).unbind(1)
        return (present / absent).log()
    return None


def emotion_weights(class_weights: dict[str, Any]) -> list[float] | None:
    """[E]: the weights of the emotions to which the head answers after training with these; None for equal ones."""
    if shift := class_weights.get("emotion_shift"):
        return torch.tensor(shift).neg().exp().tolist()
    return class_weights.get("emotion") or None
