"""Losses against a loop over cells, their gradients, and the weights of classes and tasks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from fer.config import LossConfig
from fer.model.losses import (
    HeadLosses,
    TaskBalance,
    au_given_emotion,
    au_loss,
    balanced_weights,
    class_weights,
    consistency_loss,
    emotion_loss,
    emotion_weights,
    shift_learned,
)
from fer.model.network import Logits

LOGITS = torch.tensor([[0.3, -1.2], [2.0, 0.1], [-0.5, 0.7]])
TARGET = torch.tensor([[1, 0], [-1, 1], [0, -1]])
WEIGHTS = torch.tensor([[0.5, 3.0], [1.0, 2.0]])


def test_au_loss_is_the_weighted_mean_over_labelled_cells() -> None:
    total, n = 0.0, 0
    for i in range(3):
        for k in range(2):
            t = int(TARGET[i, k])
            if t >= 0:
                p = 1 / (1 + math.exp(-float(LOGITS[i, k])))
                total += float(WEIGHTS[k, t]) * -math.log(p if t else 1 - p)
                n += 1
    assert float(au_loss(LOGITS, TARGET, WEIGHTS)) == pytest.approx(total / n, rel=1e-6)


def test_emotion_loss_is_the_weighted_mean_over_labelled_rows() -> None:
    logits, target, weights = torch.randn(4, 3), torch.tensor([2, -1, 0, 2]), torch.tensor([1.0, 2.0, 0.5])
    rows = [float(weights[t]) * -float(logits[i].log_softmax(0)[t]) for i, t in enumerate(target.tolist()) if t >= 0]
    assert float(emotion_loss(logits, target, weights)) == pytest.approx(sum(rows) / 3, rel=1e-5)


def test_smoothed_emotion_labels_cost_as_torchs_do_and_aus_stay_as_they_are() -> None:
    logits, target = Logits(LOGITS, torch.randn(3, 4)), {"au": TARGET, "emotion": torch.tensor([3, -1, 0])}
    plain, smooth = (
        HeadLosses(LossConfig(label_smoothing=share, class_weights="none"), {})(logits, target) for share in (0.0, 0.1)
    )
    assert logits.emotion is not None
    expected = torch.nn.functional.cross_entropy(
        logits.emotion, target["emotion"], ignore_index=-1, label_smoothing=0.1
    )
    torch.testing.assert_close(smooth["emotion"], expected)
    torch.testing.assert_close(smooth["au"], plain["au"])
    assert not torch.isclose(smooth["emotion"], plain["emotion"])


def test_batch_without_labels_costs_nothing_and_moves_nothing() -> None:
    for loss, logits, target in (
        (au_loss, torch.randn(4, 2, requires_grad=True), torch.full((4, 2), -1)),
        (emotion_loss, torch.randn(4, 3, requires_grad=True), torch.full((4,), -1)),
    ):
        value = loss(logits, target)
        value.backward()
        assert value.item() == 0 and logits.grad is not None and torch.equal(logits.grad, torch.zeros_like(logits))


def test_missing_labels_move_nothing() -> None:
    logits = LOGITS.clone().requires_grad_()
    au_loss(logits, TARGET, WEIGHTS).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, TARGET == -1)


def test_class_weights_weigh_classes_not_tasks() -> None:
    # the seed's mistake 5: its weights multiplied a whole head; here the gradient of a rare class grows alone
    plain, weighted = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    au_loss(plain, TARGET).backward()
    au_loss(weighted, TARGET, WEIGHTS).backward()
    assert plain.grad is not None and weighted.grad is not None
    ratio = weighted.grad / plain.grad
    assert float(ratio[0, 0]) == pytest.approx(3.0) and float(ratio[2, 0]) == pytest.approx(0.5)
    assert float(ratio[0, 1]) == pytest.approx(1.0) and float(ratio[1, 1]) == pytest.approx(2.0)


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    weights = balanced_weights(torch.tensor([[90.0, 10.0], [50.0, 50.0]]), most=100.0)
    assert torch.allclose(weights, torch.tensor([[100 / 180, 5.0], [1.0, 1.0]]))
    assert balanced_weights(torch.tensor([999.0, 1.0]), most=10.0)[1] == 10
    assert balanced_weights(torch.tensor([5.0, 0.0, 5.0]), most=10.0)[1] == 1


def test_fixed_balance_is_the_weighted_sum_and_a_missing_task_is_left_out() -> None:
    balance = TaskBalance(LossConfig(balance="fixed", au_weight=2.0, emotion_weight=0.5))
    assert float(balance({"au": torch.tensor(3.0), "emotion": torch.tensor(4.0)})) == 8.0
    assert float(balance({"emotion": torch.tensor(4.0)})) == 2.0


def test_balance_has_no_weight_for_a_head_that_is_not_there() -> None:
    # processes that train together wait for a gradient of every parameter
    balance = TaskBalance(LossConfig(balance="uncertainty"), absent=["au"])
    assert [name for name, _ in balance.named_parameters()] == ["log_variances.emotion"]


def test_uncertainty_balance_learns_to_weigh_the_harder_task_less() -> None:
    balance = TaskBalance(LossConfig(balance="uncertainty"))
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        balance({"au": torch.tensor(4.0), "emotion": torch.tensor(0.5)}).backward()
        optimizer.step()
    assert balance.log_variances is not None
    # the minimum of exp(-s) L + s / 2 is at s = log(2 L)
    assert balance.log_variances["au"].item() == pytest.approx(math.log(8), abs=1e-2)
    assert balance.log_variances["emotion"].item() == pytest.approx(0, abs=1e-2)


def test_batches_without_a_label_say_nothing_to_learned_weights() -> None:
    balance = TaskBalance(LossConfig(balance="uncertainty"))
    losses = {"au": torch.tensor(0.0), "emotion": torch.tensor(2.0)}
    balance(losses, torch.tensor([False, True])).backward()
    assert balance.log_variances is not None
    assert balance.log_variances["au"].grad == 0
    assert balance.log_variances["emotion"].grad == pytest.approx(-2 + 0.5)


@pytest.mark.parametrize(
    ("kind", "present", "absent"),
    [
        ("focal", lambda p: -((1 - p) ** 2) * math.log(p), lambda p: -(p**2) * math.log(1 - p)),
        (
            "asymmetric",
            lambda p: -math.log(p),
            lambda p: -(max(p - 0.05, 0) ** 4) * math.log(1 - max(p - 0.05, 0)),
        ),
    ],
)
def test_losses_that_turn_to_what_is_not_yet_known(
    kind: str, present: Callable[[float], float], absent: Callable[[float], float]
) -> None:
    logits = torch.cat(
        (LOGITS, torch.tensor([[-4.0, 3.0]]))
    )  # an absent unit below the margin, a present one that is known
    target, cells = torch.cat((TARGET, torch.tensor([[0, 1]]))), []
    for logit, t in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        cells += [present(p) if t else absent(p)] if t >= 0 else []
    assert float(au_loss(logits, target, kind=kind)) == pytest.approx(sum(cells) / len(cells), rel=1e-5)


@pytest.mark.parametrize("kind", ["balanced", "logit_adjusted"])
def test_rare_classes_are_answered_as_if_all_were_as_frequent_and_the_shift_can_be_taken_back(kind: str) -> None:
    # without a picture to look at, the best answer to 3 of 20 present is log(3 / 17), and log(3 / 17) - shift with the weights
    n_au, n_emotion = torch.tensor([[17.0, 3.0]]), torch.tensor([15.0, 5.0])
    weights = class_weights(LossConfig(class_weights=kind), n_au, n_emotion)
    losses = HeadLosses(LossConfig(), weights)
    au, emotion = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    batch = {
        "au": torch.tensor([[0]] * 17 + [[1]] * 3),
        "emotion": torch.tensor([0] * 15 + [1] * 5),
    }
    optimizer = torch.optim.LBFGS([au, emotion], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        found = losses(Logits(au.expand(20, -1), emotion.expand(20, -1)), batch)
        total = found["au"] + found["emotion"]
        total.backward()
        return total

    optimizer.step(closure)
    assert au.item() == pytest.approx(0, abs=1e-3)
    assert emotion.detach().softmax(1)[0].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    shift, meant = shift_learned(weights), emotion_weights(weights)
    assert shift is not None and (au - shift).item() == pytest.approx(math.log(3 / 17), abs=1e-3)
    assert meant is not None and meant[1] / meant[0] == pytest.approx(3)


def test_without_class_weights_nothing_is_shifted() -> None:
    weights = class_weights(LossConfig(class_weights="none"), torch.tensor([[17.0, 3.0]]), torch.tensor([15.0, 5.0]))
    assert shift_learned(weights) is None and emotion_weights(weights) is None


def test_units_are_drawn_to_those_that_go_with_the_emotion_answered() -> None:
    # two emotions, two units: the first unit goes with the first emotion, the second with neither more than with the other
    given = au_given_emotion(torch.tensor([[[0.0, 8.0], [3.0, 3.0]], [[8.0, 0.0], [0.0, 0.0]]]))
    assert torch.allclose(given, torch.tensor([[8.5 / 9, 0.5], [0.5 / 9, 0.5]]))
    au, emotion = torch.tensor([[0.0, 1.0]], requires_grad=True), torch.tensor([[math.log(3), 0.0]], requires_grad=True)
    loss = consistency_loss(au, emotion, given)
    expected = 0.75 * 8.5 / 9 + 0.25 * 0.5 / 9
    by_hand = -(0.5 * math.log(expected) + 0.5 * math.log(1 - expected)) - math.log(0.5)
    assert loss.item() == pytest.approx(by_hand / 2, rel=1e-5)
    loss.backward()
    assert au.grad is not None and au.grad[0, 0] < 0 and au.grad[0, 1] == pytest.approx(0, abs=1e-6)


def test_agreement_is_as_exact_under_autocast() -> None:
    # a unit that all of 300 pictures show: in bf16 its share is 1, and the loss of a face without it endless
    given = au_given_emotion(torch.tensor([[[0.0, 300.0]], [[0.0, 300.0]]]))
    au, emotion = torch.tensor([[-3.0]]), torch.randn(1, 2)
    exact = consistency_loss(au, emotion, given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(consistency_loss(au, emotion, given), exact) and exact.isfinite()


@pytest.mark.parametrize("kind", ["none", "balanced", "logit_adjusted"])
def test_agreement_of_units_and_emotion_does_not_hang_on_how_rare_classes_are_weighed(kind: str) -> None:
    cfg, n_au, n_emotion = LossConfig(class_weights=kind), torch.tensor([[17.0, 3.0]]), torch.tensor([15.0, 5.0])
    weights = class_weights(cfg, n_au, n_emotion)
    losses = HeadLosses(cfg, weights, [[0.1], [0.7]])
    # what a network would answer that has learned the same of the pictures with these weights
    au, emotion = torch.tensor([[math.log(3 / 17)]]), torch.tensor([[3.0, 1.0]]).log()
    shift, meant = shift_learned(weights), emotion_weights(weights)
    learned = Logits(
        au + (0 if shift is None else shift), emotion + (0 if meant is None else torch.tensor(meant).log())
    )
    batch = {"au": torch.tensor([[-1]]), "emotion": torch.tensor([-1])}
    asked = consistency_loss(au, emotion, torch.tensor([[0.1], [0.7]]))
    assert losses(learned, batch)["consistency"].item() == pytest.approx(asked.item(), rel=1e-5)
    assert "consistency" not in losses.eval()(learned, batch)
