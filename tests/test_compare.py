"""Comparing runs: paired over people, calibrated, corrected, only what can be compared, and a winner by the stated rule."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_predictions import HALF
from made_runs import answered, made_labels, made_run
from scipy.special import expit
from started import run_command

from fer.compare import as_overrides
from fer.config import CompareConfig
from fer.errors import FerError
from fer.results.comparison.compare import Comparison, Standing, compare, holm, score_mean, winner
from fer.results.comparison.findings import Findings, find
from fer.results.comparison.judged_runs import read_runs
from fer.results.comparison.report import write_sweep_page
from fer.results.measures import unweighted
from fer.results.scores import judge

TYPED = {"model.dense": 64, "optimizer": "adam"}


def found(*folders: Path, draws: int = 200, **asked: Any) -> Findings:
    return find(read_runs([str(folder) for folder in folders]), CompareConfig(n_draws=draws, **asked))


def rewrite(run: Path, **columns: object) -> None:
    """Changes columns of a run's predictions."""
    table = pd.read_csv(run / "predictions.csv")
    for name, value in columns.items():
        table[name] = value
    table.to_csv(run / "predictions.csv", index=False)


def test_holm_as_computed_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.001])).tolist() == pytest.approx([0.9, 0.002])


def test_the_score_is_that_of_metrics_json() -> None:
    for seed in range(3):
        table = answered(made_labels(60, 20, seed, "val"), 1.0, seed)
        assert score_mean(table, unweighted(60)).draws[0] == pytest.approx(
            judge(table, HALF, n_boot=5)["score"], abs=1e-12
        )
        aus_only = table.drop(columns=[c for c in table if c.startswith("emotion")])
        assert score_mean(aus_only, unweighted(60)).draws[0] == pytest.approx(judge(aus_only, HALF, n_boot=5)["score"])


def test_equal_models_are_called_different_as_often_as_the_level_says() -> None:
    # the models share what is hard, and each errs alike on all pictures of a person: pictures as units give 9 %, no pairing 2 %
    rng, n_sets = np.random.default_rng(1), 300
    p = []
    for _ in range(n_sets):
        n_people, seeds = int(rng.integers(12, 30)), rng.integers(1 << 31, size=3)
        labels = made_labels(4 * n_people, n_people, int(seeds[0]), "val")
        pair = [answered(labels, 1.5, int(seed), spread=1.0, common=1.5) for seed in seeds[1:]]
        p.append(compare(pair, n_draws=150, seed=int(seeds[0]), reference=0).standings[1].p)
    assert 0.03 <= np.mean(np.array(p) < 0.05) <= 0.07


@pytest.mark.parametrize("shown_by", [(1, 1, 20, 20, 20, 20, 20, 20), (3, 3, 20, 20, 20, 20, 20, 20)])
def test_labels_that_few_people_show_make_no_difference_of_chance_certain(shown_by: tuple[int, ...]) -> None:
    """Common units found well and rare ones badly: reckoned as if all varied alike, 97 and 10 of 100 equal pairs were called different."""
    names, n_people = [f"AU{au}" for au in (1, 2, 4, 5, 6, 7, 9, 10)], 60
    skill, p = np.where(np.array(shown_by) < 10, 1.5, 5.0), []
    for seed in range(100):
        rng, shown = np.random.default_rng(seed), np.zeros((n_people, len(names)), int)
        for column, n in enumerate(shown_by):
            shown[rng.choice(n_people, n, replace=False), column] = 1
        table = pd.DataFrame({"path": np.arange(n_people).astype(str), "split": "val"})
        table["subject"] = "s" + table["path"]
        table[names] = shown
        pair = [
            table.assign(**{f"{name}_prob": answers[:, k] for k, name in enumerate(names)})
            for answers in expit(skill * shown - 1 + rng.normal(size=(2, *shown.shape)))
        ]
        p.append(compare(pair, n_draws=100, seed=seed, reference=0).standings[1].p)
    assert np.mean(np.array(p) < 0.05) <= 0.08


def test_a_run_that_knows_the_judged_people_is_named_and_does_not_win(tmp_path: Path) -> None:
    knowing, plain = (made_run(tmp_path / name, TYPED | {"seed": k}, 2.0 - k, seed=k) for k, name in enumerate("ab"))
    about = json.loads((knowing / "run.json").read_text())
    (knowing / "run.json").write_text(json.dumps(about | {"weights": {"judged_people_known": 3}}))
    findings = found(knowing, plain)
    assert findings.standing(0).score > findings.standing(1).score and findings.winner == 1
    assert any(f"had learned from people judged here: {findings.labels[0]}" in line for line in findings.sentences())


def test_the_best_was_chosen_by_looking_so_all_pairs_count() -> None:
    labels = made_labels(60, 20, 0, "val")
    tables = [answered(labels, skill, seed) for seed, skill in enumerate((0.6, 1.6, 1.1))]
    by_looking = compare(tables, n_draws=200, seed=0)
    assert by_looking.best == 1
    named = {k: [s.p for s in compare(tables, n_draws=200, seed=0, reference=k).standings] for k in range(2)}
    pairs = np.array([named[1][0], named[1][2], named[0][2]], dtype=float)
    assert [by_looking.standings[k].p_holm for k in (0, 2)] == pytest.approx(holm(pairs)[:2].tolist())
    assert holm(pairs)[0] > holm(pairs[:2])[0]


def test_people_who_all_differ_alike_do_not_make_certain() -> None:
    table = pd.DataFrame({"subject": [f"S{k}" for k in range(20) for _ in range(2)], "path": range(40), "split": "val"})
    table["AU12"], table["AU12_prob"], table["AU12_pred"] = [0, 1] * 20, 0.5, 0
    best = table.assign(AU12_prob=[0.1, 0.9] * 20)
    low, high = compare([best, table], n_draws=50, seed=0).standings[1].difference_ci or (0, 0)
    assert low < -0.5 < high < 0


def test_a_difference_that_all_people_share_is_found_and_an_interval_holds_it() -> None:
    labels = made_labels(120, 40, 0, "val")
    comparison = compare(
        [answered(labels, 3.0, 1), answered(labels, 0.5, 2), answered(labels, 3.0, 1)], n_draws=500, seed=0
    )
    best, worse, same = comparison.standings
    assert (best.difference, best.verdict) == (None, "")
    assert worse.verdict == "worse" and worse.difference == pytest.approx(worse.score - best.score)
    assert worse.difference_ci is not None and worse.difference_ci[0] < worse.difference < worse.difference_ci[1] < 0
    assert (same.difference, same.p, same.verdict) == (0, 1, "")
    assert comparison.n_tests == 3
    against_worst = compare([answered(labels, 3.0, 1), answered(labels, 0.5, 2)], n_draws=500, seed=0, reference=1)
    assert against_worst.standings[0].verdict == "better" and against_worst.n_tests == 1


def test_labels_that_one_person_each_shows_compare_nothing() -> None:
    table = pd.DataFrame({"path": list("abcd"), "subject": list("pqrs"), "split": "val"})
    table[["AU1", "AU2"]], table["AU1_prob"], table["AU2_prob"] = np.eye(4, 2, dtype=int), [0.9, 0.2, 0.1, 0.1], 0.5
    with pytest.raises(FerError, match="each label of a head is shown by one person alone"):
        compare([table, table.assign(AU1_prob=0.3)], n_draws=20, seed=0)


def test_few_people_can_not_show_much_even_if_all_of_them_agree() -> None:
    emotions = ["negative", "positive"]

    def table(n_people: int, *, right: bool) -> pd.DataFrame:
        rows = [(f"p{k}", f"{k}{e}", e) for k in range(n_people) for e in emotions]
        made = pd.DataFrame(rows, columns=["subject", "path", "emotion"]).assign(split="val")
        answer = made["emotion"] if right else made["emotion"].map(dict(zip(emotions, emotions[::-1], strict=True)))
        made["emotion_pred"] = answer
        return made.assign(**{f"emotion_prob_{e}": (answer == e) * 0.8 + 0.1 for e in emotions})

    for n_people, p in ((3, 0.25), (10, 2**-9)):
        pair = [table(n_people, right=right) for right in (True, False)]
        assert compare(pair, n_draws=200, seed=0).standings[1].p == pytest.approx(p)
        # people without a label count for nothing
        silent = [one.assign(subject="q", path=one["path"] + "q", emotion=pd.NA) for one in pair]
        longer = [pd.concat(both, ignore_index=True) for both in zip(pair, silent, strict=True)]
        assert compare(longer, n_draws=200, seed=0).n_subjects == n_people
        # nor do those with labels of the other head alone, of whom both models say the same
        coded = silent[0].assign(AU1=[0, 1] * (len(silent[0]) // 2), AU1_prob=0.5, AU1_pred=0)
        coded = pd.concat([coded.assign(subject=f"q{k}", path=coded["path"] + str(k)) for k in range(30)])
        uncoded = [one.assign(AU1=pd.NA, AU1_prob=0.5, AU1_pred=0) for one in pair]
        both_heads = [pd.concat([one, coded], ignore_index=True) for one in uncoded]
        assert compare(both_heads, n_draws=200, seed=0).standings[1].p >= p / 2


@pytest.mark.parametrize(
    ("scores", "seconds", "dead", "knowing", "expected"),
    [
        ([0.7, 0.6, 0.5], [9, 9, 9], [], [], 0),
        ([0.7, 0.68, 0.5], [100, 40, 1], [], [], 1),  # within one standard error in less than half the time
        ([0.7, 0.68, 0.5], [100, 60, 1], [], [], 0),
        ([0.7, 0.68, 0.69], [100, 40, 30], [], [], 2),
        ([0.7, 0.68, 0.5], [None, 40, 1], [], [], 0),
        ([0.7, 0.68, 0.5], [100, 40, 1], [1], [], 0),
        ([0.7, 0.6, 0.5], [9, 9, 9], [0], [], 1),
        ([0.9, 0.7, 0.68], [9, 100, 40], [0], [], 2),  # the rule holds among those that are alive
        ([0.7, 0.6, 0.5], [9, 9, 9], [], [0], 1),
        (
            [0.7, 0.6, 0.5],
            [9, 9, 9],
            [1],
            [0, 2],
            0,
        ),  # of those that know the judged people the best, if all others are dead
    ],
)
def test_the_winner_is_found_by_the_stated_rule(
    scores: list[float], seconds: list, dead: list[int], knowing: list[int], expected: int
) -> None:
    standings = [Standing(score, None, None, None, None, None) for score in scores]
    errors = np.full((len(scores), len(scores)), 0.05)
    comparison = Comparison(standings, 0, 0, 10, 5, 3, errors, reach=2 * np.ones_like(errors))
    indices = range(len(scores))
    assert winner(comparison, seconds, [k in dead for k in indices], [k in knowing for k in indices]) == expected


def test_runs_are_named_by_what_differs(tmp_path: Path) -> None:
    made_run(tmp_path / "s" / "a", TYPED | {"data.root": "/x"}, 1.0)
    made_run(tmp_path / "s" / "b", TYPED | {"data.root": "/x", "model.dense": 128}, 1.0, seed=1)
    made_run(tmp_path / "s" / "c", {"data.root": "/x", "optimizer": "sgd"}, 1.0, seed=2)  # dense as in config.yaml
    assert found(tmp_path / "s").labels == [
        "dense=64 optimizer=adam",
        "dense=128 optimizer=adam",
        "dense=256 optimizer=sgd",
    ]
    made_run(tmp_path / "alone", TYPED | {"data.root": "/x"}, 1.0, seed=3, name="again")
    assert found(tmp_path / "s" / "a", tmp_path / "alone").labels == ["made", "again"]
    same = found(tmp_path / "s" / "a", tmp_path / "alone", reference="again")
    assert same.comparison.reference == 1 and same.standing(1).difference is None


def test_dead_models_are_named_and_do_not_win(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / str(k), TYPED, 2.0 - k, seed=k) for k in range(2)]
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    metrics["val"]["emotion"]["dead"] = True
    (runs[0] / "metrics.json").write_text(json.dumps(metrics))
    one = found(*runs)
    assert one.comparison.best == 0 and one.winner == 1 and "1 dead: " in " ".join(one.sentences())
    (runs[1] / "metrics.json").write_text(json.dumps(metrics))
    none = found(*runs)
    assert none.sentences()[1].startswith("No winner: every run is dead") and not none.table()["winner"].any()


def test_runs_of_other_people_are_refused_unless_told(tmp_path: Path) -> None:
    first = made_run(tmp_path / "a", TYPED, 1.0)
    fewer = made_run(tmp_path / "b", TYPED, 1.0, n=60, seed=1)
    table = pd.read_csv(fewer / "predictions.csv")
    table[table["subject"] >= "val008"].to_csv(fewer / "predictions.csv", index=False)
    with pytest.raises(FerError, match=r"different pictures \(36 and 60, 36 in common\): .*different_splits=true"):
        found(first, fewer)
    told = found(first, fewer, different_splits=True)
    assert (told.comparison.n_images, told.comparison.n_subjects) == (36, 12)
    rewrite(fewer, subject="someone")
    with pytest.raises(FerError, match="no picture of split=val in common"):
        found(first, fewer, different_splits=True)


def test_the_same_people_after_other_training_people_are_refused_unless_told(tmp_path: Path) -> None:
    first, second = made_run(tmp_path / "a", TYPED, 1.0), made_run(tmp_path / "b", TYPED, 1.0, seed=1)
    about = json.loads((second / "run.json").read_text()) | {"data": {"split_hash": "other"}}
    (second / "run.json").write_text(json.dumps(about))
    with pytest.raises(FerError, match="learned from different people"):
        found(first, second)
    assert found(first, second, different_splits=True).comparison.n_images == 60


def test_what_can_not_be_compared_is_refused(tmp_path: Path) -> None:
    first, second = made_run(tmp_path / "a", TYPED, 1.0), made_run(tmp_path / "b", TYPED, 1.0, seed=1)
    with pytest.raises(FerError, match="not judged on split=test, but on val"):
        found(first, second, split="test")
    with pytest.raises(FerError, match="takes two to compare"):
        found(first, first)
    with pytest.raises(FerError, match="reference=x: no run is called so"):
        found(first, second, reference="x")
    with pytest.raises(FerError, match="reference=made: several are called so"):
        found(first, second, reference="made")
    assert found(first, second, reference=str(second)).comparison.reference == 1
    rewrite(second, emotion="positive")
    with pytest.raises(FerError, match="other labels of the same pictures"):
        found(first, second)
    table = pd.read_csv(second / "predictions.csv").drop(columns=["AU1_prob"])
    table.to_csv(second / "predictions.csv", index=False)
    for runs in ((first, second), (second, first)):  # the one with fewer AUs second, and first
        with pytest.raises(FerError, match=r"^(a and b|b and a) answer for other AUs"):
            found(*runs)
    split = pd.read_csv(first / "split.csv")
    split.assign(split="train").to_csv(first / "split.csv", index=False)
    with pytest.raises(FerError, match="has learned from val000"):
        found(first, second)


def test_a_name_with_the_signs_of_a_formula_is_a_name(tmp_path: Path) -> None:
    for k, name in enumerate(("/w/$a^^b$.pt", "/w/$c$.pt")):
        made_run(tmp_path / str(k), TYPED | {"model.weights": name, "optimizer.lr": 0.1**k}, 1.0, seed=k)
    assert "/w/$a^^b$.pt" in write_sweep_page(tmp_path).read_text(encoding="utf-8")


def test_runs_that_change_a_recipe_in_one_place_are_named_by_it(tmp_path: Path) -> None:
    recipe = {"loss": "bce", "seed": 1, "model.dropout": 0.1, "optimizer.lr": 0.001}
    changes = [
        {},
        {"loss": "focal"},
        {"seed": 2},
        {"model.dropout": 0.5},
        {"loss": "focal", "seed": 3, "optimizer.lr": 0.01},
    ]
    for k, change in enumerate(changes):
        made_run(tmp_path / str(k), recipe | change, 1.0, seed=k)
    assert found(tmp_path).labels == ["as most", "loss=focal", "seed=2", "dropout=0.5", "loss=focal seed=3 lr=0.01"]
    assert found(tmp_path, reference="as most").comparison.reference == 0


def test_one_value_written_in_two_ways_is_no_difference(tmp_path: Path) -> None:
    for k, lr in enumerate(("1e-3", "0.001", "0.0003")):
        typed = {"optimizer.lr": lr, "report.pictures": k == 0, "trainer.precision": ("32", "32", "bf16")[k]}
        made_run(tmp_path / str(k), typed, 1.0, seed=k)
    settings = found(tmp_path).settings
    assert settings["optimizer.lr"].tolist() == ["0.001", "0.001", "0.0003"]
    assert list(settings.columns) == ["optimizer.lr", "trainer.precision"]


def test_a_grid_that_lacks_a_run_is_no_recipe(tmp_path: Path) -> None:
    grid = list(itertools.product(("bce", "focal"), (1, 2), (0.1, 0.5), (0.01, 0.001)))
    for k, values in enumerate(grid[:-1]):
        typed = dict(zip(("loss", "seed", "model.dropout", "optimizer.lr"), values, strict=True))
        made_run(tmp_path / f"{k:02d}", typed, 1.0, seed=k)
    assert found(tmp_path).labels[0] == "loss=bce seed=1 dropout=0.1 lr=0.01"


def test_only_training_counts_as_the_time_of_a_run(tmp_path: Path) -> None:
    # an evaluation whose pixels had still to be made is no slower model
    path = made_run(tmp_path / "a", TYPED, 1.0)
    about = json.loads((path / "run.json").read_text())
    assert read_runs([str(path)])[0].seconds == 10
    (path / "run.json").write_text(json.dumps(about | {"timings": {"total_s": 60}}))
    assert read_runs([str(path)])[0].seconds is None


def test_the_page_of_a_sweep_does_not_outlive_what_it_says(tmp_path: Path) -> None:
    for dense in (64, 128):
        made_run(tmp_path / f"d{dense}", {"model.dense": dense}, 1.0, seed=dense)
    page = write_sweep_page(tmp_path)
    assert "2 runs" in page.read_text()
    third = made_run(tmp_path / "d32", {"model.dense": 32}, 1.0, seed=2)
    rewrite(third, emotion="positive")  # judged by other labels: the three can't be compared
    with pytest.raises(FerError, match="other labels"):
        write_sweep_page(tmp_path)
    assert not page.exists()


def test_the_test_people_are_looked_at_only_when_asked_for(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / str(k), TYPED, 1.0, seed=k, splits=("val", "test")) for k in range(2)]
    assert found(*runs).split == "val"
    assert found(*runs, split="test").split == "test"
    only_test = [made_run(tmp_path / f"t{k}", TYPED, 1.0, seed=k, splits=("test",)) for k in range(2)]
    with pytest.raises(FerError, match="was not judged on split=val, but on test"):
        found(*only_test)


def test_cross_validations_are_read_with_their_folds(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / str(k), TYPED, 1.0, seed=k, splits=("all",)) for k in range(2)]
    for run in runs:
        table = pd.read_csv(run / "predictions.csv")
        repeated = pd.concat([table.assign(fold=0), table.assign(fold=1)])
        repeated.to_csv(run / "predictions.csv", index=False)
        repeated[["subject", "split", "fold"]].drop_duplicates().to_csv(run / "split.csv", index=False)
        (run / "folds" / "0").mkdir(parents=True)
        (run / "folds" / "0" / "run.json").write_text('{"finished": true}')
    both = found(tmp_path)
    assert both.split == "all" and len(both.runs) == 2 and both.comparison.n_images == 60
    # the same people, cut into other folds, were answered by networks that learned from others
    about = json.loads((runs[1] / "run.json").read_text())
    (runs[1] / "run.json").write_text(json.dumps(about | {"data": {"split_hash": "other folds"}}))
    with pytest.raises(FerError, match="learned from different people"):
        found(tmp_path)
    assert found(tmp_path, different_splits=True).comparison.n_images == 60


def test_data_that_lies_elsewhere_is_the_same_data(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / str(k), TYPED, 1.0, seed=k) for k in range(2)]
    (runs[0] / "config.yaml").write_text("data:\n  root: /data\n")
    (runs[1] / "config.yaml").write_text("data:\n  root: /mnt/other/\n")
    table = pd.read_csv(runs[1] / "predictions.csv")
    table["path"] = table["path"].str.replace("/data/", "/mnt/other/")
    table.sample(frac=1, random_state=0).to_csv(runs[1] / "predictions.csv", index=False)  # in another order, too
    assert found(*runs).comparison.n_images == 60


def test_words_without_an_equals_sign_are_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=3").mkdir()
    assert as_overrides(["a/b,c", "split=val", "-h", "it's"]) == ["split=val", "-h", r"runs=['a/b,c','it\'s']"]
    assert as_overrides(["lr=3", "lr=4"]) == ["lr=4", "runs=['lr=3']"]
    assert as_overrides(["runs=[a]", "reference=a=1,b"]) == ["runs=[a]", "reference='a=1,b'"]
    assert as_overrides(["reference='a'"]) == ["reference='a'"]


def compare_command(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command("fer.compare", *words, cwd=cwd)


def test_the_command_ranks_a_sweep_and_leaves_table_and_page(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "grid,1"
    skills = {(64, "adam"): 1.0, (64, "sgd"): 0.2, (128, "adam"): 3.0, (128, "sgd"): 0.5}
    for seed, ((dense, optimizer), skill) in enumerate(skills.items()):
        made_run(sweep / f"d{dense},{optimizer}", {"model.dense": dense, "optimizer": optimizer}, skill, seed=seed)
    (sweep / "failed").mkdir()
    (sweep / "failed" / "run.json").write_text('{"finished": false}')
    done = compare_command(tmp_path, "sweeps/grid,1", "n_draws=200")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "4 runs, judged on the same 60 pictures of 20 people (split=val)" in done.stdout
    assert "Winner: dense=128 optimizer=adam" in done.stdout and "left out, it did not end" in done.stderr
    folder = next((tmp_path / "outputs" / "compare" / "grid,1").iterdir())
    table = pd.read_csv(folder / "compare.csv")
    assert (
        table["score"].is_monotonic_decreasing
        and len(table) == 4
        and table["winner"].tolist() == [True, False, False, False]
    )
    for _, row in table.iterrows():
        own = json.loads((Path(row["folder"]) / "metrics.json").read_text())["val"]
        assert row["score"] == pytest.approx(own["score"]) and row["n_images"] == own["n_images"]
    assert table.loc[table["optimizer"] == "sgd", "verdict"].tolist() == ["worse", "worse"]
    assert (folder / "compare.md").read_text().count("\n| ") == 6
    page = (folder / "compare.html").read_text(encoding="utf-8")
    for row in table.itertuples():
        assert f"<b>{row.score:.3f}</b>" in page
    assert (
        not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)
        and "<script" not in page
        and "<img" not in page
    )
    assert page.count("<svg") == 2 + 1 + 3  # two settings, parallel coordinates, three curves
    assert json.loads((folder / "run.json").read_text())["finished"] is True
    done = compare_command(tmp_path, "sweeps/grid,1", "n_draws=200", "reference=d64,adam", "name=held")
    assert done.returncode == 0 and "2 of 3 are worse and 1 better than the reference" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "runs is missing: python -m fer.compare RUN_OR_SWEEP..."),
        (("nowhere",), "nowhere: there is no such folder"),
        (("empty",), "empty holds no run with scores"),
        (("empty", "runs=[a]"), "give the runs as words or as runs=[...], not both"),
        (("empty", "splitt=val"), "splitt: no such key; did you mean split?"),
        (("empty", "split=train"), "split must be one of val, test, all; got train"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = compare_command(tmp_path, *words)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and expected in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
