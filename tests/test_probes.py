"""Honesty probes: in, made answers, features and labels; out, numbers computed by hand and by scikit-learn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from fer.labels import BASIC, EMOTION_SETS
from fer.results.consistency import consistency_probe
from fer.results.identity import identity_probe
from fer.results.probes import probe_data
from fer.results.rule import emotions_by_rule, rule_probe
from fer.results.spread import spread_probe
from fer.results.wording import alarms

BASIC_CLASSES = list(BASIC)
HIGH = list(EMOTION_SETS["high_level+neutral"])


def showing(*codings: tuple[int, ...]) -> pd.DataFrame:
    units = (1, 2, 4, 5, 6, 9, 10, 11, 12, 14, 15, 17, 23, 24)
    return pd.DataFrame([{f"AU{unit}": int(unit in coding) for unit in units} for coding in codings])


@pytest.mark.parametrize(
    ("coding", "emotion"),
    [
        ((23, 24), "anger"),
        ((23, 17), None),
        ((9,), "disgust"),
        ((10, 17), "disgust"),
        ((1, 2, 4), "fear"),
        ((12, 6), "happy"),
        ((1, 4, 15), "sadness"),
        ((11,), "sadness"),
        ((6, 15), "sadness"),
        ((1, 2), "surprise"),
        ((5,), "surprise"),
        ((14,), "contempt"),
        ((1, 2, 4, 5), "fear"),  # surprise is met too, by fewer units
        ((1, 4, 15, 12), "sadness"),
        ((12, 14), "happy"),  # as many units: the first of the table
        ((), None),
    ],
)
def test_the_criteria_of_the_table(coding: tuple[int, ...], emotion: str | None) -> None:
    found = emotions_by_rule(showing(coding), BASIC_CLASSES)[0]
    assert found == (-1 if emotion is None else BASIC_CLASSES.index(emotion))


def test_the_rule_folds_into_the_classes_there_are_and_a_still_face_is_neutral() -> None:
    found = emotions_by_rule(showing((9,), (12,), (1, 2), (17,), ()), HIGH)
    assert [HIGH[k] if k >= 0 else None for k in found] == ["negative", "positive", "surprise", None, "neutral"]
    partly = pd.DataFrame({"AU12": pd.array([1, pd.NA], dtype="Int8"), "AU30": [0, 0]})
    assert emotions_by_rule(partly, BASIC_CLASSES).tolist() == [BASIC_CLASSES.index("happy"), -1]


def test_a_face_that_shows_another_unit_is_not_neutral() -> None:
    decided = answers(["happy", "happy"], ["happy", "happy"], AU12_pred=[0, 0], AU43_pred=[1, 0])
    decided["emotion_prob_neutral"] = 0.0
    decided["emotion"] = pd.array(["neutral", "neutral"], dtype="string")
    samples = decided[["path", "subject"]].assign(AU12=[0, 0], AU43=[1, 0])
    found = rule_probe(decided, samples, n_boot=10)
    assert [found[which]["n_answered"] for which in ("true_aus", "predicted_aus")] == [1, 1]


def answers(emotion: list[str | None], predicted: list[str], **columns: list[Any]) -> pd.DataFrame:
    n = len(emotion)
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(n)], "subject": [f"p{i // 2}" for i in range(n)]})
    table = table.assign(split="test", **columns)
    table["emotion"], table["emotion_pred"] = pd.array(emotion, dtype="string"), predicted
    return table.assign(**{f"emotion_prob_{name}": 1 / 7 for name in BASIC_CLASSES})


def test_the_scores_of_the_rule_equal_scikit_learn() -> None:
    truth = ["happy", "happy", "anger", "fear", "surprise", None, "sadness", "disgust"]
    decided = answers(truth, ["happy"] * 8, AU12_pred=[1, 0, 0, 0, 1, 1, 0, 0])
    codings = ((12,), (9,), (23, 24), (1, 2), (5,), (12,), (17,), (9,))
    samples = showing(*codings).assign(subject=decided["subject"], path=decided["path"])
    samples.loc[7, samples.filter(like="AU").columns] = pd.NA
    found = rule_probe(decided, samples, n_boot=50)
    kept = [0, 1, 2, 3, 4, 6]
    expected = [truth[k] for k in kept]
    by_rule = ["happy", "disgust", "anger", "surprise", "surprise", "none"]
    true = found["true_aus"]
    assert (true["n_images"], true["n_answered"]) == (6, 5)
    assert true["accuracy"] == pytest.approx(sk.accuracy_score(expected, by_rule)) == 0.5
    labels = sorted(set(expected))
    assert true["macro_f1"] == pytest.approx(sk.f1_score(expected, by_rule, labels=labels, average="macro"))
    assert true["model"]["accuracy"] == pytest.approx(2 / 6)
    low, high = true["accuracy_ci"]
    assert 0 <= low <= 0.5 <= high <= 1
    assert true["units_missing"] == []
    predicted = found["predicted_aus"]
    assert (predicted["n_images"], predicted["n_answered"], predicted["accuracy"]) == (7, 2, pytest.approx(1 / 7))
    assert predicted["units_missing"] == [f"AU{n}" for n in (1, 2, 4, 5, 6, 9, 10, 11, 14, 15, 23, 24)]


def test_a_rule_without_aus_or_emotions_says_why() -> None:
    decided = answers(["happy"] * 4, ["happy"] * 4)
    found = rule_probe(decided, decided[["path", "subject"]])
    assert "reason" in found["true_aus"] and "reason" in found["predicted_aus"]
    assert "emotion head" in rule_probe(decided[["path", "subject"]], decided)["reason"]


def people(n_people: int, n_sequences: int, n_frames: int = 1) -> pd.DataFrame:
    keys = [(p, s, f) for p in range(n_people) for s in range(n_sequences) for f in range(n_frames)]
    table = pd.DataFrame(keys, columns=["subject", "sequence", "frame"]).astype(str)
    return table.assign(path=table["subject"] + "/" + table["sequence"] + "/" + table["frame"])


def test_features_that_name_the_person_are_found_and_others_are_not() -> None:
    table = people(12, 5)
    rng = np.random.default_rng(0)
    named = np.repeat(rng.normal(size=(12, 30)), 5, axis=0) + 0.1 * rng.normal(size=(60, 30))
    found = identity_probe(named, table, n_boot=100)
    assert found["accuracy"] == 1 and found["chance"] == pytest.approx(1 / 12)
    assert (found["n_images"], found["n_subjects"], found["n_features"]) == (60, 12, 30)
    blind = identity_probe(rng.normal(size=(60, 30)), table, n_boot=100)
    assert blind["accuracy"] < 0.25
    assert blind["accuracy_ci"][0] <= blind["accuracy"] <= blind["accuracy_ci"][1]


def test_chance_is_to_always_name_the_person_with_most_pictures() -> None:
    table = pd.concat([people(2, 3), people(1, 6).assign(subject="often")], ignore_index=True)
    found = identity_probe(np.random.default_rng(0).normal(size=(12, 4)), table, n_boot=10)
    assert found["chance"] == pytest.approx(6 / 12)


def test_frames_of_one_sequence_do_not_give_the_person_away() -> None:
    # Each sequence has features of its own that say nothing of the person: frames are nearly alike.
    table, rng = people(10, 3, 4), np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(30, 40)), 4, axis=0) + 0.01 * rng.normal(size=(120, 40))
    assert identity_probe(features, table, n_boot=10)["accuracy"] < 0.3
    as_pictures = identity_probe(features, table.assign(sequence=pd.NA), n_boot=10)
    assert as_pictures["accuracy"] > 0.9


def test_people_with_one_sequence_are_left_out_and_nobody_left_is_said() -> None:
    table = pd.concat([people(3, 4), people(1, 1).assign(subject="alone")], ignore_index=True)
    features = np.random.default_rng(0).normal(size=(13, 5))
    assert identity_probe(features, table, n_boot=10)["n_subjects"] == 3
    assert "fewer than two people" in identity_probe(features[:3], people(3, 1), n_boot=10)["reason"]
    features[0, 0] = np.nan
    assert "not finite" in identity_probe(features, table, n_boot=10)["reason"]


def test_large_data_is_probed_on_whole_people() -> None:
    table = people(400, 8)
    found = identity_probe(np.random.default_rng(0).normal(size=(3200, 4)).astype(np.float16), table, n_boot=10)
    assert 1400 < found["n_images"] <= 1500 and found["n_images"] == 8 * found["n_subjects"]


def single(decided: pd.DataFrame) -> pd.Series:
    """Pictures that are of no sequence."""
    return pd.Series(pd.NA, decided.index, dtype="string")


def test_spread_by_hand() -> None:
    decided = answers(
        ["happy", "anger", "happy", None, "fear", "fear"],
        ["happy", "happy", "happy", "anger", "anger", "anger"],
        AU1=[1, 1, 0, None, 0, 0],
        AU1_prob=[0.9] * 6,
        AU1_pred=[1, 0, 0, 1, 1, 0],
    )
    found = spread_probe(decided, single(decided))
    emotion, au = found["emotion"], found["au"]
    assert (emotion["n_subjects"], emotion["min"], emotion["median"], emotion["max"]) == (3, 0, 0.5, 1)
    assert emotion["worst"] == [
        {"subject": "p2", "value": 0.0, "n": 2},
        {"subject": "p0", "value": 0.5, "n": 2},
        {"subject": "p1", "value": 1.0, "n": 1},
    ]
    assert emotion["sd"] == pytest.approx(np.std([0, 0.5, 1]))
    tie = answers(["happy"] * 5, ["fear"] * 5).assign(subject=["a", "b", "b", "b", "c"])
    assert [who["subject"] for who in spread_probe(tie, single(tie))["emotion"]["worst"]] == ["b", "a", "c"]
    # p1 and p2 show no AU: nothing was there to be found
    assert (au["n_subjects"], au["min"]) == (1, pytest.approx(2 / 3))
    assert spread_probe(decided.assign(emotion=None, AU1=None), single(decided)) == {}


def test_spread_beyond_chance_is_told_from_few_pictures() -> None:
    rng = np.random.default_rng(0)
    subject = np.repeat([f"p{i}" for i in range(60)], 8)
    base = answers(["happy"] * 480, ["happy"] * 480).assign(subject=subject)
    alike = rng.random(480) < 0.7
    unlike = rng.random(480) < np.repeat(rng.choice([0.4, 1.0], 60), 8)
    for right, ratio in ((alike, 1.0), (unlike, 2.0)):
        said = base.assign(emotion_pred=np.where(right, "happy", "fear"))
        found = spread_probe(said, single(said))["emotion"]
        assert found["sd"] / found["sd_if_alike"] == pytest.approx(ratio, rel=0.2)


def test_frames_of_a_sequence_are_no_evidence_that_some_people_are_worse_off() -> None:
    rng, frames = np.random.default_rng(0), 3
    subject, sequence = (
        np.repeat([f"p{i}" for i in range(60)], 4 * frames),
        pd.Series(np.repeat(np.arange(240), frames)),
    )
    right = np.repeat(rng.random(240) < 0.7, frames)
    base = answers(["happy"] * 720, np.where(right, "happy", "fear").tolist()).assign(subject=subject)
    found = spread_probe(base, sequence.astype("string"))["emotion"]
    assert found["sd"] / found["sd_if_alike"] == pytest.approx(1, rel=0.2)
    assert found["sd"] / spread_probe(base, single(base))["emotion"]["sd_if_alike"] > 1.4


def test_consistency_by_hand() -> None:
    table = showing((4, 17), (4, 17), (4, 15, 17), (12,), (1, 2, 5), ())
    table["emotion"] = pd.array(["anger", "sadness", "sadness", "happy", None, "happy"], dtype="string")
    table["subject"] = ["a", "a", "a", "a", "b", "b"]
    table = table.assign(sequence=[str(i) for i in range(6)], path=[str(i) for i in range(6)])
    found = consistency_probe(table)
    assert found["n"] == 5
    # alike: 0-1, 0-2, 1-2; two of them with another emotion. Of all 10 pairs, 1-2 and 3-5 agree.
    assert found["same_aus"]["n_pairs"] == 3
    assert found["same_aus"]["other_emotion"] == pytest.approx(2 / 3)
    assert found["same_aus"]["other_emotion_all_pairs"] == pytest.approx(8 / 10)
    assert found["same_aus"]["examples"] == [{"aus": "AU4+AU17", "emotions": {"anger": 1, "sadness": 1}}]
    assert found["same_emotion"] == {"n_pairs": 1, "same_person": pytest.approx(2 / 3), "other_people": 0.0}


def test_codings_that_differ_in_two_units_are_not_alike() -> None:
    table = showing((4, 17), (1, 4, 15, 17), (4, 12))
    table = table.assign(
        emotion=["anger", "sadness", "anger"], subject=list("abc"), sequence=list("012"), path=list("012")
    )
    assert consistency_probe(table)["same_aus"]["n_pairs"] == 0  # each pair shares a unit and differs in two or more


def test_codings_are_compared_by_the_units_that_both_have() -> None:
    table = showing((4, 17), (4,), (4, 17), (9,)).astype("Int8")
    table.loc[1, table.columns.difference(["AU4"])] = pd.NA
    emotions = pd.array(["anger", "sadness", "anger", "disgust"], dtype="string")
    table = table.assign(emotion=emotions, subject=list("abcd"), sequence=list("0123"), path=list("0123"))
    found = consistency_probe(table)
    assert found["same_aus"]["n_pairs"] == 3 and found["same_aus"]["other_emotion"] == pytest.approx(2 / 3)
    assert found["same_aus"]["examples"] == [] and found["same_emotion"]["other_people"] == 1.0


def test_frames_of_a_sequence_are_one_coding() -> None:
    table = pd.concat([showing((4,), (9,))] * 3, ignore_index=True)
    table = table.assign(emotion=["anger", "disgust"] * 3, subject="a", sequence=["1", "2"] * 3, path=list("abcdef"))
    assert consistency_probe(table)["n"] == 2
    assert consistency_probe(table.assign(sequence=pd.NA))["n"] == 6
    assert "reason" in consistency_probe(table.assign(emotion=pd.NA))
    assert "reason" in consistency_probe(table.drop(columns=table.filter(like="AU").columns))


def test_near_identical_pictures_of_a_split_are_counted() -> None:
    decided = answers(["happy"] * 2, ["happy"] * 2)
    shared = pd.DataFrame(
        {"path": ["0.png", "x", "y"], "split": ["test", "train", "train"], "other_path": ["x", "1.png", "z"]}
    ).assign(other_split=["train", "test", "val"])
    samples = decided[["path", "subject", "emotion"]].assign(sequence=pd.NA)
    found = probe_data(samples, np.ones((2, 3)), shared, n_boot=10)
    assert found["near_identical"] == {"pairs": 2, "across_splits": 2}
    unsplit = shared.drop(columns=["split", "other_split"])
    assert probe_data(samples, np.ones((2, 3)), unsplit)["near_identical"] == {"pairs": 2, "across_splits": 0}


def test_every_split_of_a_run_has_its_probes_and_the_page_shows_them(train: Callable[..., Path]) -> None:
    run_dir = train("trainer.max_epochs=1")
    metrics = json.loads((run_dir / "metrics.json").read_text())
    for part in ("val", "test"):
        probes = metrics[part]["probes"]
        assert set(probes) == {"rule", "identity", "spread", "labels", "near_identical"}
        assert probes["identity"]["n_features"] == 1024
        # drawn faces are labelled by this very table, where the rule has no tie to break
        assert probes["rule"]["true_aus"]["accuracy"] > 0.5
    page = (run_dir / "report.html").read_text()
    assert 'id="probes"' in page


def test_what_speaks_against_the_scores_is_said() -> None:
    good = {"accuracy": 0.4, "model": {"accuracy": 0.6}}
    scores = {"probes": {"near_identical": {"pairs": 3, "across_splits": 0}, "rule": {"predicted_aus": good}}}
    assert alarms({}) == alarms(scores) == alarms({"probes": {"rule": {"reason": "no head"}}}) == []
    scores["probes"]["near_identical"]["across_splits"] = 2
    scores["probes"]["rule"]["predicted_aus"] = {"accuracy": 0.7, "accuracy_ci": [0.5, 0.9], "model": {"accuracy": 0.6}}
    assert len(alarms(scores)) == 1  # the rule may be right more often by chance
    scores["probes"]["rule"]["predicted_aus"]["accuracy_ci"] = [0.61, 0.79]
    leak, rule = alarms(scores)
    assert "2 near-identical pictures" in leak and "(0.700)" in rule and "(0.600)" in rule
