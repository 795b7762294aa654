"""The data module: every picture once, labels where they are, training alone is shuffled and augmented, no file is read twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, composed

from fer.config import AugmentConfig, DataConfig
from fer.data import cache as pixel_cache
from fer.data.batches import EpochBatches
from fer.data.datamodule import FaceData
from fer.data.pictures import au_targets, emotion_targets
from fer.data.prepare import PEAK_LOST, USELESS_BOX, USELESS_LANDMARKS, prepare
from fer.errors import FerError


def settings(tree: Path, **changes: object) -> DataConfig:
    plain = {"name": "ckplus", "root": str(tree), "image_size": 32, "batch_size": 8, "min_au_count": 3}
    return DataConfig(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.fixture
def data(tree: Path, cache: Path) -> FaceData:
    module = FaceData(settings(tree), AugmentConfig(), 0, cache)
    module.setup()
    return module


def test_batches_cover_everything_once_and_are_even() -> None:
    batches = EpochBatches(33, 32, seed=0)
    assert [len(b) for b in batches] == [17, 16] and len(batches) == 2  # no straggler of one, none dropped
    assert sorted(i for b in batches for _, i in b) == list(range(33))
    plain = [i for b in EpochBatches(10, 4, seed=None) for _, i in b]
    assert plain == list(range(10))


def test_training_is_reshuffled_each_epoch_and_validation_never() -> None:
    batches = EpochBatches(50, 8, seed=0)
    first = list(batches)
    batches.set_epoch(1)
    assert [i for b in first for _, i in b] != [i for b in batches for _, i in b]
    assert all(epoch == 1 for b in batches for epoch, _ in b)


def test_targets_are_minus_one_where_a_label_is_missing() -> None:
    table = pd.DataFrame(
        {"AU1": pd.array([1, None, 0], "Int8"), "emotion": pd.array(["happy", None, "anger"], "string")}
    )
    assert au_targets(table, [1, 2]).tolist() == [[1, -1], [-1, -1], [0, -1]]
    assert emotion_targets(table, ("anger", "happy")).tolist() == [1, -1, 0]
    assert au_targets(table, []).shape == (3, 0)


def test_labels_of_a_batch_are_those_of_its_rows(data: FaceData) -> None:
    table = data.prepared.part("train")
    for batch in data.train_dataloader():
        rows = table.iloc[batch["index"].numpy()]
        assert torch.equal(batch["au"], au_targets(rows, data.aus))
        assert torch.equal(batch["emotion"], emotion_targets(rows, data.emotions))
        stored = data.prepared.pixels.array[rows["pixel"].to_numpy()]
        assert np.array_equal(batch["image"].permute(0, 2, 3, 1).numpy(), stored)


def test_only_training_is_augmented(data: FaceData) -> None:
    assert "draws" in next(iter(data.train_dataloader()))
    assert "draws" not in next(iter(data.val_dataloader()))
    plain = FaceData(data.cfg, AugmentConfig("none", 0, 0, 0, 0, 0, 0, 0, 0), 0, data.cache_dir)
    plain.setup()
    assert "draws" not in next(iter(plain.train_dataloader()))


def test_second_epoch_and_second_run_read_no_image(data: FaceData, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an image file was opened")

    monkeypatch.setattr(pixel_cache, "decode", refuse)
    again = FaceData(data.cfg, data.augment, 0, data.cache_dir)
    again.setup()
    assert sum(len(batch["index"]) for batch in again.train_dataloader()) == len(data.prepared.part("train"))


def test_class_counts_come_from_the_training_split_only(data: FaceData) -> None:
    au_counts, emotion_counts = data.label_counts()
    train = data.prepared.part("train")
    for k, au in enumerate(data.aus):
        assert au_counts[k].tolist() == [(train[f"AU{au}"] == 0).sum(), (train[f"AU{au}"] == 1).sum()]
    assert emotion_counts.tolist() == [(train["emotion"] == e).sum() for e in data.emotions]
    by_emotion = data.aus_by_emotion()
    for j, emotion in enumerate(data.emotions):
        shown = train[train["emotion"] == emotion]
        for k, au in enumerate(data.aus):
            assert by_emotion[j, k].tolist() == [(shown[f"AU{au}"] == 0).sum(), (shown[f"AU{au}"] == 1).sum()]


@pytest.mark.parametrize("frames", ["peak", "peak3"])
def test_auto_units_are_those_that_enough_sequences_show_in_training(tree: Path, cache: Path, frames: str) -> None:
    module = FaceData(settings(tree, min_au_count=6, frames=frames), AugmentConfig(), 0, cache)
    module.setup()
    train = module.prepared.part("train")
    shown = {
        c: train[train[c] == 1].groupby("subject")["sequence"].nunique().sum() for c in train.columns if c[2:].isdigit()
    }
    assert module.aus == sorted(int(c[2:]) for c, n in shown.items() if n >= 6)


def test_split_does_not_depend_on_what_is_learned(tree: Path, cache: Path) -> None:
    one, other = (prepare(settings(tree, emotions=e), cache).split for e in ("high_level", "basic"))
    assert one is not None and other is not None and one.equals(other)


def table_file(tmp_path: Path, rows: list[str]) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def pictures(tmp_path: Path, n: int) -> list[str]:
    from PIL import Image

    names = []
    for k in range(n):
        Image.fromarray(np.full((40, 40), 20 * k % 255, np.uint8)).save(tmp_path / f"{k}.png")
        names.append(f"{k}.png")
    return names


def test_one_broken_picture_among_many_is_reported_and_left_out(tmp_path: Path, cache: Path) -> None:
    names = pictures(tmp_path, 24)
    (tmp_path / names[3]).write_text("no picture")
    table = table_file(
        tmp_path, ["path,subject,emotion", *(f"{n},p{k},{('anger', 'happy')[k % 2]}" for k, n in enumerate(names))]
    )
    cfg = settings(tmp_path, name="csv", table=str(table), root=None)
    prepared = prepare(cfg, cache)
    assert len(prepared.table) == 23 and prepared.skipped.counts() == {"image that can't be read": 1}
    for k in range(3):
        (tmp_path / names[k]).write_text("no picture")
    with pytest.raises(FerError, match=r"4 of 24 pictures can't be used, more than data.max_skipped=0.05"):
        prepare(cfg, cache)


def test_a_sequence_that_loses_its_peak_and_landmarks_of_no_use_are_counted(
    tree: Path, cache: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "tree"
    shutil.copytree(tree, copy)
    peaks = sorted(max(folder.glob("*.png")) for folder in copy.glob("cohn-kanade-images/*/*"))
    peaks[0].write_text("no picture")
    useless = max((copy / "Landmarks").glob("S*/*/*.txt"))
    useless.write_text("1,2\n")
    prepared = prepare(settings(copy, frames="peak3", judged_frames="peak", max_skipped=0.5), cache)
    assert prepared.skipped.items[PEAK_LOST] == ["/".join(peaks[0].parts[-3:-1])]
    assert prepared.skipped.items[USELESS_LANDMARKS] == [str(useless)]


def test_boxes_that_tell_nothing_are_counted(tree: Path, cache: Path, tmp_path: Path) -> None:
    pictures = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[:12]
    rows = [f"{path},p{k},{k % 2},0.3,0.2,{0.4 if k else 400},{0.5 if k else 400}" for k, path in enumerate(pictures)]
    (tmp_path / "t.csv").write_text("\n".join(["path,subject,AU4,x,y,w,h", *rows]))
    cfg = composed("train", *SMALL, "data=csv", f"data.table={tmp_path / 't.csv'}")
    prepared = prepare(cfg.data, cache)
    assert prepared.skipped.items[USELESS_BOX] == [str(path) for path in pictures[1:]]


def test_a_broken_picture_without_a_sequence_is_the_peak_of_none(tmp_path: Path, cache: Path) -> None:
    names = pictures(tmp_path, 10)
    (tmp_path / names[0]).write_text("no picture")
    table = table_file(tmp_path, ["path,subject,emotion", *(f"{n},p{k // 2},anger" for k, n in enumerate(names))])
    cfg = settings(tmp_path, name="csv", table=str(table), root=None, judged_frames="peak", max_skipped=0.5)
    assert prepare(cfg, cache).skipped.counts() == {"image that can't be read": 1}


def test_missing_files_count_as_broken(tmp_path: Path, cache: Path) -> None:
    names = [*pictures(tmp_path, 9), "gone.png"]
    table = table_file(tmp_path, ["path,subject,emotion", *(f"{n},p{k},anger" for k, n in enumerate(names))])
    with pytest.raises(FerError, match="1 of 10 pictures can't be used"):
        prepare(settings(tmp_path, name="csv", table=str(table), root=None), cache)


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (["path,emotion", "0.png,anger"], {}, r"data\.subject=path"),
        (["path,subject,emotion", "0.png,a,anger", "1.png,a,happy"], {}, r"1 (person|people|subject)"),
        (["path,subject", "0.png,a", "1.png,b", "2.png,c"], {}, "label"),
        (
            ["path,subject,emotion", "0.png,a,negative", "1.png,b,positive", "2.png,c,negative"],
            {"emotions": "basic"},
            "data.emotions=basic",
        ),
        (["path,subject,AU1", "0.png,a,7", "1.png,b,0", "2.png,c,0"], {}, "AU1"),
        (["path,subject,emotion", "0.png,a,hungry", "1.png,b,anger", "2.png,c,anger"], {}, "hungry"),
        (["path,subject,AU1", "0.png,a,1", "1.png,b,1", "2.png,c,1"], {"aus": [12]}, "AU12"),
    ],
)
def test_data_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, cache: Path, rows: list[str], changes: dict[str, object], message: str
) -> None:
    pictures(tmp_path, 3)
    cfg = settings(tmp_path, name="csv", table=str(table_file(tmp_path, rows)), root=None, **changes)
    with pytest.raises(FerError, match=message) as refused:
        FaceData(cfg, AugmentConfig(), 0, cache).setup()
    assert "\n" not in str(refused.value)
