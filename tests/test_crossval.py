"""Cross-validation: everyone is a test person once, what is pooled is what the folds said, and a stopped one goes on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fer import evaluate, load, train
from fer.cli.command import Call
from fer.config import TrainConfig, as_dict, from_dict
from fer.crossval import read_table, run, settle, units
from fer.data.cache import cache_folder
from fer.data.datamodule import FaceData
from fer.data.faces import view_of
from fer.errors import FerError
from fer.model.checkpoints import load_checkpoint
from fer.model.finished import load_module
from fer.model.weight_files import save_backbone
from fer.results.bootstrap import interval
from fer.results.gallery import choose
from fer.results.pooling import pool
from fer.results.predictions import read_predictions
from fer.results.scores import judge
from fer.results.thumbnails import thumbnail
from fer.runs.folder import RunFolder
from fer.steps.picturing import gallery_of_folds
from tests.conftest import SMALL, composed

Start = Callable[..., Path]


@pytest.fixture(scope="module")
def crossval(tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    def start(*overrides: str, resume: Path | None = None) -> Path:
        where = resume or tmp_path_factory.mktemp("crossval") / "run"
        typed = (
            "data=ckplus",
            f"data.root={tree}",
            *SMALL,
            "trainer.max_epochs=1",
            f"cache_dir={cache}",
            f"run_dir={where}",
        )
        words = (f"resume={resume}", *overrides) if resume else (*typed, *overrides)
        run(composed("crossval", *words), Call("python -m fer.crossval ...", words, None))
        return where

    return start


@pytest.fixture(scope="module")
def finished(crossval: Start) -> Path:
    return crossval("data.folds=3", "report.pictures=true")


def test_everyone_is_judged_once_by_a_network_that_never_saw_them(finished: Path) -> None:
    pooled = pd.read_csv(finished / "predictions.csv", dtype={"subject": str})
    assert not pooled["path"].duplicated().any()
    for fold, rows in pooled.groupby("fold"):
        split = pd.read_csv(finished / "folds" / str(fold) / "split.csv", dtype=str).set_index("subject")["split"]
        assert set(split[rows["subject"].unique()]) == {"test"}
    everyone = pd.read_csv(finished / "folds" / "0" / "split.csv", dtype=str)["subject"]
    assert set(pooled["subject"]) == set(everyone)


def test_the_cuts_into_folds_have_a_hash(finished: Path) -> None:
    cuts = [json.loads((finished / "folds" / str(k) / "run.json").read_text())["data"]["split_hash"] for k in range(3)]
    found = json.loads((finished / "run.json").read_text())["data"]["split_hash"]
    assert len(set(cuts)) == 3 and found == hashlib.sha256("".join(cuts).encode()).hexdigest()


def test_each_fold_s_log_is_its_own(finished: Path) -> None:
    for fold in range(3):
        said = [
            line
            for line in (finished / "folds" / str(fold) / "train.log").read_text().splitlines()
            if "run folder" in line
        ]
        assert len(said) == 1 and said[0].endswith(f"folds/{fold}")
    assert (finished / "crossval.log").read_text().count("run folder") == 4


def test_pooled_decisions_are_those_of_the_folds(finished: Path) -> None:
    pooled = pd.read_csv(finished / "predictions.csv", dtype={"subject": str})
    for fold in range(3):
        own = pd.read_csv(finished / "folds" / str(fold) / "predictions.csv", dtype={"subject": str})
        own = own[own["split"] == "test"].set_index("path")
        rows = pooled[pooled["fold"] == fold].set_index("path")
        decided = [column for column in own if column.endswith("_pred")]
        pd.testing.assert_frame_equal(rows[decided], own.loc[rows.index, decided])


def test_scores_are_of_the_pooled_decisions_and_the_mean_of_the_folds(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())["all"]
    pooled = pd.read_csv(finished / "predictions.csv")
    coded = pooled[pooled["AU12"].notna()]
    expected = f1_score(coded["AU12"].astype(int), coded["AU12_pred"])
    assert metrics["au"]["per_au"]["AU12"]["f1"] == pytest.approx(expected)
    each = [json.loads((finished / "folds" / str(k) / "metrics.json").read_text())["test"]["score"] for k in range(3)]
    assert metrics["folds"]["mean"]["score"] == pytest.approx(np.mean(each))
    assert metrics["folds"]["sd"]["score"] == pytest.approx(np.std(each, ddof=1))
    page = (finished / "report.html").read_text()
    about = json.loads((finished / "run.json").read_text())
    assert f"ckplus, {about['data']['n_images']} images, {about['data']['n_subjects']} people" in page


def test_pictures_of_the_report_are_those_that_the_folds_judged(finished: Path) -> None:
    folds = [finished / "folds" / str(fold) for fold in range(3)]
    pooled = read_predictions(finished / "predictions.csv")
    pooled = pooled.drop(index=0).reset_index(drop=True)  # as if some repeat could not read it
    shown = gallery_of_folds(folds, pooled)
    assert shown is not None
    assert gallery_of_folds(folds, pooled.assign(path="gone.png")) is None
    cfg = from_dict(TrainConfig, RunFolder.open(folds[0]).config(), "config.yaml")
    data = FaceData(cfg.data, cfg.augment, cfg.seed, cache_folder(cfg.cache_dir))
    data.setup()
    place = data.prepared.table.set_index("path")["pixel"]
    seen_folds = set()
    for label, kinds in choose(pooled).items():
        for kind, examples in kinds.items():
            for example, picture in zip(examples, shown[label][kind], strict=True):
                pixels = data.prepared.pixels.array[place[pooled["path"].iloc[example.row]], ..., :1]
                assert picture["face"] == thumbnail(view_of(pixels, cfg.data.image_size))
                assert picture["subject"] == pooled["subject"].iloc[example.row]
                seen_folds.add(pooled["fold"].iloc[example.row])
    assert (
        len(seen_folds) > 1 and next(iter(shown["AU12"].values()))[0]["face"] in (finished / "report.html").read_text()
    )


def test_all_folds_have_the_same_units(finished: Path) -> None:
    columns = [tuple(pd.read_csv(finished / "folds" / str(k) / "predictions.csv").columns) for k in range(3)]
    assert len(set(columns)) == 1


def test_stopped_one_goes_on_with_the_folds_that_are_left(
    crossval: Start, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    whole = train.run

    def stopped_in_second(cfg: object, call: Call) -> float | None:
        calls.append(cfg.data.fold)  # type: ignore[attr-defined]
        if calls == [0, 1]:
            raise SystemExit(130)
        return whole(cfg, call)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "run", stopped_in_second)
    where = tmp_path / "run"
    with pytest.raises(SystemExit):
        crossval("data.folds=3", f"run_dir={where}", "report.pictures=true")
    assert not (where / "metrics.json").exists()
    with pytest.raises(FerError, match="is not empty"):  # or folds of two recipes would be pooled
        crossval("data.folds=3", "seed=7", f"run_dir={where}")
    with pytest.raises(FerError, match=r"seed=7 would change them \(may change: trainer\.progress, "):
        crossval("seed=7", resume=where)
    crossval("report.pictures=false", resume=where)
    assert calls == [0, 1, 1, 2]
    shown = [
        fold for fold in range(3) if "data:image/webp" in (where / "folds" / str(fold) / "report.html").read_text()
    ]
    assert shown == [0]
    again, first = (json.loads((folder / "metrics.json").read_text()) for folder in (where, finished))
    assert again == first
    with pytest.raises(FerError, match="is finished"):
        crossval(resume=where)


def test_folds_of_other_data_are_not_gone_on_with(
    tree: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))
    rows = [f"{picture},p{k % 6},{k % 2}" for k, picture in enumerate(pictures[:12])]
    table, where = tmp_path / "table.csv", tmp_path / "run"
    table.write_text("\n".join(["path,subject,AU4", *rows]))
    typed = ("data=csv", f"data.table={table}", *SMALL, "data.folds=3", f"cache_dir={cache}", f"run_dir={where}")

    def stopped(cfg: object, call: Call) -> float | None:
        raise SystemExit(130)

    monkeypatch.setattr(train, "run", stopped)
    words = (f"resume={where}",)
    for start in ((typed, typed), (words, words)):
        with pytest.raises(SystemExit):
            run(composed("crossval", *start[0]), Call("", start[1], None))
    table.write_text("\n".join(["path,subject,AU4", *rows[:-1]]))
    with pytest.raises(FerError, match="the data is not what this cross-validation was begun with"):
        run(composed("crossval", *words), Call("", words, None))


def test_drawn_faces_of_a_cross_validation_stay_where_they_are(tmp_path: Path) -> None:
    old = composed("crossval", "data=synthetic", "cache_dir=here")
    RunFolder.create(tmp_path / "run", as_dict(old), "", numbered=False).let_go(None)
    words = (f"resume={tmp_path / 'run'}", "cache_dir=elsewhere")
    with pytest.raises(FerError, match="cache_dir must stay here"):
        run(composed("crossval", *words), Call("", words, None))


def test_each_command_goes_on_with_its_own(finished: Path) -> None:
    fold, words = finished / "folds" / "0", (f"resume={finished}",)
    with pytest.raises(FerError, match=r"is a run of fer.train: python -m fer.train resume="):
        run(composed("crossval", f"resume={fold}"), Call("", (f"resume={fold}",), None))
    with pytest.raises(FerError, match=r"is a cross-validation: python -m fer.crossval resume="):
        train.run(composed("train", *words), Call("", words, None))


def test_repeats_cut_the_people_anew(crossval: Start) -> None:
    where = crossval("data.folds=2", "repeats=2")
    pooled = pd.read_csv(where / "predictions.csv", dtype={"subject": str})
    assert (pooled.groupby("path").size() == 2).all()
    metrics = json.loads((where / "metrics.json").read_text())["all"]
    assert metrics["n_images"] == pooled["path"].nunique() and metrics["folds"]["n"] == 4
    # of so few people the two cuts may be the same one
    seeds = [OmegaConf.load(path)["data"]["split_seed"] for path in sorted(where.glob("folds/*/config.yaml"))]
    assert len(seeds) == 4 and len(set(seeds)) == 2
    once = pooled.drop_duplicates("path")
    smile = metrics["au"]["per_au"]["AU12"]
    assert (smile["n"], smile["n_positive"]) == (once["AU12"].notna().sum(), (once["AU12"] == 1).sum())


def test_a_unit_is_left_out_if_any_fold_of_any_repeat_lacks_it() -> None:
    n, rng, asked = 10, np.random.default_rng(0), (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17)
    shown = {f"AU{au}": np.isin(np.arange(n), rng.choice(n, 2, replace=False)).astype(int) for au in asked}
    people = {"path": [f"{k}.png" for k in range(n)], "subject": [f"p{k}" for k in range(n)]}
    table = pd.DataFrame({**people, "sequence": pd.NA, "emotion": pd.NA, **shown})

    def kept(seed: int, repeats: int) -> set[int]:
        typed = ("data.folds=3", "data.min_au_count=1", f"data.split_seed={seed}", f"repeats={repeats}")
        return set(units(composed("crossval", "data=ckplus", "data.root=x", *typed), table))

    once = [kept(seed, 1) for seed in range(3)]
    assert len(set(map(frozenset, once))) == 3  # each cut lacks other units
    assert kept(0, 2) == once[0] & once[1] and kept(0, 3) == once[0] & once[1] & once[2]


def test_weights_that_cannot_be_had_are_asked_for_once(
    crossval: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def nowhere(backbone: str, name: str) -> None:
        asked.append(name)
        raise FerError("no network")

    monkeypatch.setattr("fer.model.weights._named", nowhere)
    where = crossval("data.folds=2", "model.weights=auto")
    assert asked == ["DEFAULT"] and caplog.text.count("RANDOM WEIGHTS: ImageNet weights can't be had") == 1
    for folder in (where, where / "folds" / "1"):
        assert "RANDOM WEIGHTS" in json.loads((folder / "run.json").read_text())["weights"]["warning"]


def test_leave_one_subject_out(crossval: Start, tree: Path, tmp_path: Path) -> None:
    rows, table = ["path,subject,AU4"], tmp_path / "table.csv"
    for k, person in enumerate(sorted((tree / "cohn-kanade-images").iterdir())[:4]):
        rows += [f"{picture},p{k},{n % 2}" for n, picture in enumerate(sorted(person.glob("*/*.png"))[:4])]
    table.write_text("\n".join(rows))
    typed = ("data=csv", "data.root=null", f"data.table={table}", "data.aus=[4]", "data.min_au_count=1")
    pooled = pd.read_csv(crossval("leave_one_out=true", *typed) / "predictions.csv")
    assert (pooled.groupby("fold")["subject"].nunique() == 1).all()
    assert pooled["fold"].nunique() == pooled["subject"].nunique() == 4


def test_what_chose_the_units_is_kept_and_no_fold_says_that_it_has_no_effect(finished: Path) -> None:
    typed = OmegaConf.load(finished / "config.yaml")["data"]
    assert typed["min_au_count"] == 3 and typed["aus"] != "auto"
    assert "min_au_count" not in "".join(path.read_text() for path in finished.rglob("*.log"))


def test_more_folds_than_people_is_refused(crossval: Start) -> None:
    with pytest.raises(FerError, match="the data has only 8 people"):
        crossval("data.folds=9")


def test_people_without_a_neutral_picture_are_in_no_fold(tree: Path, cache: Path, tmp_path: Path) -> None:
    rows, table = ["path,subject,AU4,reference"], tmp_path / "table.csv"
    pictures = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))
    for k in range(4):
        rows.append(f"{pictures[k]},p{k},1,{pictures[k + 4] if k else ''}")
    table.write_text("\n".join(rows))
    typed = ("data=csv", f"data.table={table}", "leave_one_out=true", "data.reference=neutral", "data.aus=[4]")
    cfg = composed("crossval", *SMALL, *typed, f"cache_dir={cache}")
    settled = settle(cfg, read_table(cfg)[0])
    assert settled.data.folds == 3


def test_people_without_a_label_that_counts_are_in_no_fold(tree: Path, cache: Path, tmp_path: Path) -> None:
    rows, table = ["path,subject,emotion"], tmp_path / "table.csv"
    for k, picture in enumerate(sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[:6]):
        rows.append(f"{picture},p{k},{'happy' if k else 'neutral'}")  # neutral is no class of high_level
    table.write_text("\n".join(rows))
    typed = ("data=csv", f"data.table={table}", "leave_one_out=true")
    cfg = composed("crossval", *SMALL, *typed, f"cache_dir={cache}")
    settled = settle(cfg, read_table(cfg)[0])
    assert settled.data.folds == 5
    data = FaceData(settled.data, settled.augment, 0, cache_folder(settled.cache_dir))
    data.setup()
    assert set(data.prepared.table["subject"]) == {f"p{k}" for k in range(1, 6)}
    assert data.prepared.split is not None and "p0" not in set(data.prepared.split["subject"])


def test_units_that_no_two_folds_share_are_refused(tree: Path, cache: Path, tmp_path: Path) -> None:
    pictures = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[:6]
    table = tmp_path / "table.csv"
    rows = [f"{picture},p{k},{int(k == 0)}" for k, picture in enumerate(pictures)]  # one person alone shows it
    table.write_text("\n".join(["path,subject,AU4", *rows]))
    typed = ("data=csv", f"data.table={table}", "data.folds=3", "data.min_au_count=1")
    with pytest.raises(FerError, match="AU4: each lacks training people in some fold"):
        cfg = composed("crossval", *SMALL, *typed, f"cache_dir={cache}")
        settle(cfg, read_table(cfg)[0])


def test_folds_that_are_no_whole_are_not_pooled(finished: Path) -> None:
    folds = [finished / "folds" / name for name in "012"]
    with pytest.raises(FerError, match=r"no cross-validation together: .* is judged 2 times, most people 1"):
        pool([*folds, folds[0]])


def test_a_picture_that_one_repeat_could_not_read_is_left_out(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    again = [tmp_path / name for name in "012"]
    for name, folder in zip("012", again, strict=True):
        folder.mkdir()
        for file in ("metrics.json", "predictions.csv"):
            (folder / file).write_bytes((finished / "folds" / name / file).read_bytes())
    table = read_predictions(again[0] / "predictions.csv")
    lost = table.index[table["split"] == "test"][0]
    table.drop(index=lost).to_csv(again[0] / "predictions.csv", index=False)
    n_all = pool([finished / "folds" / name for name in "012"], n_boot=10)[1]["all"]["n_images"]
    pooled, metrics = pool([*(finished / "folds" / name for name in "012"), *again], n_boot=10)
    assert metrics["all"]["n_images"] == n_all - 1 and table.at[lost, "path"] not in set(pooled["path"])
    assert "not every repeat could read them: 1 pictures" in caplog.text


def test_a_fold_whose_test_people_could_not_be_read_does_not_lose_the_others(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(
        finished / "folds" / "1", tmp_path / "1", ignore=shutil.ignore_patterns("checkpoints", "tensorboard")
    )
    for name, kept in (("predictions.csv", "val"), ("metrics.json", "val")):
        file = tmp_path / "1" / name
        if name.endswith(".csv"):
            table = pd.read_csv(file)
            table[table["split"] == kept].to_csv(file, index=False)
        else:
            file.write_text(json.dumps({kept: json.loads(file.read_text())[kept]}))
    table, metrics = pool([finished / "folds" / "0", tmp_path / "1", finished / "folds" / "2"], n_boot=10)
    assert sorted(set(table["fold"])) == [0, 2] and metrics["all"]["n_images"] == len(table)
    assert metrics["all"]["folds"]["numbers"] == [0, 2]
    assert "fold 1 has nobody to judge" in caplog.text


def test_calibration_and_probes_are_of_the_pooled_answers(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())["all"]
    folds = [json.loads((finished / "folds" / str(k) / "metrics.json").read_text())["test"] for k in range(3)]
    for head in ("au", "emotion"):
        pooled, each = metrics[head]["calibration"], [fold[head]["calibration"] for fold in folds]
        assert pooled["n"] == sum(block["n"] for block in each)
        for key in ("nll", "nll_before"):
            assert pooled[key] == pytest.approx(
                np.average([b[key] for b in each], weights=[b["n"] for b in each]), rel=1e-4
            )
    probes, each = metrics["probes"], [fold["probes"] for fold in folds]
    right = [probe["rule"]["true_aus"]["accuracy"] * probe["rule"]["true_aus"]["n_images"] for probe in each]
    assert probes["rule"]["true_aus"]["accuracy"] * probes["rule"]["true_aus"]["n_images"] == pytest.approx(sum(right))
    assert probes["identity"].get("n_images", 0) == sum(probe["identity"].get("n_images", 0) for probe in each)
    assert probes["labels"]["n"] == sum(probe["labels"].get("n", 0) for probe in each)
    assert probes["spread"]["au"]["n_subjects"] <= metrics["n_subjects"]
    page = (finished / "report.html").read_text()
    assert "Honesty probes" in page and "Can the probabilities be believed?" in page
    assert "AU macro F1" in page and "$" not in "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))


def test_a_folder_without_test_predictions_is_refused(tmp_path: Path) -> None:
    pd.DataFrame(
        {"path": ["a"], "subject": ["s"], "split": ["val"], "AU1": [1], "AU1_prob": [0.5], "AU1_pred": [1]}
    ).to_csv(tmp_path / "predictions.csv", index=False)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(FerError, match="no predictions of test people"):
        pool([tmp_path])


def test_intervals_cover_the_truth() -> None:
    """95 % intervals hold the true score in 92 to 97 % of data sets of 60 people whose pictures are alike."""
    rng = np.random.default_rng(0)
    n_sets, n_people, per_person = 400, 60, 5
    skill = rng.normal(0, 0.8, (n_sets, n_people, 1))
    right = rng.random((n_sets, n_people, per_person)) < 1 / (1 + np.exp(-1.0 - skill))
    truth = float(np.mean(1 / (1 + np.exp(-1.0 - rng.normal(0, 0.8, 1_000_000)))))
    covered = 0
    for answers in right:
        emotion = np.tile(np.array(["negative", "positive"]), n_people * per_person)[: n_people * per_person]
        wrong = np.where(emotion == "negative", "positive", "negative")
        answer = np.where(answers.ravel(), emotion, wrong)
        table = pd.DataFrame(
            {
                "path": [str(k) for k in range(len(emotion))],
                "subject": np.repeat([f"s{k}" for k in range(n_people)], per_person),
                "split": "all",
                "emotion": emotion,
                "emotion_pred": answer,
                "emotion_prob_negative": np.where(answer == "negative", 0.8, 0.2),
                "emotion_prob_positive": np.where(answer == "negative", 0.2, 0.8),
            }
        )
        low, high = judge(table, {}, n_boot=400)["emotion"]["accuracy_ci"]
        covered += low <= truth <= high
    assert 0.92 <= covered / n_sets <= 0.97


def test_intervals_of_rankings_cover_the_truth() -> None:
    """Of AUs that are shown in 5 to 40 % of the pictures; percentiles of the draws would be too high for average precision."""
    rng = np.random.default_rng(0)
    names, rates, per_person = [f"AU{au}" for au in (1, 2, 4, 5, 6, 7, 9, 10)], np.linspace(0.05, 0.4, 8), 5

    def drawn(n_people: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (n_people, per_person, len(names))
        likes, looks = rng.normal(0, 0.5, (n_people, 1, len(names))), rng.normal(0, 0.44, (n_people, 1, len(names)))
        shown = likes + rng.normal(0, 0.75**0.5, shape) > norm.ppf(1 - rates)
        seen = 1.2 * shown + looks + rng.normal(0, 0.9, shape)
        return shown.reshape(-1, len(names)).astype(int), expit(seen.reshape(-1, len(names)) - 1.6)

    shown, seen = drawn(40_000)
    measures = {
        "ap": average_precision_score,
        "auc": roc_auc_score,
        "f1": lambda true, said: f1_score(true, said > 0.35),
    }
    truth = {name: np.mean([of(*both) for both in zip(shown.T, seen.T, strict=True)]) for name, of in measures.items()}
    covered, n_sets = dict.fromkeys(truth, 0), 250
    people = np.repeat([f"s{k}" for k in range(60)], per_person)
    for _ in range(n_sets):
        shown, seen = drawn(60)
        table = pd.DataFrame({"path": np.arange(len(people)).astype(str), "subject": people, "split": "all"})
        table[names], table[[f"{name}_prob" for name in names]] = shown, seen
        scores = judge(table, dict.fromkeys(names, 0.35), n_boot=200)["au"]
        for name, value in truth.items():
            low, high = scores[f"macro_{name}_ci"]
            covered[name] += low <= value <= high
    assert all(0.92 <= n / n_sets <= 0.97 for n in covered.values()), covered


@pytest.mark.parametrize("shown_by", [(1, 1, 1, 1, 2, 2, 2, 3, 8), (2, 2, 2, 2, 3, 6, 6, 8, 8)])
def test_intervals_of_labels_that_few_people_show_cover_the_truth(shown_by: tuple[int, ...]) -> None:
    """Reckoned as those of frequent labels they did in 68 and 87 of 100 sets."""
    names, n_people, n_sets = [f"AU{au}" for au in (1, 2, 4, 5, 6, 7, 9, 10, 12)], 18, 150

    def drawn(seed: int) -> pd.DataFrame:
        rng, shown = np.random.default_rng(seed), np.zeros((n_people, len(names)), int)
        for column, n in enumerate(shown_by):
            shown[rng.choice(n_people, n, replace=False), column] = 1
        table = pd.DataFrame({"path": np.arange(n_people).astype(str), "split": "all"})
        table["subject"] = "s" + table["path"]
        table[names] = shown
        table[[f"{name}_prob" for name in names]] = expit(1.5 * shown - 1 + rng.normal(size=shown.shape))
        return table

    def macro_ap(table: pd.DataFrame) -> float:
        order = np.argsort(-table[[f"{name}_prob" for name in names]].to_numpy(), axis=0)
        hits = np.take_along_axis(table[names].to_numpy(), order, axis=0)
        precision = hits.cumsum(axis=0) / np.arange(1, n_people + 1)[:, None]
        return float(((precision * hits).sum(axis=0) / hits.sum(axis=0)).mean())

    one = drawn(0)
    assert macro_ap(one) == pytest.approx(
        np.mean([average_precision_score(one[name], one[f"{name}_prob"]) for name in names])
    )
    truth, covered = np.mean([macro_ap(drawn(seed)) for seed in range(10_000, 10_600)]), 0
    for seed in range(n_sets):
        low, high = judge(drawn(seed), dict.fromkeys(names, 0.5), n_boot=100)["au"]["macro_ap_ci"]
        covered += low <= truth <= high
    assert 0.9 <= covered / n_sets <= 0.98, covered


@pytest.mark.parametrize("right", [True, False])
def test_people_without_exception_do_not_make_certain(right: bool) -> None:
    low, high = interval(np.full(100, float(right)), 40, float(right))
    assert pytest.approx((low if right else 1 - high) ** 40) == 0.025
    assert (high if right else low) == float(right)


def test_a_soup_is_the_mean_of_the_folds_and_answers_for_new_people(
    crossval: Start, trained: Path, tree: Path, cache: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "backbone.safetensors"
    module, _ = load_module(trained / "checkpoints" / "best.ckpt")
    save_backbone(module.network, weights)
    done = crossval("data.folds=3", "model.backbone=resnet18", f"model.weights={weights}", "soup=true")
    soup = load_checkpoint(done / "soup.ckpt")
    folds = [load_checkpoint(done / "folds" / str(k) / "checkpoints" / "best.ckpt") for k in range(3)]
    for name, weight in soup["state_dict"].items():
        if weight.is_floating_point():
            assert torch.allclose(weight, sum(fold["state_dict"][name] for fold in folds) / 3, atol=1e-6)
    for head in ("au", "emotion"):
        product = np.prod([fold["fer"]["temperature"][head] for fold in folds])
        assert soup["fer"]["temperature"][head] == pytest.approx(product ** (1 / 3))
    # everybody was a training person of some fold, so nobody here is new
    evaluation = ("checkpoint=" + str(done / "soup.ckpt"), f"cache_dir={cache}", "split=all")
    with pytest.raises(FerError, match="no picture"):
        evaluate.run(composed("evaluate", *evaluation), Call("python -m fer.evaluate ...", evaluation, None))
    picture = next((tree / "cohn-kanade-images").glob("*/*/*.png"))
    face = load(done / "soup.ckpt").predict(picture)[0]
    assert set(face.au_prob) == set(soup["fer"]["thresholds"]) and face.emotion in face.emotion_prob


def test_a_soup_of_folds_that_start_apart_is_refused(crossval: Start) -> None:
    with pytest.raises(FerError, match=r"soup=true .* say model\.weights=FILE"):
        crossval("data.folds=3", "soup=true")
