"""Exploring: the counts are those of the label files, the split is the one of training, and the page needs nothing but itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import composed
from PIL import Image

from fer.cli.command import Call
from fer.config import DataConfig
from fer.data import splits
from fer.data.headers import read_headers
from fer.data.readers import read_samples
from fer.data.samples import au_columns
from fer.errors import FerError
from fer.results.exploration.findings import _colour
from fer.results.exploration.label_checks import against_table_2, meets, unlike_sequences

Explore = Callable[..., Path]


def explored(where: Path, cache: Path, *overrides: str) -> Path:
    from fer.explore import run

    typed = ("data.image_size=32", "data.min_au_count=3", f"cache_dir={cache}", f"run_dir={where}", "progress=false")
    run(composed("explore", *typed, *overrides), Call("python -m fer.explore ...", overrides, None))
    return where


@pytest.fixture(scope="module")
def folder(tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exploration of the small tree, all frames."""
    where = tmp_path_factory.mktemp("explored") / "run"
    return explored(where, cache, "data=ckplus", f"data.root={tree}", "data.frames=neutral+peak3", "seed=3")


@pytest.fixture(scope="module")
def table(tree: Path) -> pd.DataFrame:
    return read_samples(DataConfig(name="ckplus", root=str(tree), frames="neutral+peak3"), tree).table


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_counts_are_those_of_the_label_files(folder: Path, table: pd.DataFrame, page: str) -> None:
    units = pd.read_csv(folder / "aus.csv").set_index("AU")
    split = pd.read_csv(folder / "split.csv").set_index("subject")["split"]
    assert units.index.tolist() == au_columns(table)
    part = table["subject"].map(split)
    for unit in units.index:
        shown = table[unit] == 1
        assert units.at[unit, "positive"] == shown.sum()
        assert units.at[unit, "people"] == table.loc[shown, "subject"].nunique()
        assert [units.at[unit, name] for name in ("train", "val", "test")] == [
            (shown & (part == name)).sum() for name in ("train", "val", "test")
        ]
        assert re.search(rf"<b>{unit}</b> [^<]*</th><td>{shown.sum()}</td>", page)
        graded = table.loc[shown, f"{unit}_intensity"].value_counts() if f"{unit}_intensity" in table else {}
        assert [units.at[unit, str(grade)] for grade in range(1, 6)] == [graded.get(grade, 0) for grade in range(1, 6)]
    together = pd.read_csv(folder / "au_cooccurrence.csv", index_col="AU")
    assert together.at["AU1", "AU2"] == ((table["AU1"] == 1) & (table["AU2"] == 1)).sum()
    emotions = pd.read_csv(folder / "emotions.csv", keep_default_na=False)
    happy = emotions[(emotions["class"] == "positive") & (emotions["stated"] == "happy")]
    assert happy["pictures"].tolist() == [(table["emotion"] == "happy").sum()]
    by_emotion = pd.read_csv(folder / "au_by_emotion.csv", index_col="emotion")
    assert by_emotion.at["happy", "AU12"] == 1  # by Table 2
    assert by_emotion.at["neutral", "AU12"] == 0


def test_the_split_is_the_one_of_training(folder: Path, table: pd.DataFrame) -> None:
    expected = splits.split_subjects(table, 0.15, 0.15, seed=3)
    shown = pd.read_csv(folder / "split.csv")
    assert dict(shown.itertuples(index=False)) == dict(expected.astype(str).itertuples(index=False))
    counted = pd.read_csv(folder / "images.csv")["split"].value_counts()
    about = json.loads((folder / "run.json").read_text())
    assert about["finished"] and about["data"]["n_images"] == counted.sum()


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)
    assert "<script" not in page and "<link" not in page
    assert set(re.findall(r'<img src="([^,]*),', page)) == {"data:image/webp;base64"}
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    for section in ("labels", "together", "emotions", "files", "augmentation", "faces", "run"):
        assert f'<section id="{section}">' in page


def test_without_pictures_no_face_is_on_the_page(tree: Path, cache: Path, tmp_path: Path) -> None:
    where = explored(tmp_path / "run", cache, "data=ckplus", f"data.root={tree}", "pictures=false")
    page = (where / "report.html").read_text(encoding="utf-8")
    assert "data:image" not in page and "<img" not in page and '<section id="labels">' in page


def test_odd_pictures_and_labels_are_shown(
    table: pd.DataFrame, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = table[table["emotion"] == "happy"].drop_duplicates("subject").head(6)
    rows = [{"path": row.path, "subject": row.subject, "emotion": "happy"} for row in people.itertuples()]
    rows += [{"path": tmp_path / "gone.png", "subject": "nobody", "emotion": "fear"}]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows += [{"path": tmp_path / "broken.png", "subject": "nobody", "emotion": "fear"}]
    copy = cv2.imread(str(rows[0]["path"]))
    cv2.imwrite(str(tmp_path / "copy.jpg"), copy)
    rows += [{"path": tmp_path / "copy.jpg", "subject": "<b>other</b>", "emotion": "surprise"}]
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    where = explored(tmp_path / "run", cache, "data=csv", f"data.table={tmp_path / 'table.csv'}")
    page = (where / "report.html").read_text(encoding="utf-8")
    assert "<b>other</b>" not in page and "&lt;b&gt;other&lt;/b&gt;" in page
    assert '<section id="shared">' in page and '<section id="contradicting">' in page
    skipped = pd.read_csv(where / "skipped.csv")
    assert skipped["item"].str.contains("broken.png").any() and skipped["item"].str.contains("gone.png").any()
    assert "more than data.max_skipped=0.05 lets pass in a training" in page
    pair = pd.read_csv(where / "inconsistent.csv").iloc[0]
    assert {pair["stated"], pair["other_stated"]} == {"happy", "surprise"}
    said = capsys.readouterr().out
    assert "pairs of near-identical pictures that bear two people's names: 1, of them" in " ".join(said.split())
    assert max(map(len, said.splitlines())) <= 100


def test_a_label_table_without_aus_or_emotions_is_explored_too(
    table: pd.DataFrame, cache: Path, tmp_path: Path
) -> None:
    peaks = table[table["emotion"].notna() & (table["emotion"] != "neutral")]
    for columns, absent in (
        (["path", "subject", "emotion"], "together"),
        (["path", "subject", "AU1", "AU12"], "emotions"),
    ):
        peaks[columns].to_csv(tmp_path / "table.csv", index=False)
        where = explored(tmp_path / absent, cache, "data=csv", f"data.table={tmp_path / 'table.csv'}")
        assert f'<section id="{absent}">' not in (where / "report.html").read_text(encoding="utf-8")


def test_data_without_one_good_picture_is_one_line(tmp_path: Path, cache: Path) -> None:
    rows = [f"{k}.png,p{k},{k % 2}" for k in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(["path,subject,AU4", *rows]))
    for k in range(8):
        (tmp_path / f"{k}.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    from fer.explore import run

    typed = ("data=csv", f"data.table={tmp_path / 't.csv'}", f"cache_dir={cache}", f"run_dir={tmp_path / 'out'}")
    with pytest.raises(FerError, match=r"no picture left to look at, e\.g\. .*0\.png: not an image"):
        run(composed("explore", *typed), Call("", typed, None))


def test_a_taken_folder_is_refused_before_anything_is_read(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FerError, match="is not empty"):
        explored(tmp_path, cache, "data=ckplus", "data.root=nowhere")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data=ckplus",), r"data\.root is missing"),
        (("data.folds=1",), r"data\.folds must be 0"),
        (("data.val_fraction=.6", "data.test_fraction=.5"), "must be below 1"),
    ],
)
def test_bad_settings_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(FerError, match=message):
        composed("explore", *words)


def test_the_rule_of_table_2() -> None:
    assert meets("anger", {23: 0, 24: 1}) and not meets("anger", {23: 3})
    assert meets("surprise", {1: 0, 2: 0, 5: 2}) and not meets("surprise", {1: 3, 2: 3, 5: 3})
    assert meets("fear", {1: 0, 2: 0, 5: 5}) and not meets("fear", {1: 0, 2: 0, 5: 4})
    assert meets("negative", {10: 1}) and not meets("negative", {12: 5})
    assert meets("neutral", {}) and not meets("neutral", {25: 1})


def labelled(**columns: list[object]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    rows = pd.DataFrame({"path": [f"{k}.png" for k in range(n)], "subject": "S1", "sequence": "1", **columns})
    return rows.astype({"emotion": "string", **{name: "Int8" for name in columns if name.startswith("AU")}})


def test_emotions_are_held_against_units() -> None:
    table = labelled(
        emotion=["happy", "happy", None, "disgust", "sadness", "happy", "happy"],
        AU12=[1, 0, 1, 1, None, 0, None],
        AU9=[0, 1, 0, 0, 0, None, 0],
        AU10=0,
    )  # no unit of sadness is in the data, and the last one's own is not coded
    rules = against_table_2(table).set_index("path")
    assert rules["agrees"].to_dict() == {"0.png": True, "1.png": False, "3.png": False, "5.png": False}
    assert rules.at["1.png", "also"] == "disgust" and rules.at["3.png", "also"] == "happy"
    assert rules.at["3.png", "aus"] == "AU12"
    # where nobody coded AU10, which makes disgust as AU9 does, its absence contradicts nothing
    assert "3.png" not in set(against_table_2(table.drop(columns="AU10"))["path"])


@pytest.mark.parametrize(("second", "alarming"), [("grey colour", False), ("grey grey", True)])
def test_colour_is_an_alarm_where_people_differ_in_it(second: str, alarming: bool) -> None:
    table = pd.DataFrame({"subject": list("aabb"), "color": ["grey", "colour", *second.split()]})
    said = _colour(SimpleNamespace(table=table), DataConfig(color=True))  # type: ignore[arg-type]
    assert (said is not None) == alarming and (said is None or said.good is False)


def test_a_sequence_has_one_label() -> None:
    table = labelled(emotion=["neutral", "happy", "happy", "fear"], AU12=[0, 1, 1, 1], AU1=[0, None, 1, 0])
    found = unlike_sequences(table)
    assert found[["label", "values"]].to_numpy().tolist() == [["emotion", "fear happy"], ["AU1", "0 1"]]
    assert unlike_sequences(table.head(3)).empty


def test_headers(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "deep.png")
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=turned)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "turned.tif", exif=turned)
    (tmp_path / "none.png").write_bytes(b"")
    names = ("grey.png", "deep.png", "turned.jpg", "turned.tif", "none.png")
    found = read_headers(pd.Series([str(tmp_path / name) for name in names]))
    assert found.iloc[:4].to_numpy().tolist() == [
        [6, 4, "grey", 8, "PNG"],
        [6, 4, "grey", 16, "PNG"],
        [4, 6, "colour", 8, "JPEG"],
        [4, 6, "colour", 8, "TIFF"],
    ]
    assert found.iloc[4].isna().all()
