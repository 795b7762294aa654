"""Thresholds: in, made validation rows; out, those that maximise F1, shrunk to the expected best where there is little evidence."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from fer.results.thresholds import choose_thresholds


def rows(**columns: tuple[list[float | None], list[float]]) -> pd.DataFrame:
    table = pd.DataFrame()
    for name, (targets, scores) in columns.items():
        table[name], table[f"{name}_prob"] = targets, scores
    return table


def noisy(n: int, rate: float, shift: float, seed: int = 0) -> tuple[list[float | None], list[float]]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < rate
    scores = 1 / (1 + np.exp(-(rng.normal(size=n) + 2 * truth + shift)))
    return truth.astype(float).tolist(), scores.tolist()


def test_middle_of_the_gap_between_perfectly_separated_answers() -> None:
    table = rows(AU1=([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]))
    assert choose_thresholds(table, ["AU1"], min_positives=0)["AU1"] == pytest.approx(0.4)


def test_equal_gaps_are_one_plateau_and_missing_labels_do_not_count() -> None:
    # .5 has no label, so nothing happens between .2 and .8.
    table = rows(AU1=([0, None, 1, 1], [0.2, 0.5, 0.8, 0.9]))
    assert choose_thresholds(table, ["AU1"], min_positives=0)["AU1"] == pytest.approx(0.5)


def test_the_widest_of_several_best_gaps_wins() -> None:
    # F1 is .8 at the gap (.1, .3) and at the gap (.4, .9), lower between.
    table = rows(AU1=([0, 1, 0, 1, 0, 1], [0.1, 0.3, 0.32, 0.35, 0.4, 0.9]))
    found = choose_thresholds(table, ["AU1"], min_positives=1)["AU1"]
    values = {t: f1_score(table["AU1"], table["AU1_prob"] >= t) for t in (0.2, 0.31, 0.33, 0.38, 0.65)}
    assert values[0.2] == max(values.values())
    assert f1_score(table["AU1"], table["AU1_prob"] >= found) == max(values.values())


def test_own_threshold_is_f1_best_with_much_evidence() -> None:
    table = rows(AU1=noisy(3000, 0.3, -3.0, 1), AU2=noisy(3000, 0.3, 1.0, 2))
    found = choose_thresholds(table, ["AU1", "AU2"], min_positives=1)
    for name in ("AU1", "AU2"):
        best = max(f1_score(table[name], table[f"{name}_prob"] >= t) for t in np.linspace(0.02, 0.98, 200))
        assert f1_score(table[name], table[f"{name}_prob"] >= found[name]) > best - 0.005
    assert found["AU1"] < 0.3 < 0.7 < found["AU2"]


def test_few_positives_are_shrunk_towards_the_expected_best_threshold() -> None:
    table = rows(AU9=noisy(400, 0.01, -3.0, 3))
    own, shrunk, expected = (choose_thresholds(table, ["AU9"], min_positives=k)["AU9"] for k in (0, 10, 10**9))
    assert min(own, expected) < shrunk < max(own, expected)
    n_positive = table["AU9"].sum()
    weight = n_positive / (n_positive + 10)
    logits = [np.log(t / (1 - t)) for t in (own, shrunk, expected)]
    assert logits[1] == pytest.approx(weight * logits[0] + (1 - weight) * logits[2])


def test_an_au_without_positives_gets_the_threshold_of_the_best_expected_f1() -> None:
    # of the k highest, 2 sum(p) / (k + 1.5) is .75 for k = 1 and 6/7 for k = 2, then falls: the threshold lies between .6 and .1
    table = rows(AU2=([0, 0, None, 0], [0.1, 0.9, 0.6, 0.02]))
    assert choose_thresholds(table, ["AU2"])["AU2"] == pytest.approx(0.35)


def test_the_expected_best_counts_faint_answers_as_what_they_are() -> None:
    # 2 of 300 at .6 and the rest near 0: at .6 F1 is 2 x 1.2 / (2 + 1.2 + .3) in expectation, and nothing below is worth adding
    table = rows(AU1=([0.0] * 300, [0.6] * 2 + [0.2] * 2 + [0.001] * 296))
    assert choose_thresholds(table, ["AU1"])["AU1"] == pytest.approx(0.4)


def test_the_same_rows_again_are_no_more_evidence() -> None:
    once = rows(AU1=noisy(60, 0.1, -2.0))
    thrice = pd.concat([once] * 3, ignore_index=True)
    expected = choose_thresholds(once, ["AU1"], min_positives=10)["AU1"]
    assert choose_thresholds(thrice, ["AU1"], min_positives=30)["AU1"] == pytest.approx(expected)


def test_right_probabilities_need_no_labels() -> None:
    rng = np.random.default_rng(0)
    scores = rng.beta(0.4, 1.6, 20_000)
    truth = (rng.random(20_000) < scores).astype(float)
    found = choose_thresholds(rows(AU1=([0.0] * 20_000, scores.tolist())), ["AU1"])["AU1"]
    values = [f1_score(truth, scores >= t) for t in np.linspace(0.02, 0.98, 97)]
    assert f1_score(truth, scores >= found) > max(values) - 0.003
    # at the best threshold F1 is twice the threshold: Lipton, Elkan & Naryanaswamy, ECML 2014
    assert found == pytest.approx(max(values) / 2, abs=0.01)


@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.001, 0.0], [1.0, 1.0, 1.0, 0.999], [0.0, 1.0, 1.0, 0.0]])
def test_thresholds_stay_inside(scores: list[float]) -> None:
    found = choose_thresholds(rows(AU1=([1, 0, 1, 0], scores)), ["AU1"])
    assert 0.02 <= found["AU1"] <= 0.98
