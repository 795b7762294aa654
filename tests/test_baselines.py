"""Baselines and dead models: in, labels and blind answers; out, the numbers that no skill reaches."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_predictions import AUS, CLASSES, HALF, make_predictions

from fer.results.baselines import au_base_rates, emotion_base_rates
from fer.results.scores import Scores, judge
from fer.results.wording import dead_line, verdicts

# The label file of 560 CK+ peak frames that the first model of this field was judged on.
SEED_AUS = {17: 202, 1: 177, 2: 117, 25: 292, 27: 81, 4: 194, 7: 121, 23: 60, 24: 58, 6: 123, 12: 131, 15: 94, 14: 37}
SEED_AUS |= {11: 35, 26: 41}
SEED_EMOTIONS = {"negative": 328, "positive": 121, "surprise": 111}


def seed_labels() -> pd.DataFrame:
    """560 rows with the label counts of the seed's file."""
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(560)], "subject": [f"S{i % 123}" for i in range(560)]})
    rng = np.random.default_rng(0)
    for number, count in SEED_AUS.items():
        table[f"AU{number}"] = rng.permutation(np.arange(560) < count).astype(int)
    table["emotion"] = np.repeat(list(SEED_EMOTIONS), list(SEED_EMOTIONS.values()))
    return table


def with_answers(table: pd.DataFrame, au: dict[str, float], emotion: dict[str, float], noise: float) -> pd.DataFrame:
    """The same answer for every row, but for noise of the probabilities."""
    rng, answered = np.random.default_rng(1), table.copy()
    for name, probability in au.items():
        answered[f"{name}_prob"] = probability + noise * rng.normal(size=len(table))
    answered["emotion_pred"] = max(emotion, key=lambda name: emotion[name])
    for name, probability in emotion.items():
        answered[f"emotion_prob_{name}"] = probability
    return answered


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    return make_predictions()


@pytest.fixture(scope="module")
def scores(predictions: pd.DataFrame) -> Scores:
    return judge(predictions, HALF, n_boot=200)


def test_the_baselines_of_the_seed_labels() -> None:
    table = seed_labels()
    aus = [f"AU{number}" for number in SEED_AUS]
    rates, shares = au_base_rates(table, aus), emotion_base_rates(table, CLASSES)
    blind = with_answers(table, rates, shares, noise=0)
    found = judge(blind, dict.fromkeys(aus, 0.5), base_rates=rates, emotion_rates=shares, n_boot=2)
    constant, base_rate = found["au"]["baselines"]["constant"], found["au"]["baselines"]["base_rate"]
    majority = found["emotion"]["baselines"]["majority"]
    assert set(constant["answer"]) == {"AU25", "AU17", "AU4", "AU1", "AU12", "AU6"}  # AU6 adds .0002
    assert constant["micro"]["f1"] == pytest.approx(0.437, abs=5e-4)
    assert constant["macro"]["f1"] == pytest.approx(0.330, abs=5e-4)
    assert constant["macro"]["auc"] == constant["micro"]["auc"] == base_rate["macro"]["auc"] == 0.5
    assert base_rate["micro"]["auc"] == pytest.approx(0.708, abs=1e-3)
    assert base_rate["micro"]["f1"] == pytest.approx(0.251, abs=1e-3)
    assert base_rate["macro"]["ap"] == pytest.approx(np.mean(list(rates.values())))
    assert base_rate["binary_accuracy"] == pytest.approx(0.793, abs=1e-3)
    assert majority["answer"] == "negative"
    assert majority["accuracy"] == pytest.approx(0.586, abs=5e-4)
    assert majority["macro"]["f1"] == pytest.approx(0.246, abs=5e-4)
    assert majority["micro"]["auc"] == pytest.approx(0.694, abs=1e-3)
    entropy = -sum(share * np.log(share) for share in shares.values())
    assert majority["loss"] == pytest.approx(entropy)
    assert found["au"]["loss"] == pytest.approx(base_rate["loss"])


def test_baselines_come_from_training_rates_and_say_so(predictions: pd.DataFrame, scores: Scores) -> None:
    assert scores["au"]["baselines"]["base_rate"]["rates_from"] == "this split"
    train = {"negative": 0.1, "positive": 0.1, "surprise": 0.8}
    found = judge(predictions, HALF, base_rates=dict.fromkeys(AUS, 0.9), emotion_rates=train, n_boot=2)
    assert found["au"]["baselines"]["constant"]["rates_from"] == "train"
    assert found["au"]["baselines"]["constant"]["answer"] == AUS
    surprise = (predictions["emotion"].dropna() == "surprise").mean()
    assert found["emotion"]["baselines"]["majority"]["accuracy"] == pytest.approx(surprise)


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_the_seed_failure_is_called_dead(noise: float) -> None:
    table = seed_labels().sample(64, random_state=0)
    au = {f"AU{number}": count / 560 for number, count in SEED_AUS.items()}
    emotion = {"negative": 0.6, "positive": 0.2, "surprise": 0.2}
    thresholds = {name: 0.5 if noise == 0 else rate for name, rate in au.items()}  # noise moves it over its threshold
    found = judge(with_answers(table, au, emotion, noise), thresholds, n_boot=50)
    for head in ("au", "emotion"):
        assert found[head]["dead"]
        assert found[head]["dead_reason"]
    assert str(dead_line(found)).startswith("DEAD MODEL: gives the same answer for every picture")
    assert [verdict.good for verdict in verdicts(found)] == [False, False]


def test_a_working_model_is_not_dead(scores: Scores, predictions: pd.DataFrame) -> None:
    assert not scores["au"]["dead"]
    assert scores["emotion"]["dead_reason"] is None
    all_the_same = predictions.assign(**dict.fromkeys(AUS, 0), emotion="positive", emotion_pred="positive")
    found = judge(all_the_same, dict.fromkeys(AUS, 0.995), n_boot=5)
    assert not found["au"]["dead"], "labels that never vary cannot show that a model is dead"
    assert not found["emotion"]["dead"]


def test_the_majority_is_a_class_that_somebody_shows() -> None:
    predictions = make_predictions()
    predictions.loc[predictions["emotion"] == "positive", "emotion"] = pd.NA
    train = {"negative": 0.2, "positive": 0.7, "surprise": 0.1}
    majority = judge(predictions, HALF, emotion_rates=train, n_boot=2)["emotion"]["baselines"]["majority"]
    shown = predictions["emotion"].dropna()
    assert majority["answer"] == "negative"
    assert majority["accuracy"] == pytest.approx((shown == "negative").mean())


def test_baselines_know_the_kind_of_pictures_that_is_judged(train: Callable[..., Path]) -> None:
    run_dir = train(
        "data.frames=neutral+peak3",
        "data.judged_frames=peak",
        "data.emotions=high_level+neutral",
        "trainer.max_epochs=1",
    )
    card = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["fer"]
    split = pd.read_csv(run_dir / "split.csv", dtype=str).set_index("subject")["split"]
    metrics = json.loads((run_dir / "metrics.json").read_text())["val"]
    # half of the training rows are neutral frames, and no peak is
    assert (split == "train").any() and card["emotion_rates"]["neutral"] == 0
    assert metrics["emotion"]["baselines"]["majority"]["answer"] != "neutral"
