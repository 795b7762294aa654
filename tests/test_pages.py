"""Every page in a real browser: it asks nothing of the network, nothing fails or sticks out, and its numbers are those of the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from conftest import composed
from made_runs import made_run
from optuna.distributions import FloatDistribution, IntDistribution

from fer.cli.command import Call
from fer.config import CompareConfig
from fer.results.comparison.findings import find
from fer.results.comparison.judged_runs import read_runs
from fer.results.comparison.report import write_page
from fer.results.pooling import pool
from fer.results.report import write_report
from fer.tuning import summary


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=60_000)
        yield opened
        opened.close()


def explored(tree: Path, cache: Path, where: Path) -> Path:
    from fer.explore import run

    typed = (
        "data=ckplus",
        f"data.root={tree}",
        "data.image_size=32",
        "data.min_au_count=3",
        f"cache_dir={cache}",
        "faces=3",
    )
    run(composed("explore", *typed, f"run_dir={where}", "progress=false"), Call("python -m fer.explore", typed, None))
    return where / "report.html"


def compared(where: Path) -> Path:
    for seed, dense in enumerate((64, 128)):
        made_run(where / f"dense{dense}", {"model.dense": dense, "optimizer": "adam"}, 1.0 + seed, seed=seed)
    findings = find(read_runs([str(where)]), CompareConfig(n_draws=100))
    write_page(findings, where / "compare.html", "two", "python -m fer.compare two")
    return where / "compare.html"


def cross_validated(where: Path) -> Path:
    folds = [made_run(where / "folds" / str(k), {}, 1.5, seed=k, split_seed=k, splits=("test",)) for k in range(2)]
    table, metrics = pool(folds, n_boot=50)
    table.to_csv(where / "predictions.csv", index=False)
    (where / "metrics.json").write_text(json.dumps(metrics))
    for fold in folds:
        write_report(fold)
    return write_report(where)


def searched(where: Path) -> Path:
    space = {"model.dense": IntDistribution(8, 64), "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True)}
    study = optuna.create_study(study_name="tried", direction="maximize")
    for k in range(12):
        point = {"model.dense": 8 + k, "optimizer.lr": 1e-3 * (k + 1)}
        study.add_trial(optuna.create_trial(params=point, distributions=space, value=0.3 + 0.01 * (k % 5)))
    where.mkdir()
    page = where / "report.html"
    page.write_text(summary.page(where, study, space, summary.importances(study, space, 0), "python -m fer.train"))
    return page


@pytest.fixture(scope="module")
def pages(trained: Path, tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("pages")
    return {
        "report": trained / "report.html",
        "explore": explored(tree, cache, where / "explore"),
        "compare": compared(where / "compare"),
        "crossval": cross_validated(where / "crossval"),
        "tune": searched(where / "tune"),
    }


STICKS_OUT = """() => [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .wide, svg'))
    .map(e => e.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_pages_open_whole_and_offline(pages: dict[str, Path], browser: Any, width: int, scheme: str) -> None:
    for name, path in pages.items():
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message, said=said: said.append(message.text))
        tab.on("pageerror", lambda error, said=said: said.append(str(error)))
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.goto(path.as_uri(), timeout=60_000)
        assert said == [], name
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()], name
        assert tab.evaluate(STICKS_OUT) == [], name
        assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth)"), name
        for link in tab.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"):
            assert (path.parent / link).is_file(), name
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light"), name
        tab.close()


def cells(tab: Any, table: str) -> dict[str, list[str]]:
    """First cell of each row -> the bold number of each other cell, or its text."""
    code = """table => [...document.querySelector(table).tBodies[0].rows].map(row => [...row.cells].map(
        (cell, k) => (k && cell.querySelector('b') || cell).textContent.trim().replace(/\\s+/g, ' ')))"""
    return {row[0]: row[1:] for row in tab.evaluate(code, table)}


@pytest.mark.parametrize(("name", "split"), [("report", "test"), ("crossval", "all")])
def test_the_numbers_on_the_page_are_those_of_metrics_json(
    pages: dict[str, Path], browser: Any, name: str, split: str
) -> None:
    scores = json.loads((pages[name].parent / "metrics.json").read_text())[split]
    tab = browser.new_page()
    tab.goto(pages[name].as_uri(), timeout=60_000)

    def shown(value: float | None, digits: int = 3) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    heads = cells(tab, "#scores .pair > div:nth-child(1) table")
    constant = scores["au"]["baselines"]["constant"]
    for kind in ("macro", "micro"):
        for key, label in (("auc", "AUC"), ("ap", "average precision"), ("f1", "F1"), ("recall", "recall")):
            values = [scores["au"][kind][key], constant[kind][key]]
            assert heads[f"{kind} {label}"][:2] == [shown(value) for value in values], label
    emotion = cells(tab, "#scores .pair > div:nth-child(2) table")
    assert emotion["accuracy"][0] == shown(scores["emotion"]["accuracy"])
    assert emotion["macro F1"][0] == shown(scores["emotion"]["macro"]["f1"])
    units = {label.split()[0]: row for label, row in cells(tab, "#aus table").items()}
    for au, row in scores["au"]["per_au"].items():
        counts, numbers = (
            [str(row["n_positive"]), str(row["n"])],
            [row["f1"], row["f1_constant"], row["auc"], row["ap"]],
        )
        assert units[au][:6] == [*counts, *(shown(value, 2) for value in numbers)], au
        assert units[au][-1] == shown(row["threshold"], 2)
    if name == "crossval":
        folds = cells(tab, "#folds table")
        assert folds["mean"][0] == shown(scores["folds"]["mean"]["score"])
        assert folds["1"][0] == shown(scores["folds"]["each"][1]["score"])
    tab.close()


def test_the_report_of_a_run_stays_small_and_shows_faces_with_heat(trained: Path) -> None:
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert len(page) < 2_000_000
    assert page.count('alt="where it looked"') == page.count("<figure>") > 0


def test_the_first_screen_says_what_can_be_said(trained: Path) -> None:
    page = (trained / "report.html").read_text(encoding="utf-8")
    header = page[page.index("<header>") : page.index("</header>")]
    for words in ("<b>Action units:</b>", "<b>Emotion:</b>", "<b>Overfitting:</b>", "hardly judged: AU"):
        assert words in header, words
    split = pd.read_csv(trained / "split.csv")["split"].value_counts()
    assert f"{split['train']} train, {split['val']} val, {split['test']} test" in header
