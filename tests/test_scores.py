"""Scores and intervals: in, made predictions; out, numbers held against scikit-learn."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from made_predictions import AUS, CLASSES, HALF, make_predictions
from rich.console import Console
from scipy.stats import t as student
from sklearn import metrics as sk

from fer.errors import FerError
from fer.results.bootstrap import resample_subjects
from fer.results.measures import Weights, macro_f1, ranking
from fer.results.predictions import emotion_answers
from fer.results.scores import Scores, judge
from fer.results.tables import print_scores
from fer.steps.judging import _with_decisions


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    return make_predictions()


@pytest.fixture(scope="module")
def scores(predictions: pd.DataFrame) -> Scores:
    return judge(predictions, HALF, n_boot=200)


def test_per_au_scores_equal_scikit_learn(predictions: pd.DataFrame, scores: Scores) -> None:
    for name in AUS:
        rows = predictions[predictions[name].notna()]
        truth, probability = rows[name].astype(int), rows[f"{name}_prob"]
        answer, found = probability >= 0.5, scores["au"]["per_au"][name]
        assert found["n"] == len(rows)
        for measure in ("precision", "recall", "f1", "auc", "ap"):
            assert found[f"{measure}_ci"][0] <= found[measure] <= found[f"{measure}_ci"][1]
        assert found["n_positive"] == truth.sum()
        assert found["precision"] == pytest.approx(sk.precision_score(truth, answer))
        assert found["recall"] == pytest.approx(sk.recall_score(truth, answer))
        assert found["f1"] == pytest.approx(sk.f1_score(truth, answer))
        assert found["auc"] == pytest.approx(sk.roc_auc_score(truth, probability))
        assert found["ap"] == pytest.approx(sk.average_precision_score(truth, probability))
        assert found["f1_constant"] == pytest.approx(sk.f1_score(truth, np.ones(len(rows))))


def test_au_averages_and_loss_equal_scikit_learn(predictions: pd.DataFrame, scores: Scores) -> None:
    au = scores["au"]
    truth = np.concatenate([predictions[name].dropna().to_numpy(dtype=int) for name in AUS])
    cells = [predictions.loc[predictions[name].notna(), f"{name}_prob"].to_numpy() for name in AUS]
    probability = np.concatenate(cells)
    answer = probability >= 0.5
    assert au["micro"]["f1"] == pytest.approx(sk.f1_score(truth, answer))
    assert au["micro"]["precision"] == pytest.approx(sk.precision_score(truth, answer))
    assert au["micro"]["auc"] == pytest.approx(sk.roc_auc_score(truth, probability))
    assert au["micro"]["ap"] == pytest.approx(sk.average_precision_score(truth, probability))
    assert au["binary_accuracy"] == pytest.approx(sk.accuracy_score(truth, answer))
    assert au["loss"] == pytest.approx(sk.log_loss(truth, probability))
    for name in ("precision", "recall", "f1", "auc", "ap"):
        assert au["macro"][name] == pytest.approx(np.mean([row[name] for row in au["per_au"].values()]))


def test_emotion_scores_equal_scikit_learn(predictions: pd.DataFrame, scores: Scores) -> None:
    rows, emotion = predictions[predictions["emotion"].notna()], scores["emotion"]
    probability = rows[[f"emotion_prob_{name}" for name in CLASSES]].to_numpy()
    one_hot = np.array([[label == name for name in CLASSES] for label in rows["emotion"]])
    truth, answer = rows["emotion"].to_numpy(dtype=object), rows["emotion_pred"].to_numpy(dtype=object)
    assert emotion["n_images"] == len(rows)
    assert emotion["accuracy"] == pytest.approx(sk.accuracy_score(truth, answer))
    assert emotion["micro"]["precision"] == emotion["micro"]["recall"] == emotion["accuracy"]
    assert emotion["macro"]["f1"] == pytest.approx(sk.f1_score(truth, answer, average="macro"))
    assert emotion["macro"]["auc"] == pytest.approx(sk.roc_auc_score(one_hot, probability, average="macro"))
    assert emotion["macro"]["ap"] == pytest.approx(sk.average_precision_score(one_hot, probability, average="macro"))
    assert emotion["micro"]["auc"] == pytest.approx(sk.roc_auc_score(one_hot, probability, average="micro"))
    assert emotion["loss"] == pytest.approx(sk.log_loss(truth, probability, labels=CLASSES))
    assert emotion["confusion"]["labels"] == CLASSES
    assert emotion["confusion"]["matrix"] == sk.confusion_matrix(truth, answer, labels=CLASSES).tolist()


def test_score_is_the_mean_of_both_heads(scores: Scores, predictions: pd.DataFrame) -> None:
    au_only = judge(predictions.loc[:, :"AU25_pred"], HALF, n_boot=10)
    assert "emotion" not in au_only
    assert au_only["score"] == pytest.approx(scores["au"]["macro"]["ap"])
    assert scores["score"] == pytest.approx((scores["au"]["macro"]["ap"] + scores["emotion"]["macro"]["f1"]) / 2)
    emotion_only = judge(predictions.drop(columns=predictions.filter(like="AU").columns), {}, n_boot=10)
    assert "au" not in emotion_only
    blind = (
        scores["au"]["baselines"]["constant"]["macro"]["ap"],
        scores["emotion"]["baselines"]["majority"]["macro"]["f1"],
    )
    assert scores["score_constant"] == pytest.approx(sum(blind) / 2)
    assert au_only["score_constant"] == pytest.approx(blind[0]) and emotion_only["score_constant"] == pytest.approx(
        blind[1]
    )
    assert emotion_only["score"] == pytest.approx(scores["emotion"]["macro"]["f1"])


def test_a_probability_at_its_threshold_is_on_one_side_in_the_table_and_in_the_scores() -> None:
    table = pd.DataFrame({"path": ["a", "b"], "subject": ["p", "q"], "AU1": [1, 0], "AU1_prob": np.float32([0.7, 0.2])})
    limit = {"AU1": 0.7}  # as a double it is above the probability
    assert _with_decisions(table, limit)["AU1_pred"].tolist() == [1, 0]
    assert judge(table, limit, n_boot=10)["au"]["per_au"]["AU1"]["recall"] == 1


def test_hand_computed_table() -> None:
    table = pd.DataFrame({"path": list("abcd"), "subject": ["p", "p", "q", "q"], "split": "test"})
    table["AU12"], table["AU12_prob"] = [1, 0, 1, None], [0.9, 0.8, 0.3, 0.99]
    au = judge(table, {"AU12": 0.5}, n_boot=10)["au"]
    row = au["per_au"]["AU12"]
    assert (row["n"], row["n_positive"], au["n_images"]) == (3, 2, 3)
    assert (row["precision"], row["recall"], row["f1"], row["auc"]) == (0.5, 0.5, 0.5, 0.5)
    assert row["ap"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert au["binary_accuracy"] == pytest.approx(1 / 3)
    assert au["loss"] == pytest.approx(-(np.log(0.9) + np.log(0.2) + np.log(0.3)) / 3)


def test_an_au_without_positives_is_null_and_left_out(predictions: pd.DataFrame) -> None:
    table = predictions.copy()
    table["AU2"], table["AU12"] = 0, 1
    au = judge(table, HALF, n_boot=20)["au"]
    assert all(
        au["per_au"]["AU2"][key] is None for key in ("precision", "recall", "f1", "auc", "ap", "f1_ci", "auc_ci")
    )
    assert au["per_au"]["AU2"]["n_positive"] == 0
    assert au["per_au"]["AU12"]["auc"] is None
    assert au["per_au"]["AU12"]["f1"] is not None
    kept = [au["per_au"][name]["f1"] for name in ("AU1", "AU12", "AU25")]
    assert au["macro"]["f1"] == pytest.approx(np.mean(kept))
    assert au["macro"]["auc"] == pytest.approx(np.mean([au["per_au"][name]["auc"] for name in ("AU1", "AU25")]))


def test_nothing_predicted_positive_counts_as_zero(predictions: pd.DataFrame) -> None:
    row = judge(predictions, HALF | {"AU1": 0.999}, n_boot=10)["au"]["per_au"]["AU1"]
    assert (row["precision"], row["recall"], row["f1"]) == (0, 0, 0)


@pytest.mark.parametrize("labelled", [("AU1",), (), ("emotion",)])
def test_json_has_no_nan(predictions: pd.DataFrame, labelled: tuple[str, ...]) -> None:
    table = predictions.head(30).copy()
    for column in (*AUS, "emotion"):
        if column not in labelled:
            table[column] = pd.Series(np.nan, index=table.index, dtype="str" if column == "emotion" else "float64")
    found = judge(table, HALF, n_boot=20)
    json.dumps(found, allow_nan=False)
    assert ("au" in found, "emotion" in found) == ("AU1" in labelled, "emotion" in labelled)
    print_scores({"test": found}, Console(file=io.StringIO()))


def test_weighted_ranking_of_every_draw_equals_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    truth, probability = (rng.random(80) < 0.3).astype(float), np.round(rng.random(80), 1)
    weights = rng.integers(0, 4, (80, 5)).astype(float)
    auc, ap = ranking(truth, probability, Weights(np.arange(80), weights))
    for draw in range(5):
        weight = weights[:, draw]
        assert auc[draw] == pytest.approx(sk.roc_auc_score(truth, probability, sample_weight=weight))
        assert ap[draw] == pytest.approx(sk.average_precision_score(truth, probability, sample_weight=weight))


def test_intervals_equal_a_plain_loop_over_draws(predictions: pd.DataFrame) -> None:
    rows = predictions[predictions["AU1"].notna()].reset_index(drop=True)
    found = judge(rows, HALF, n_boot=30, seed=5)["au"]["per_au"]["AU1"]
    resampling = resample_subjects(rows["subject"], 30, 5)
    f1, auc = [], []
    for weight in resampling.counts[resampling.subjects].T:
        sample = rows.loc[np.repeat(rows.index, weight.astype(int))]
        f1.append(sk.f1_score(sample["AU1"].astype(int), sample["AU1_prob"] >= 0.5))
        auc.append(sk.roc_auc_score(sample["AU1"].astype(int), sample["AU1_prob"]))
    people = rows["subject"][rows["AU1"] == 1].nunique()
    for name, values in (("f1", f1), ("auc", auc)):
        draws, point = np.arcsin(np.sqrt(values)), np.arcsin(np.sqrt(found[name]))
        reach = student.ppf(0.975, people - 1) * np.std(draws) * np.sqrt(people / (people - 1))
        ends = [np.sin(point - (np.mean(draws) - point) + sign * reach) ** 2 for sign in (-1, 1)]
        assert found[f"{name}_ci"] == pytest.approx(ends)


def test_intervals_hold_the_value_and_shrink_with_people(scores: Scores) -> None:
    for head, keys in (("au", ("f1", "auc", "ap")), ("emotion", ("f1", "auc"))):
        for key in keys:
            low, high = scores[head][f"macro_{key}_ci"]
            assert low <= scores[head]["macro"][key] <= high
    many = judge(make_predictions(n=2000, n_subjects=400), HALF, n_boot=200)
    for key in ("macro_f1_ci", "macro_auc_ci", "loss_ci"):
        assert np.ptp(many["au"][key]) < 0.6 * np.ptp(scores["au"][key])


def test_draws_without_a_rare_label_do_not_leave_it_out_of_the_mean() -> None:
    # one person of forty shows `surprise`, and is missed
    truth = ["negative", "positive"] * 20 + ["surprise"]
    answers = ["negative", "positive"] * 20 + ["negative"]
    table = pd.DataFrame({"path": range(41), "subject": [f"S{k}" for k in range(41)], "emotion": truth})
    table["emotion_pred"] = answers
    for name in CLASSES:
        table[f"emotion_prob_{name}"] = np.where(table["emotion_pred"] == name, 0.8, 0.1)
    point = (40 / 41 + 1) / 3
    mean = macro_f1(emotion_answers(table), resample_subjects(table["subject"], 400, 0))
    # with `surprise` in every draw no mean is above 2/3; without it a third of them would be near 1
    assert mean.draws.max() < 0.7 and mean.draws.mean() == pytest.approx(point, abs=0.01)
    emotion = judge(table, {}, n_boot=400)["emotion"]
    low, high = emotion["macro_f1_ci"]
    assert emotion["macro"]["f1"] == pytest.approx(point)
    # one person says little of how others would be judged: of a third of the mean nearly everything is possible
    assert high - low > 0.3


def test_people_who_all_do_alike_do_not_make_certain() -> None:
    # each is right on one picture and wrong on the other
    table = pd.DataFrame({"subject": [f"S{k}" for k in range(30) for _ in range(2)], "path": range(60)})
    table["emotion"], table["emotion_pred"] = ["negative", "positive"] * 30, "negative"
    for name in ("negative", "positive"):
        table[f"emotion_prob_{name}"] = np.where(table["emotion_pred"] == name, 0.8, 0.2)
    scores = judge(table, {}, n_boot=100)
    low, high = scores["emotion"]["accuracy_ci"]
    others = 1 - 0.025 ** (1 / 30)  # people who would do otherwise are no more than that
    assert [low, high] == pytest.approx([0.5 * (1 - others), 0.5 + 0.5 * others])


def test_a_head_without_a_positive_leaves_the_score_to_the_other(predictions: pd.DataFrame) -> None:
    coded = [name for name in predictions if re.fullmatch(r"AU\d+", name)]
    silent = predictions.assign(**dict.fromkeys(coded, 0))
    scores = judge(silent, HALF, n_boot=50)
    assert scores["score"] == scores["emotion"]["macro"]["f1"]
    assert scores["score_ci"] == scores["emotion"]["macro_f1_ci"]


def test_no_constant_answer_scores_more_than_the_best_one() -> None:
    table = pd.DataFrame({"subject": [f"S{k}" for k in range(20)], "path": range(20)})
    table["emotion"] = ["negative"] * 8 + ["positive"] * 12
    for answer in ("negative", "positive"):
        always = table.assign(emotion_pred=answer)
        for name in ("negative", "positive"):
            always[f"emotion_prob_{name}"] = np.where(always["emotion_pred"] == name, 0.8, 0.2)
        scores = judge(always, {}, emotion_rates={"negative": 0.7, "positive": 0.3}, n_boot=5)
        assert scores["score"] <= scores["score_constant"] + 1e-12
    assert scores["score"] == pytest.approx(scores["score_constant"])


def test_copies_of_a_person_are_no_evidence() -> None:
    alone = make_predictions(n=40, n_subjects=40)
    copies = pd.concat([alone] * 10, ignore_index=True)
    grouped = judge(copies, HALF, n_boot=300)["au"]
    as_strangers = judge(copies.assign(subject=[str(i) for i in range(400)]), HALF, n_boot=300)["au"]
    assert np.ptp(grouped["macro_auc_ci"]) > 2 * np.ptp(as_strangers["macro_auc_ci"])
    assert grouped["macro_auc_ci"] == pytest.approx(judge(alone, HALF, n_boot=300)["au"]["macro_auc_ci"])


def test_same_seed_same_intervals_whatever_the_row_order(predictions: pd.DataFrame, scores: Scores) -> None:
    shuffled = judge(predictions.sample(frac=1, random_state=1), HALF, n_boot=200)
    assert shuffled["score_ci"] == pytest.approx(scores["score_ci"])
    assert judge(predictions, HALF, n_boot=200, seed=1)["score_ci"] != scores["score_ci"]


def test_no_interval_of_a_loss_goes_below_zero(predictions: pd.DataFrame) -> None:
    few = predictions[predictions["emotion"].notna()].head(12).copy()  # a picture of each person
    for name in CLASSES:
        few[f"emotion_prob_{name}"] = np.where(few["emotion"] == name, 0.98, 0.01)
    few.loc[few.index[0], [f"emotion_prob_{name}" for name in CLASSES]] = 1e-6  # one is far off
    found = judge(few, HALF, n_boot=300)["emotion"]
    low, high = found["loss_ci"]
    assert 0 <= low < found["loss"] < high


def test_one_person_has_no_interval(predictions: pd.DataFrame) -> None:
    found = judge(predictions.assign(subject="S1"), HALF, n_boot=20)
    assert found["score_ci"] is None
    assert found["au"]["macro_auc_ci"] is None
    assert found["au"]["per_au"]["AU1"]["f1_ci"] is None


def test_one_labelled_person_among_others_has_no_interval_either(predictions: pd.DataFrame) -> None:
    coded = predictions["subject"] == "S001"
    table = predictions.assign(**{name: predictions[name].where(coded) for name in AUS}).drop(
        columns=[c for c in predictions if c.startswith("emotion")]
    )
    found = judge(table, HALF, n_boot=20)
    assert found["score"] is not None and found["au"]["n_subjects"] == 1
    assert found["score_ci"] is None


def constant(predictions: pd.DataFrame, answer: str) -> dict[str, object]:
    others = [name for name in CLASSES if name != answer]
    return {f"emotion_prob_{answer}": 0.8} | {f"emotion_prob_{name}": 0.1 for name in others} | {"emotion_pred": answer}


def test_networks_that_are_each_dead_are_dead_whatever_they_differ_in(predictions: pd.DataFrame) -> None:
    # each fold's network knows one answer of its own
    folds = [
        rows.assign(fold=k, **constant(rows, CLASSES[k % 3]))
        for k, (_, rows) in enumerate(predictions.groupby(predictions.index // 40))
    ]
    found = judge(pd.concat(folds), HALF, n_boot=10)
    assert found["emotion"]["dead"] and not found["au"]["dead"]
    assert not judge(predictions.assign(fold=predictions.index // 40), HALF, n_boot=10)["emotion"]["dead"]


def test_a_fold_for_each_person_changes_nothing_about_dead_and_living_models() -> None:
    for answered, dead in (("positive", True), (None, False)):
        table = make_predictions(n=100, n_subjects=100).assign(fold=range(100))
        table = table if answered is None else table.assign(**constant(table, answered))
        assert judge(table, HALF, n_boot=10)["emotion"]["dead"] is dead


def test_always_the_same_is_no_death_where_it_is_nearly_always_right_and_the_rest_is_ranked() -> None:
    rare = np.arange(300) < 9
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(300)], "subject": [f"S{i % 60}" for i in range(300)]})
    table["emotion"], table["emotion_pred"] = np.where(rare, "negative", "positive"), "positive"
    for ranked, chance in ((np.where(rare, 0.4, 0.1), False), (np.tile((0.4, 0.1), 150), True)):
        table["emotion_prob_negative"], table["emotion_prob_positive"] = ranked, 1 - ranked
        assert judge(table, {}, n_boot=10)["emotion"]["dead"] is chance


def test_an_au_that_only_one_person_lacks_has_no_auc_interval(predictions: pd.DataFrame) -> None:
    table = predictions.assign(AU1=(predictions["subject"] != "S001").astype(int))
    row = judge(table, HALF, n_boot=20)["au"]["per_au"]["AU1"]
    assert row["auc"] is not None
    assert (row["auc_ci"] is None, row["f1_ci"] is None) == (True, False)


def test_bad_predictions_are_refused(predictions: pd.DataFrame) -> None:
    with pytest.raises(FerError, match="no images"):
        judge(predictions.head(0), HALF)
    with pytest.raises(FerError, match=r"AU2_prob.*diverged"):
        judge(predictions.assign(AU2_prob=np.nan), HALF)
    with pytest.raises(FerError, match="'joy'"):
        judge(predictions.assign(emotion="joy"), HALF)
