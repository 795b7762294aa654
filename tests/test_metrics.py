"""Scores while training against scikit-learn, over batches, with missing labels and absent units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fer.model.metrics import AuScores, EmotionScores, ranked


def test_au_scores_are_those_of_the_whole_split_not_means_of_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities, targets = torch.rand(50, 3, generator=generator), torch.randint(-1, 2, (50, 3), generator=generator)
    targets[:, 2] = 0  # a unit that never occurs has no score and must not drag the mean
    metric = AuScores([1, 2, 4])
    losses = torch.rand(8, generator=generator)
    for rows, loss in zip(torch.arange(50).split(7), losses, strict=True):
        metric.update(probabilities[rows], targets[rows], loss)
    scores = metric.compute()
    n_labelled = [int((targets[rows] >= 0).sum()) for rows in torch.arange(50).split(7)]
    assert float(scores["loss"]) == pytest.approx(np.average(losses, weights=n_labelled))
    expected: dict[str, list[float]] = {"au_ap": [], "au_auc": [], "au_f1": []}
    for k in range(2):
        known = targets[:, k] >= 0
        t, p = targets[known, k].numpy(), probabilities[known, k].numpy()
        expected["au_ap"].append(average_precision_score(t, p))
        expected["au_auc"].append(roc_auc_score(t, p))
        expected["au_f1"].append(f1_score(t, p > 0.5))
    for name, values in expected.items():
        assert float(scores[name]) == pytest.approx(sum(values) / 2, abs=1e-6)
    known = targets >= 0
    assert float(scores["au_accuracy"]) == pytest.approx(
        float(((probabilities > 0.5) == (targets == 1))[known].float().mean())
    )
    assert "au_f1_each/AU4" not in scores and "au_f1_each/AU1" in scores


def test_equal_probabilities_are_ranked_as_scikit_learn_does() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randint(0, 4, (200, 2), generator=generator) / 4
    targets = torch.randint(-1, 2, (200, 2), generator=generator)
    ap, auc = ranked(probabilities, targets == 1, targets >= 0)
    for k in range(2):
        known = targets[:, k] >= 0
        t, p = targets[known, k].numpy(), probabilities[known, k].numpy()
        assert float(ap[k]) == pytest.approx(average_precision_score(t, p), abs=1e-6)
        assert float(auc[k]) == pytest.approx(roc_auc_score(t, p), abs=1e-6)


def test_probabilities_are_not_squashed_twice() -> None:
    metric = AuScores([12])
    metric.update(
        torch.tensor([[0.6], [0.2]]), torch.tensor([[1], [0]]), torch.tensor(0.5)
    )  # sigmoid(.2) would be above .5
    assert float(metric.compute()["au_f1"]) == 1


def test_emotion_scores_leave_unlabelled_rows_out() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.0, 0.1, 0.9]])
    targets = torch.tensor([0, 1, 0, -1])
    metric = EmotionScores()
    metric.update(probabilities, targets, torch.tensor(0.7))
    scores = metric.compute()
    assert float(scores["emotion_accuracy"]) == pytest.approx(2 / 3)
    assert float(scores["emotion_f1"]) == pytest.approx(f1_score([0, 1, 0], [0, 1, 1], average="macro"))
    # an answer that is nobody's label counts in precision, but makes no class of its own: metrics.json leaves it out, too
    metric.reset()
    metric.update(probabilities, torch.tensor([0, 1, 0, 1]), torch.tensor(0.7))
    f1 = f1_score([0, 1, 0, 1], [0, 1, 1, 2], labels=[0, 1], average="macro")
    assert float(metric.compute()["emotion_f1"]) == pytest.approx(f1)
    metric.reset()
    metric.update(probabilities[3:], targets[3:], torch.tensor(0.0))
    assert all(value.isnan() for value in metric.compute().values())


def test_a_unit_that_always_occurs_has_an_f1_and_an_ap_but_no_auc() -> None:
    probabilities, targets = torch.tensor([[0.9, 0.2], [0.4, 0.8], [0.7, 0.6]]), torch.tensor([[1, 0], [1, 1], [1, 0]])
    metric = AuScores([1, 2])
    metric.update(probabilities, targets, torch.tensor(0.5))
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found["au_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["au_ap"] == pytest.approx(1) and found["au_auc"] == pytest.approx(1)
    assert found["au_f1_each/AU1"] == pytest.approx(0.8)
