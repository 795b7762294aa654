"""Near-identical pictures: copies under another name are found however they were saved, people who look alike are not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, composed, extra_data

from fer.cli.command import Call
from fer.config import DataConfig
from fer.data import duplicates
from fer.data.duplicates import near_identical
from fer.data.faces import face_box
from fer.data.images import Pixels8, decode, luminance
from fer.data.prepare import Prepared, prepare
from fer.data.readers import read_samples


def _cut(image: Pixels8) -> Pixels8:
    height, width = (round(0.02 * side) for side in image.shape[:2])
    return image[height:-height, width:-width]


CHANGES: dict[str, Callable[[Pixels8], Pixels8]] = {
    "saved again": lambda image: image,
    "brighter": lambda image: np.clip(image * 1.1, 0, 255).astype(np.uint8),
    "cut": _cut,
    "mirrored": lambda image: image[:, ::-1],
    "smaller": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
}


@pytest.fixture(scope="module")
def peaks(tree: Path) -> pd.DataFrame:
    """One picture of each of the eight people."""
    table = read_samples(DataConfig(name="ckplus", root=str(tree)), tree).table
    return table.drop_duplicates("subject").reset_index(drop=True)


def framed_alike(one: Pixels8, other: Pixels8) -> bool:
    """Whether the detector's boxes differ by less than the 8 % up to which copies are looked for."""
    shares = [face_box(luminance(image))[0].w / image.shape[1] for image in (one, other)]
    return abs(np.log(shares[0] / shares[1])) < np.log(1.08)


def with_copies(folder: Path, peaks: pd.DataFrame, change: Callable[[Pixels8], Pixels8]) -> Path:
    """A table of the people and of four of their pictures under other names."""
    rows = [{"path": row.path, "subject": row.subject, "emotion": "happy"} for row in peaks.itertuples()]
    for row in peaks.itertuples():
        path, original = folder / f"{row.subject}_again.jpg", decode(Path(str(row.path)))
        changed = np.ascontiguousarray(change(original))
        cv2.imwrite(str(path), changed[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])
        if framed_alike(original, decode(path)):
            rows.append({"path": path, "subject": f"{row.subject}_again", "emotion": "sadness"})
        if len(rows) == len(peaks) + 4:
            break
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def prepared(table: Path, cache: Path) -> Prepared:
    return prepare(DataConfig(name="csv", table=str(table), image_size=64), cache)


@pytest.mark.parametrize("change", CHANGES)
def test_copies_under_other_names_are_found_and_nobody_else(
    change: str, peaks: pd.DataFrame, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fer"):
        data = prepared(with_copies(tmp_path, peaks, CHANGES[change]), cache)
    pairs = {frozenset(pair) for pair in zip(data.shared["subject"], data.shared["other_subject"], strict=True)}
    copied = data.table.loc[data.table["subject"].str.endswith("_again"), "subject"]
    assert len(copied) == 4 and pairs == {frozenset((name.removesuffix("_again"), name)) for name in copied}
    assert data.shared["mirrored"].eq(change == "mirrored").all()
    split = dict(zip(data.table["path"], data.table["split"], strict=True))
    assert (data.shared["path"].map(split) == data.shared["split"]).all()
    assert (data.shared["other_path"].map(split) == data.shared["other_split"]).all()
    n_leaks = int((data.shared["split"] != data.shared["other_split"]).sum())
    [line] = [record.getMessage() for record in caplog.records if "near-identical" in record.getMessage()]
    assert f"two people: 4, of them across splits: {n_leaks}, e.g." in line and "_again.jpg" in line


def test_what_was_found_is_kept_and_follows_the_split(peaks: pd.DataFrame, cache: Path, tmp_path: Path) -> None:
    data = prepared(with_copies(tmp_path, peaks, CHANGES["brighter"]), cache)
    moved = data.table.assign(split="train")
    asked: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "near_identical", lambda *_, **__: asked.append(1))
        again = duplicates.shared_pictures(moved, data.pixels, cache)
    assert not asked and again["path"].tolist() == data.shared["path"].tolist()
    assert duplicates.across_splits(again).empty and set(again["split"]) == {"train"}


def test_damaged_pairs_are_looked_for_again(peaks: pd.DataFrame, cache: Path, tmp_path: Path) -> None:
    data = prepared(with_copies(tmp_path, peaks, CHANGES["brighter"]), cache)
    first = duplicates.shared_pictures(data.table, data.pixels, tmp_path / "kept")
    [kept] = (tmp_path / "kept").rglob("pairs.csv")
    for damage in ("\0" * 50, "first,second,alike,mirrored\n0,999999,1.0,False\n"):
        kept.write_text(damage)
        pd.testing.assert_frame_equal(duplicates.shared_pictures(data.table, data.pixels, tmp_path / "kept"), first)


def test_drawn_people_are_not_taken_for_each_other(tree: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fer"):
        data = prepare(DataConfig(name="ckplus", root=str(tree), frames="neutral+peak3", image_size=64), cache)
    assert len(data.table) > 100 and data.shared.empty
    assert not [record for record in caplog.records if "near-identical" in record.getMessage()]


@pytest.fixture
def noise() -> Pixels8:
    """Twelve smooth pictures, of which 0, 5 and 11 are the same and 3 is the mirror image of 8."""
    rng = np.random.default_rng(0)
    images = [cv2.GaussianBlur(rng.uniform(0, 255, (72, 72)), (0, 0), 3) for _ in range(12)]
    images[5] = images[11] = images[0]
    images[3] = images[8][:, ::-1]
    wide = [(image - image.min()) / np.ptp(image) * 255 for image in images]
    return np.stack(wide).astype(np.uint8)[..., None]


def found(array: Pixels8, groups: list[int] | None = None) -> set[tuple[int, int]]:
    n = len(array)
    pairs = near_identical(array, np.arange(n), np.array(groups or range(n)))
    return set(zip(pairs["first"], pairs["second"], strict=True))


def test_all_pairs_are_compared_in_tiles_of_any_size(noise: Pixels8, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {(0, 5), (0, 11), (5, 11), (3, 8)}
    assert found(noise) == expected
    for size in (1, 5, 7):
        monkeypatch.setattr(duplicates, "TILE", size)
        assert found(noise) == expected


def test_pictures_of_one_group_may_be_alike(noise: Pixels8) -> None:
    groups = list(range(12))
    groups[5] = groups[0]
    assert found(noise, groups) == {(0, 11), (5, 11), (3, 8)}


def test_flat_pictures_are_like_none(noise: Pixels8) -> None:
    noise[:] = np.array([0, 254, 128])[np.arange(12) % 3, None, None, None]
    noise[6:, 36:] += 1
    assert found(noise) == set()


def test_no_more_than_the_most_alike_are_looked_at(noise: Pixels8, monkeypatch: pytest.MonkeyPatch) -> None:
    noise[5] = np.clip(noise[5] + np.linspace(0, 40, 72)[:, None, None], 0, 255)
    assert found(noise) == {(0, 5), (0, 11), (5, 11), (3, 8)}
    monkeypatch.setattr(duplicates, "MAX_CANDIDATES", 2)
    assert found(noise) == {(0, 11), (3, 8)}


def test_rows_choose_the_pictures(noise: Pixels8) -> None:
    pairs = near_identical(noise, np.array([8, 1, 3]), np.array(["a", "b", "c"]))
    assert pairs[["first", "second", "mirrored"]].to_numpy().tolist() == [[0, 2, True]]
    assert near_identical(noise, np.array([], dtype=int), np.array([])).empty


def test_a_run_says_so(peaks: pd.DataFrame, cache: Path, tmp_path: Path) -> None:
    from fer.model.weights import Weights
    from fer.runs.folder import RunFolder
    from fer.steps import describing, reading

    table = with_copies(tmp_path, peaks, CHANGES["brighter"])
    cfg = composed("train", "data=csv", f"data.table={table}", "data.image_size=64", f"cache_dir={cache}")
    data = reading.read_data(cfg)
    folder = RunFolder.create(tmp_path / "run", {"name": "x"}, "python -m fer.train")
    describing.describe(folder, cfg, data, Weights("random"))
    about = json.loads((folder.path / "run.json").read_text())["data"]["near_identical"]
    listed = pd.read_csv(folder.path / "near_duplicates.csv")
    assert about == {"pairs": 4, "across_splits": int((listed["split"] != listed["other_split"]).sum())}
    assert describing.about_data(cfg.data, data.prepared)["near_identical"] == about


def test_an_evaluation_of_the_own_data_knows_what_is_across_splits(
    peaks: pd.DataFrame, cache: Path, tmp_path: Path
) -> None:
    from fer.evaluate import run
    from fer.train import run as train

    table = with_copies(tmp_path, peaks, CHANGES["brighter"])
    data = ("data=csv", f"data.table={table}", f"cache_dir={cache}")
    train(composed("train", *SMALL, *data, f"run_dir={tmp_path / 'run'}"), Call("", data, None))
    judged, words = tmp_path / "judged", (f"checkpoint={tmp_path / 'run'}",)
    run(composed("evaluate", *words, f"cache_dir={cache}", f"run_dir={judged}"), Call("", words, None))
    own, again = (json.loads((folder / "run.json").read_text())["data"] for folder in (tmp_path / "run", judged))
    assert again["near_identical"] == own["near_identical"] and own["near_identical"]["across_splits"] > 0


@pytest.mark.parametrize("name", ["real-faces", "ict-faces"])
def test_no_two_people_of_larger_sets_share_a_picture(name: str, cache: Path) -> None:
    root = extra_data() / name
    source = {"name": "csv", "table": str(root / "labels.csv")} if name == "real-faces" else {"name": "ckplus"}
    data = prepare(DataConfig(**source, root=str(root), image_size=64, max_skipped=1), cache)
    assert data.shared.empty
