"""Offsets of the emotion head: a leaning head is set upright, in the table and in the checkpoint alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score

from fer.results.emotion_offsets import answered_by_others, fit_emotion_offsets
from fer.steps import deciding

CLASSES = ("negative", "positive", "surprise")
COLUMNS = [f"emotion_prob_{name}" for name in CLASSES]
LEANING = np.array([1.5, -1.0, -0.5])


def made(n: int, leaning: np.ndarray, rates: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3), seed: int = 0) -> pd.DataFrame:
    """Answers of a head that would be right without `leaning` if the classes were equally frequent."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=rates)
    logits = 2 * rng.normal(np.eye(3)[truth], 1) + leaning
    table = pd.DataFrame(softmax(logits, axis=1), columns=COLUMNS)
    return table.assign(emotion=np.array(CLASSES)[truth])


def test_a_leaning_head_is_set_upright() -> None:
    assert list(fit_emotion_offsets(made(5000, LEANING)).values()) == pytest.approx(-LEANING, abs=0.15)


def test_weights_of_training_keep_the_head_balanced() -> None:
    rates = (0.7, 0.2, 0.1)
    table = made(5000, LEANING, rates)
    balanced = fit_emotion_offsets(table, [1 / rate for rate in rates])
    assert list(balanced.values()) == pytest.approx(-LEANING, abs=0.25)
    assert fit_emotion_offsets(table)["negative"] > balanced["negative"] + 0.3
    fresh = made(5000, LEANING, rates, seed=1)
    logits = np.log(fresh[COLUMNS].to_numpy())
    before, after = logits.argmax(1), (logits + list(balanced.values())).argmax(1)
    truth = fresh["emotion"].map(CLASSES.index)
    assert balanced_accuracy_score(truth, after) > balanced_accuracy_score(truth, before) + 0.05


def test_only_the_proportions_of_weights_count() -> None:
    table, weights = made(12, LEANING), [0.2, 1.0, 3.0]
    tenfold = fit_emotion_offsets(table, [10 * weight for weight in weights])
    assert list(tenfold.values()) == pytest.approx(list(fit_emotion_offsets(table, weights).values()), abs=1e-4)


def test_few_pictures_are_no_reason_to_move_far() -> None:
    pair = pd.DataFrame([[0.3, 0.6, 0.1]] * 2, columns=COLUMNS).assign(emotion=["positive", "surprise"])
    few, many = fit_emotion_offsets(pair), fit_emotion_offsets(pd.concat([pair] * 200, ignore_index=True))
    assert 0 < few["surprise"] < many["surprise"]


def test_validation_scores_gain_nothing_from_their_own_offsets() -> None:
    gains, honest = [], []
    for seed in range(60):  # a head that knows nothing, and few people: offsets fit their labels by chance
        rng = np.random.default_rng(seed)
        table = pd.DataFrame(softmax(0.3 * rng.normal(size=(12, 3)), axis=1), columns=COLUMNS)
        table = table.assign(emotion=rng.choice(CLASSES, 12), emotion_pred="", subject=[str(k // 2) for k in range(12)])
        offsets = fit_emotion_offsets(table)
        shifted = table.copy()
        shifted[COLUMNS] = softmax(np.log(table[COLUMNS].to_numpy()) + list(offsets.values()), axis=1)
        own = np.array(CLASSES)[shifted[COLUMNS].to_numpy().argmax(axis=1)]
        gains.append((own == table["emotion"]).mean())
        found = answered_by_others(shifted, offsets)
        assert (found["emotion_pred"] == np.array(CLASSES)[found[COLUMNS].to_numpy().argmax(axis=1)]).all()
        honest.append((found["emotion_pred"] == table["emotion"]).mean())
    assert np.mean(gains) > 0.42 and np.mean(honest) < 0.36


def test_others_decide_how_one_person_is_answered() -> None:
    table = made(60, LEANING).assign(emotion_pred="", AU1_prob=0.5, subject=[str(k % 6) for k in range(60)])
    offsets = fit_emotion_offsets(table)
    shifted = table.copy()
    shifted[COLUMNS] = softmax(np.log(table[COLUMNS].to_numpy()) + list(offsets.values()), axis=1)
    found = answered_by_others(shifted, offsets)
    folds = np.array_split(np.array(list("012345")), 5)
    for fold in folds:
        own = table["subject"].isin(fold)
        others = list(fit_emotion_offsets(table[~own]).values())
        expected = softmax(np.log(table.loc[own, COLUMNS].to_numpy()) + others, axis=1)
        assert np.allclose(found.loc[own, COLUMNS], expected)
    assert found["AU1_prob"].equals(table["AU1_prob"]) and answered_by_others(table, {}) is table
    assert answered_by_others(table.head(0), offsets).empty


def test_a_class_that_no_picture_shows_is_not_silenced() -> None:
    table = made(300, LEANING)
    table = table[table["emotion"] != "surprise"]
    offsets = fit_emotion_offsets(table)
    assert offsets["surprise"] == 0
    alone = fit_emotion_offsets(table.drop(columns="emotion_prob_surprise"))
    assert [offsets[name] for name in CLASSES[:2]] == pytest.approx(list(alone.values()))


def test_without_labels_nothing_moves() -> None:
    table = made(20, LEANING)
    assert fit_emotion_offsets(table.assign(emotion=None)) == {}
    assert fit_emotion_offsets(table[["emotion"]]) == {}


def test_a_run_judges_validation_people_by_the_offsets_of_others(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answered(rows: pd.DataFrame, offsets: dict[str, float], weights: list[float] | None) -> pd.DataFrame:
        asked.append((set(rows["split"]), offsets, weights))
        return rows.assign(**dict.fromkeys(COLUMNS, 1 / 3))

    monkeypatch.setattr(deciding, "answered_by_others", answered)
    run = train("trainer.max_epochs=1", "loss.class_weights=balanced")
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    weights = best["hyper_parameters"]["class_weights"]["emotion"]
    assert asked == [({"val"}, best["fer"]["emotion_offsets"], weights)] and len(set(weights)) > 1
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val"]["emotion"]["macro"]["auc"] == 0.5 != metrics["test"]["emotion"]["macro"]["auc"]


def test_the_checkpoint_answers_with_the_offsets(train: Callable[..., Path], tmp_path: Path) -> None:
    run = train("trainer.max_epochs=1")
    best, last = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    offsets = best["fer"]["emotion_offsets"]
    moved = best["state_dict"]["network.emotion_head.bias"] - last["state_dict"]["network.emotion_head.bias"]
    assert list(offsets) == list(CLASSES) and any(abs(value) > 1e-3 for value in offsets.values())
    answers = pd.read_csv(run / "predictions.csv")
    assert answers["emotion_pred"].tolist() == [CLASSES[k] for k in answers[COLUMNS].to_numpy().argmax(1)]
    torch.testing.assert_close(moved, torch.tensor(list(offsets.values())), atol=1e-5, rtol=0)
