"""The report: in, a made run folder; out, one self-contained page with the numbers of `metrics.json`."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fer.errors import FerError
from fer.results.report import write_report
from fer.results.scores import Scores, judge

AUS = ["AU1", "AU12", "AU25"]
CLASSES = ["happy", "sadness"]


def made_predictions(split: str, seed: int) -> pd.DataFrame:
    rng, n = np.random.default_rng(seed), 80
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(n)]})
    table["subject"], table["split"] = [f"{i % 20:03d}" for i in range(n)], split
    for name in AUS:
        table[name] = (rng.random(n) < 0.3).astype(int)
        table[f"{name}_prob"] = np.clip(0.3 * table[name] + 0.6 * rng.random(n), 0, 1)
        table[f"{name}_pred"] = (table[f"{name}_prob"] >= 0.5).astype(int)
    happy = rng.random(n)
    table["emotion"] = np.where(happy + rng.normal(0, 0.2, n) > 0.5, *CLASSES)
    table["emotion_pred"] = np.where(happy > 0.5, *CLASSES)
    table["emotion_prob_happy"], table["emotion_prob_sadness"] = happy, 1 - happy
    return table


def fill_run(run_dir: Path) -> dict[str, Scores]:
    tables = {split: made_predictions(split, seed) for seed, split in enumerate(("val", "test"))}
    metrics = {split: judge(table, dict.fromkeys(AUS, 0.5), n_boot=50) for split, table in tables.items()}
    (run_dir / "metrics.json").write_text(json.dumps(metrics))
    pd.concat(tables.values()).to_csv(run_dir / "predictions.csv", index=False)
    curves = {"epoch": [0, 1, 2], "train/loss": [3.0, 2.0, 1.0], "val/loss": [3.0, None, 2.0], "val/score": [None] * 3}
    pd.DataFrame(curves).to_csv(run_dir / "curves.csv", index=False)
    run: dict[str, Any] = {"name": "<b>mine</b>", "command": "python -m fer.train model.dense=64", "best_epoch": 1}
    run |= {
        "data": {"name": "ckplus", "n_images": 160, "skipped": {"broken picture": 7}},
        "versions": {"torch": "9.8.7"},
    }
    (run_dir / "run.json").write_text(json.dumps(run))
    (run_dir / "config.yaml").write_text("model:\n  backbone: resnet18\n  dense: 64\n")
    return metrics


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def metrics(run_dir: Path) -> dict[str, Scores]:
    return fill_run(run_dir)


@pytest.fixture(scope="module")
def page(run_dir: Path, metrics: dict[str, Scores]) -> str:
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_numbers_of_the_test_split_stand_with_interval_and_baseline(page: str, metrics: dict[str, Scores]) -> None:
    au, emotion = metrics["test"]["au"], metrics["test"]["emotion"]
    for value, ci in (
        (au["macro"]["auc"], au["macro_auc_ci"]),
        (au["micro"]["f1"], au["micro_f1_ci"]),
        (emotion["accuracy"], emotion["accuracy_ci"]),
    ):
        assert re.search(rf"<b>{value:.3f}</b> <small>{ci[0]:.3f}.{ci[1]:.3f}</small>", page)
    assert f"{au['baselines']['constant']['micro']['f1']:.3f}" in page
    assert f"{emotion['baselines']['majority']['accuracy']:.3f}" in page
    for row in (*au["per_au"].values(), *emotion["per_class"].values()):
        assert f"<b>{row['f1']:.2f}</b>" in page
    assert f"{metrics['val']['au']['macro']['auc']:.3f}" in page


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)
    assert "<script" not in page
    assert "<img" not in page
    assert "<link" not in page
    assert not re.search(r"url\(['\"]?(?!#)", page)


def test_what_was_run_is_there_and_escaped(page: str) -> None:
    for text in ("python -m fer.train model.dense=64", "resnet18, dense 64", "broken picture", "9.8.7", "best epoch"):
        assert text in page
    assert "<b>mine</b>" not in page
    assert "&lt;b&gt;mine&lt;/b&gt;" in page


def test_figures_follow_the_page_colours(page: str) -> None:
    # Loss (the only curve with values), one panel per AU and class.
    assert page.count("<svg") == 1 + len(AUS) + len(CLASSES)
    assert "stroke: var(--first)" in page
    assert "prefers-color-scheme: dark" in page
    ids = re.findall(r'<(?:g|svg)[^>]* id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_folder_gives_the_same_page(page: str, run_dir: Path) -> None:
    assert write_report(run_dir).read_text(encoding="utf-8") == page


def test_missing_parts_are_left_out(tmp_path: Path, metrics: dict[str, Scores]) -> None:
    au_only = {key: value for key, value in metrics["test"].items() if key != "emotion"}
    (tmp_path / "metrics.json").write_text(json.dumps({"all": au_only}))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Each action unit" in page
    for absent in ("Each emotion", "Learning curves", "Settings", "Versions", "<svg"):
        assert absent not in page


def test_a_dead_model_is_named_first(tmp_path: Path, metrics: dict[str, Scores]) -> None:
    dead = metrics["test"] | {"au": metrics["test"]["au"] | {"dead": True, "dead_reason": "always the same"}}
    (tmp_path / "metrics.json").write_text(json.dumps({"test": dead}))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert page.index("DEAD MODEL: gives the same answer") < page.index('id="scores"')


def test_a_model_that_is_dead_on_validation_is_dead_where_the_test_is_too_small_to_tell(
    tmp_path: Path, metrics: dict[str, Scores]
) -> None:
    dead = metrics["val"] | {"au": metrics["val"]["au"] | {"dead": True, "dead_reason": "always the same"}}
    (tmp_path / "metrics.json").write_text(json.dumps({"val": dead, "test": metrics["test"]}))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "DEAD MODEL: gives the same answer for every picture (action units: always the same), on val" in page


def test_no_metrics_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(FerError, match=r"no metrics\.json"):
        write_report(tmp_path)
