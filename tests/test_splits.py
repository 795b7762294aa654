"""The subject-grouped split: nobody straddles, shares hold, rare labels reach every part, and it repeats exactly."""

import numpy as np
import pandas as pd
import pytest

from fer.data.samples import au_columns
from fer.data.splits import assert_disjoint, quantities, split_folds, split_hash, split_subjects
from fer.errors import FerError

AU_RATES = {1: 0.3, 4: 0.32, 6: 0.2, 11: 0.055, 12: 0.2, 14: 0.05, 17: 0.33, 20: 0.13, 25: 0.5, 38: 0.02, 43: 0.015}
EMOTION_RATES = {
    "anger": 0.08,
    "contempt": 0.03,
    "disgust": 0.1,
    "fear": 0.04,
    "happy": 0.12,
    "sadness": 0.05,
    "surprise": 0.14,
}


def random_table(seed: int, n_subjects: int) -> pd.DataFrame:
    """Unbalanced like CK+: 1 to 9 images a person, rare AUs and emotions, many images without emotion."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"S{i:04d}" for i in range(n_subjects)], rng.integers(1, 10, n_subjects))
    n = len(subjects)
    names = [*EMOTION_RATES, None]
    rates = [*EMOTION_RATES.values(), 1 - sum(EMOTION_RATES.values())]
    aus = {f"AU{unit}": pd.array(rng.random(n) < rate).astype("Int8") for unit, rate in AU_RATES.items()}
    emotions = pd.array(rng.choice(np.array(names, dtype=object), n, p=rates), dtype="string")
    return pd.DataFrame({"path": [f"/{i}.png" for i in range(n)], "subject": subjects, "emotion": emotions, **aus})


def people_with_label(table: pd.DataFrame) -> pd.DataFrame:
    """Per person (rows), whether they show each emotion and AU."""
    return quantities(table).drop(columns=["images", "coded"]) > 0


def lacking(table: pd.DataFrame, split: pd.DataFrame, n_needed: int) -> list[tuple[str, str]]:
    """(part, label) without anybody, among the labels that at least `n_needed` people have."""
    has = people_with_label(table)
    has = has.loc[:, has.sum() >= n_needed]
    inside = has.groupby(split.set_index("subject")["split"]).sum()
    return [(part, label) for part in inside.index for label in inside.columns if inside.at[part, label] == 0]


@pytest.mark.parametrize("seed", range(8))
def test_everybody_is_in_one_split_the_shares_hold_and_no_label_is_lacking(seed: int) -> None:
    table = random_table(seed, n_subjects=60 + 9 * seed)
    split = split_subjects(table, 0.15, 0.2, seed)
    assert split["subject"].tolist() == sorted(table["subject"].unique())
    assert_disjoint(table.merge(split, on="subject"))
    people = split["split"].value_counts(normalize=True)
    images = table.merge(split, on="subject")["split"].value_counts(normalize=True)
    for name, share in {"train": 0.65, "val": 0.15, "test": 0.2}.items():
        assert people[name] == pytest.approx(share, abs=0.025)
        assert images[name] == pytest.approx(share, abs=0.03)
    assert lacking(table, split, n_needed=3) == []


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_balanced_far_better_than_by_chance(seed: int) -> None:
    table = random_table(seed, n_subjects=123)
    shares = pd.Series({"train": 0.7, "val": 0.15, "test": 0.15})

    def deviation(parts: pd.Series) -> float:
        held = quantities(table).groupby(parts).sum()
        return float(held.div(held.sum()).sub(shares, axis=0).abs().to_numpy().mean())

    split = split_subjects(table, 0.15, 0.15, seed).set_index("subject")["split"]
    rng = np.random.default_rng(seed)
    by_chance = [deviation(pd.Series(rng.permutation(split), index=split.index)) for _ in range(20)]
    assert deviation(split) < 0.5 * np.median(by_chance)


def test_a_label_of_three_people_is_in_all_three_parts() -> None:
    rare = ["S0003", "S0017", "S0031"]
    table = random_table(0, n_subjects=40).assign(AU46=0)
    table.loc[table["subject"].isin(rare), "AU46"] = 1
    for seed in range(10):
        split = split_subjects(table, 0.1, 0.1, seed).set_index("subject")["split"]
        assert sorted(split[rare]) == ["test", "train", "val"]


def test_the_order_of_the_rows_has_no_influence_and_the_seed_has() -> None:
    table = random_table(1, n_subjects=50)
    split = split_subjects(table, 0.15, 0.15, seed=3)
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(split, split_subjects(shuffled, 0.15, 0.15, seed=3))
    pd.testing.assert_frame_equal(split_folds(table, 5, 2, 0.1, seed=3), split_folds(shuffled, 5, 2, 0.1, seed=3))
    assert split_hash(split) != split_hash(split_subjects(table, 0.15, 0.15, seed=4))


def test_a_small_split_is_pinned() -> None:
    emotions = ["happy", "happy", "fear", "fear", "happy", "fear", None, "happy", "fear"]
    table = pd.DataFrame(
        {"path": list("abcdefghi"), "subject": list("ABCDEFGHI"), "emotion": pd.array(emotions, dtype="string")}
    )
    split = split_subjects(table, 0.3, 0.3, seed=0)
    assert split.groupby("split")["subject"].agg("".join).to_dict() == {"test": "AFG", "train": "CEHI", "val": "BD"}


def test_the_number_of_images_does_not_change_the_balance() -> None:
    table = random_table(2, n_subjects=30)
    many = pd.concat([table] * 50, ignore_index=True)
    pd.testing.assert_frame_equal(split_subjects(table, 0.2, 0.2, 0), split_subjects(many, 0.2, 0.2, 0))


def test_missing_labels_are_no_obstacle() -> None:
    table = random_table(3, n_subjects=30)
    table.loc[:40, au_columns(table)] = pd.NA
    assert split_subjects(table, 0.2, 0.2, 0)["split"].nunique() == 3
    bare = table[["path", "subject"]].assign(emotion=pd.array([None] * len(table), dtype="string"))
    assert split_subjects(bare, 0.2, 0.2, 0)["split"].nunique() == 3


def test_without_test_people_there_are_train_and_val() -> None:
    split = split_subjects(random_table(0, n_subjects=20), 0.2, 0, seed=0)
    assert split["split"].value_counts().to_dict() == {"train": 16, "val": 4}


def test_three_people_get_a_split_each_whatever_their_shares() -> None:
    split = split_subjects(random_table(0, n_subjects=3), 0.02, 0.02, seed=0)
    assert sorted(split["split"]) == ["test", "train", "val"]


@pytest.mark.parametrize("n_folds", [2, 5, 10])
def test_the_test_folds_hold_everybody_once(n_folds: int) -> None:
    table = random_table(5, n_subjects=67)
    splits = [split_folds(table, n_folds, fold, 0.15, seed=1) for fold in range(n_folds)]
    tested = pd.concat([split[split["split"] == "test"] for split in splits])["subject"]
    assert sorted(tested) == sorted(table["subject"].unique())
    for split in splits:
        assert split["subject"].tolist() == sorted(table["subject"].unique())
        share = split["split"].value_counts(normalize=True)
        assert share["test"] == pytest.approx(1 / n_folds, abs=0.03)
        assert share["val"] == pytest.approx(0.15, abs=0.03)
        assert lacking(table, split[split["split"] == "test"], n_needed=n_folds) == []


def test_a_seed_fixes_the_folds_and_each_fold_draws_its_own_validation() -> None:
    table = random_table(5, n_subjects=40)
    first, second = (split_folds(table, 5, fold, 0.2, seed=1).set_index("subject")["split"] for fold in (0, 1))
    common = first.index[(first != "test") & (second != "test")]
    assert (first[common] != second[common]).any()
    again = split_folds(table, 5, 0, 0.2, seed=1).set_index("subject")["split"]
    pd.testing.assert_series_equal(first, again)


def test_too_few_people_are_counted_in_the_error() -> None:
    with pytest.raises(FerError, match=r"1 subject, but train, val and test .* at least 3"):
        split_subjects(random_table(0, n_subjects=1), 0.15, 0.15, 0)
    with pytest.raises(FerError, match=r"1 subject, but train and val .* at least 2"):
        split_subjects(random_table(0, n_subjects=1), 0.15, 0, 0)
    with pytest.raises(FerError, match=r"9 subjects, but data.folds=10 .* at least 10"):
        split_folds(random_table(0, n_subjects=9), 10, 0, 0.15, 0)


@pytest.mark.parametrize(("val", "test"), [(0, 0.2), (-0.1, 0.2), (0.5, 0.5), (0.2, -0.1)])
def test_shares_that_leave_a_split_empty_are_refused(val: float, test: float) -> None:
    with pytest.raises(FerError, match=r"data\.val_fraction"):
        split_subjects(random_table(0, n_subjects=9), val, test, 0)


@pytest.mark.parametrize(("n_folds", "fold", "val"), [(1, 0, 0.1), (5, 5, 0.1), (5, -1, 0.1), (2, 0, 0.5)])
def test_folds_that_do_not_exist_or_leave_nobody_to_train_on_are_refused(n_folds: int, fold: int, val: float) -> None:
    with pytest.raises(FerError):
        split_folds(random_table(0, n_subjects=9), n_folds, fold, val, 0)


def test_a_person_in_two_splits_stops_the_program() -> None:
    table = pd.DataFrame({"subject": ["A", "A", "B"], "split": ["train", "train", "val"]})
    assert_disjoint(table)
    with pytest.raises(AssertionError, match="A"):
        assert_disjoint(table.assign(split=["train", "test", "val"]))


def test_the_hash_is_of_the_assignment_not_of_the_order() -> None:
    split = pd.DataFrame({"subject": ["A", "B"], "split": ["train", "val"]})
    assert split_hash(split) == split_hash(split[::-1])
    assert split_hash(split) != split_hash(split.assign(split=["val", "train"]))
    assert len(split_hash(split)) == 64
