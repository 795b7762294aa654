"""data.reference=neutral: pairs in, answers about the first of each pair out; the same in training, evaluation and use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import composed

from fer import load
from fer.cli.command import Call
from fer.data import ckplus, csv
from fer.data.cache import build_pixels
from fer.data.prepare import NO_REFERENCE, with_reference
from fer.data.samples import Skipped
from fer.data.seen import picture_hashes
from fer.errors import FerError
from fer.evaluate import run as evaluate
from fer.model.network import TwoHeadNetwork
from fer.use.exporting.export import read_model


@pytest.fixture(scope="module")
def paired(tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that compares with the neutral frame; one sequence of its tree has lost it."""
    from conftest import SMALL

    from fer.train import run

    where = tmp_path_factory.mktemp("paired")
    shutil.copytree(tree, where / "tree")
    first, *others = sorted(next((where / "tree" / "cohn-kanade-images").glob("*/*")).glob("*.png"))
    for frame in (first, *others[:-1]):
        frame.unlink()
    settings = (f"cache_dir={cache}", f"run_dir={where / 'run'}", "data.reference=neutral", "trainer.max_epochs=1")
    typed = ("data=ckplus", f"data.root={where / 'tree'}", *SMALL, *settings)
    run(composed("train", *typed), Call("python -m fer.train ...", typed, None))
    return where


def test_a_pair_is_the_frame_and_the_first_one_of_its_sequence(tree: Path, tmp_path: Path) -> None:
    table = ckplus.read(tree, "peak", reference=True).table.head(3)
    settings = {"image_size": 32, "crop": "face", "color": False, "cache_dir": tmp_path}
    pairs = build_pixels(table, **settings).array
    alone = table.drop(columns=["reference", "reference_landmarks"])
    neutral = alone.assign(path=table["reference"], landmarks=table["reference_landmarks"])
    assert pairs.shape[-1] == 2
    np.testing.assert_array_equal(pairs[..., :1], build_pixels(alone, **settings).array)
    np.testing.assert_array_equal(pairs[..., 1:], build_pixels(neutral, **settings).array)
    assert [Path(path).name[-12:-4] for path in table["reference"]] == ["00000001"] * 3


@pytest.mark.parametrize("color", [False, True])
def test_a_picture_is_known_again_beside_another_neutral_one(tree: Path, tmp_path: Path, color: bool) -> None:
    table = ckplus.read(tree, "peak", reference=True).table.head(3)
    others = table.assign(reference=table["path"], reference_landmarks=table["landmarks"])
    alone = table.drop(columns=["reference", "reference_landmarks"])
    settings = {"image_size": 32, "crop": "face", "color": color, "cache_dir": tmp_path}
    each = [SimpleNamespace(pixels=build_pixels(rows, **settings)) for rows in (table, others, alone)]
    hashes = [picture_hashes(prepared, table.assign(pixel=range(3))) for prepared in each]
    assert len(set(hashes[0])) == 3 and all(np.array_equal(hashes[0], more) for more in hashes)


def test_features_of_a_pair_are_the_difference_of_those_of_its_pictures() -> None:
    pairs = TwoHeadNetwork("resnet18", 32, 8, 0.0, 2, 3, reference=True).eval()
    single = TwoHeadNetwork("resnet18", 32, 8, 0.0, 2, 3).eval()
    single.load_state_dict(pairs.state_dict())  # one shape: what was learned of pictures starts what compares them
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        same = pairs.features(torch.cat((pictures, pictures), 1))
        other = pairs.features(torch.cat((pictures, pictures.flip(0)), 1))
        own = single.features(pictures)
    torch.testing.assert_close(same, torch.zeros_like(same), atol=1e-5, rtol=0)
    torch.testing.assert_close(other, own - own.flip(0), atol=1e-5, rtol=0)


def test_evaluation_and_prediction_answer_as_training_did(paired: Path, cache: Path, tmp_path: Path) -> None:
    typed = (f"checkpoint={paired / 'run'}", f"run_dir={tmp_path / 'judged'}", f"cache_dir={cache}")
    evaluate(composed("evaluate", *typed), Call("", typed, None))
    judged = pd.read_csv(tmp_path / "judged" / "predictions.csv")
    trained = pd.read_csv(paired / "run" / "predictions.csv").query("split == 'test'").reset_index(drop=True)
    columns = [c for c in judged if c.endswith("_prob") or "_prob_" in c]
    np.testing.assert_allclose(judged[columns], trained[columns], atol=1e-6)
    model = load(paired / "run")
    peak = Path(judged["path"][0])
    pair = build_pixels(
        ckplus.read(paired / "tree", "peak", reference=True).table.query("path == @peak.as_posix()"),
        image_size=32,
        crop="face",
        color=False,
        cache_dir=cache,
    ).array
    model.neutral = np.asarray(pair[0, ..., 1:])
    found = model.answers(np.asarray(pair[..., :1]))
    np.testing.assert_allclose(found.emotion_prob[0], judged.filter(like="emotion_prob_").iloc[0], atol=1e-5)
    before = model.predict(peak)[0].au_prob
    model.compare_with(peak)
    assert model.predict(peak)[0].au_prob != before


def test_what_has_no_neutral_picture_is_left_out_and_counted(paired: Path) -> None:
    left_out = pd.read_csv(paired / "run" / "skipped.csv")
    assert (left_out["reason"] == NO_REFERENCE).sum() == 1


def test_a_neutral_frame_is_not_compared_with_itself(tree: Path) -> None:
    table = ckplus.read(tree, "neutral+peak3", reference=True).table
    cfg, skipped = composed("train", "data=ckplus", "data.root=x", "data.reference=neutral").data, Skipped()
    left = with_reference(table, cfg, skipped)
    assert skipped.counts() == {NO_REFERENCE: table.groupby(["subject", "sequence"]).ngroups}
    assert (table["emotion"] == "neutral").any() and not (left["emotion"] == "neutral").any()


def test_a_model_of_pairs_says_what_it_needs(paired: Path, trained: Path) -> None:
    picture = next((paired / "tree" / "cohn-kanade-images").glob("*/*/*.png"))
    with pytest.raises(FerError, match="reference=PICTURE"):
        load(paired / "run").predict(picture)
    with pytest.raises(FerError, match=r"fer\.export: this model compares"):
        read_model(str(paired / "run"), "f32")
    with pytest.raises(FerError, match="takes no reference"):
        load(trained).compare_with(picture)


def test_places_of_landmarks_are_no_task_for_a_difference() -> None:
    with pytest.raises(FerError, match=r"loss\.landmark_weight must be 0 with data\.reference=neutral"):
        composed("train", "data=ckplus", "data.root=x", "data.reference=neutral", "loss.landmark_weight=1")


def test_frozen_backbones_learn_from_kept_pairs(train: Callable[..., Path], tmp_path: Path) -> None:
    typed = (
        "data.reference=neutral",
        "model.finetune=frozen",
        "data.views=1",
        "model.flip_average=true",
        "augment=none",
    )
    kept = train(*typed)
    again = train(*typed, "data.cache_features=false", run_dir=tmp_path / "again")
    first, second = (pd.read_csv(run / "predictions.csv") for run in (kept, again))
    columns = [c for c in first if c.endswith("_prob") or "_prob_" in c]
    np.testing.assert_allclose(first[columns], second[columns], atol=1e-6)


def test_a_table_must_say_which_picture_is_neutral(tree: Path, tmp_path: Path) -> None:
    one, two = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[:2]
    table = tmp_path / "table.csv"
    table.write_text(f"path,subject,AU4\n{two},x,1\n")
    with pytest.raises(FerError, match="needs a column `reference`"):
        csv.read(table, None, "subject", reference=True)
    table.write_text(f"path,subject,AU4,reference\n{two},x,1,{one}\n{one},x,0,\n")
    found = csv.read(table, None, "subject", reference=True).table.set_index("path")["reference"]
    assert found[str(two)] == str(one) and pd.isna(found[str(one)])


def test_a_checkpoint_whose_heads_take_other_features_is_refused_with_the_reason(paired: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(paired / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    weight = checkpoint["state_dict"]["network.dense.1.weight"]
    checkpoint["state_dict"]["network.dense.1.weight"] = torch.cat((weight, weight), 1)
    torch.save(checkpoint, tmp_path / "older.ckpt")
    with pytest.raises(FerError, match=r"does not fit this one: .*size mismatch for network\.dense"):
        load(tmp_path / "older.ckpt")
