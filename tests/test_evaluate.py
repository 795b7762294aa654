"""Judging a finished checkpoint: the same numbers from the file alone, other data, and nothing that the model has seen."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import composed
from PIL import Image
from started import run_command

from fer.cli.command import Call
from fer.errors import FerError
from fer.evaluate import run
from fer.export import run as export

Evaluate = Callable[..., Path]


@pytest.fixture
def evaluate(cache: Path, tmp_path: Path) -> Evaluate:
    """`evaluate(checkpoint, *overrides)` is `fer.evaluate`; returns its run folder."""

    def start(checkpoint: Path, *overrides: str, name: str = "judged") -> Path:
        typed = (
            f"checkpoint={checkpoint}",
            f"cache_dir={cache}",
            f"run_dir={tmp_path / name}",
            "report.pictures=false",
            *overrides,
        )
        run(composed("evaluate", *typed), Call("python -m fer.evaluate ...", typed, None))
        return tmp_path / name

    return start


def metrics(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "metrics.json").read_text())


def test_the_checkpoint_alone_repeats_the_numbers_of_its_run(trained: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    alone = shutil.copy(trained / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    assert metrics(evaluate(alone, name="test"))["test"] == metrics(trained)["test"]
    assert metrics(evaluate(trained, "split=val", name="val"))["val"] == metrics(trained)["val"]
    about, before = (json.loads((folder / "run.json").read_text()) for folder in (tmp_path / "val", trained))
    assert {"weights", "device", "precision", "timings"} <= about.keys() and about["precision"] == "f32"
    wanted = hashlib.sha256((trained / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()
    assert about["checkpoint_sha256"] == wanted and about["weights"].keys() == before["weights"].keys()
    log = (trained / "train.log").read_text()
    assert re.search(r"INFO test: (Action units|Emotion): .*95% interval", log), log
    assert set(pd.read_csv(tmp_path / "val" / "split.csv", dtype=str)["split"]) == {"val"}
    assert (tmp_path / "val" / "skipped.csv").read_text() == (trained / "skipped.csv").read_text()
    for same in ("fingerprint", "split_hash"):  # fer.compare asks who was learned from
        assert about["data"][same] == before["data"][same]
    everything = metrics(evaluate(trained, "split=all", name="all"))["all"]
    assert everything == metrics(trained)["test"]  # of its own data the model has not seen the test people only


def test_each_of_several_evaluations_has_a_folder(trained: Path, cache: Path, tmp_path: Path) -> None:
    words = [f"checkpoint={trained}", f"cache_dir={cache}", "report.pictures=false", "split=val,test"]
    ended = run_command("fer.evaluate", "-m", *words, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (sweep,) = (tmp_path / "outputs" / "sweeps" / "evaluate").iterdir()
    for part in ("val", "test"):
        assert metrics(sweep / f"split-{part}")[part] == metrics(trained)[part]
    assert [p.name for p in (tmp_path / "outputs").iterdir()] == ["sweeps"]


@pytest.mark.parametrize("setting", ["split_seed=7", "folds=3", "test_fraction=.5", "min_au_count=9"])
def test_who_is_where_is_the_checkpoint_s(trained: Path, evaluate: Evaluate, tree: Path, setting: str) -> None:
    with pytest.raises(FerError, match=f"data.{setting.split('=')[0]} has no effect on an evaluation"):
        evaluate(trained, f"data.{setting}")
    with pytest.raises(FerError, match="of other data everybody is judged"):
        evaluate(trained, "data=ckplus", f"data.root={tree}", f"data.{setting}")


def test_other_data_is_judged_whole_without_what_the_model_has_seen(
    trained: Path, evaluate: Evaluate, tree: Path, tmp_path: Path
) -> None:
    split = pd.read_csv(trained / "split.csv", dtype=str).set_index("subject")["split"]
    copy = tmp_path / "renamed"  # the same pictures under other names, and fewer labels: other data by its fingerprint
    shutil.copytree(tree, copy)
    shutil.rmtree(copy / "Emotion")
    judged = evaluate(trained, f"data.root={copy}")
    people = set(pd.read_csv(judged / "predictions.csv", dtype=str)["subject"])
    assert people == set(split[split == "test"].index)
    assert set(metrics(judged)) == {"all"} and "emotion" not in metrics(judged)["all"]


def test_other_frames_of_known_people_are_not_new(
    trained: Path, evaluate: Evaluate, tree: Path, tmp_path: Path
) -> None:
    split = pd.read_csv(trained / "split.csv", dtype=str).set_index("subject")["split"]
    strangers = set(split[split == "test"].index)
    judged = evaluate(trained, "data.frames=neutral+peak3")
    assert set(pd.read_csv(judged / "predictions.csv", dtype=str)["subject"]) == strangers
    # and as a table without landmarks, so that every face is cropped in another way
    pictures = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))
    rows = [f"{path},{path.parent.parent.name},1" for path in pictures]
    (tmp_path / "table.csv").write_text("\n".join(["path,subject,AU4", *rows]))
    judged = evaluate(trained, "data=csv", f"data.table={tmp_path / 'table.csv'}", name="table")
    assert set(pd.read_csv(judged / "predictions.csv", dtype=str)["subject"]) == strangers


def test_people_who_only_share_their_names_with_known_ones_are_new(
    trained: Path, evaluate: Evaluate, tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = tmp_path / "others"  # laid out and named alike, as all data sets in the layout of CK+ are
    shutil.copytree(tree, others)
    for picture in (others / "cohn-kanade-images").glob("*/*/*.png"):
        Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture)
    shutil.rmtree(others / "Emotion")
    judged = evaluate(trained, f"data.root={others}")
    split = pd.read_csv(trained / "split.csv", dtype=str)
    assert set(pd.read_csv(judged / "predictions.csv", dtype=str)["subject"]) == set(split["subject"])
    # but pictures that were only saved anew would look like these
    n = (split["split"] != "test").sum()
    assert f"{n} of {len(split)} people bear names of people that the model was trained or tuned on" in caplog.text


def test_data_without_the_labels_of_the_model_or_without_anybody_new_is_refused(
    train: Callable[..., Path], evaluate: Evaluate, tree: Path, tmp_path: Path
) -> None:
    run_dir = train("data.aus=[1,4]")
    picture = next((tree / "cohn-kanade-images").glob("*/*/*.png"))
    table = tmp_path / "table.csv"
    table.write_text(f"path,subject,AU12\n{picture},x,1\n")
    with pytest.raises(FerError, match="nothing to judge"):
        evaluate(run_dir, "data=csv", f"data.table={table}")
    with pytest.raises(FerError, match="use split=all"):
        evaluate(run_dir, "data=csv", f"data.table={table}", "split=test")
    assert not (tmp_path / "judged").exists()


def test_people_of_the_pretrained_weights_are_not_new(
    train: Callable[..., Path], evaluate: Evaluate, tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train("trainer.save_backbone=true", "trainer.max_epochs=1", run_dir=tmp_path / "first")
    learned = pd.read_csv(first / "split.csv", dtype=str)
    new = set(learned.loc[learned["split"] == "test", "subject"])
    # trained on a person of the first run's test, mirrored, and judged on everybody
    rows = ["path,subject,AU12"]
    for k, picture in enumerate(sorted((tree / "cohn-kanade-images").glob(f"{min(new)}/*/*.png"))):
        Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / f"{k}.png")
        rows += [f"{tmp_path / f'{k}.png'},x{k},{k % 2}"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    weights = f"model.weights={first / 'backbone.safetensors'}"
    own = ("data.name=csv", f"data.table={tmp_path / 'table.csv'}", f"data.root={tmp_path}", "data.aus=[12]")
    second = train(weights, *own, run_dir=tmp_path / "second")
    judged = evaluate(second, "data=ckplus", f"data.root={tree}")
    assert set(pd.read_csv(judged / "predictions.csv", dtype=str)["subject"]) == new
    # and a run that is judged on them says so
    other = train(weights, "seed=5", "trainer.max_epochs=1", run_dir=tmp_path / "other")
    about = json.loads((other / "run.json").read_text())
    assert "has learned from" in about["weights"]["warning"] and "its scores are too good" in caplog.text
    split = pd.read_csv(other / "split.csv", dtype=str).set_index("subject")["split"]
    n_known = {part: len(set(split.index[split == part]) - new) for part in ("val", "test")}
    assert about["weights"]["judged_people_known"] == sum(n_known.values()) > 0
    for part, n in n_known.items():
        judged = json.loads((evaluate(other, f"split={part}", name=part) / "run.json").read_text())["weights"]
        assert judged["judged_people_known"] == n and bool(judged["warning"]) == (n > 0)


def test_a_new_table_starts_from_its_own_folder(
    trained: Path, evaluate: Evaluate, tree: Path, tmp_path: Path, train: Callable[..., Path]
) -> None:
    pictures = sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[:24]
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
        rows = ["path,subject,AU12"]
        for k, picture in enumerate(pictures):
            with Image.open(picture) as face:
                (face if folder == "old" else face.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).save(
                    tmp_path / folder / f"{k}.png"
                )
            rows += [f"{k}.png,{folder}{k // 2},{k % 2}"]
        (tmp_path / folder / "t.csv").write_text("\n".join(rows))
    own = ("data.name=csv", f"data.table={tmp_path / 'old/t.csv'}", f"data.root={tmp_path / 'old'}", "data.aus=[12]")
    run_dir = train(*own, "trainer.max_epochs=1", run_dir=tmp_path / "run")
    judged = evaluate(run_dir, f"data.table={tmp_path / 'new/t.csv'}")
    paths = pd.read_csv(judged / "predictions.csv")["path"]
    assert len(paths) == 24 and all(Path(path).parent == tmp_path / "new" for path in paths)


def test_settings_of_the_model_cannot_be_changed(trained: Path, evaluate: Evaluate) -> None:
    with pytest.raises(FerError, match=r"data\.crop is stored in the checkpoint \(face\)"):
        evaluate(trained, "data.crop=full")


def test_a_checkpoint_of_another_version_says_so(trained: Path, evaluate: Evaluate, tmp_path: Path) -> None:
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["fer"]["fer_version"] = "9.9"
    checkpoint["hyper_parameters"]["strange"] = 1
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(FerError, match=r"written by fer 9\.9"):
        evaluate(tmp_path / "other.ckpt")


def test_an_exported_file_is_judged_in_the_place_of_its_checkpoint(
    lively: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    export(composed("export", f"checkpoint={lively}", f"output={file}", "format=onnx"), Call("", (), None))
    own, of_file = (
        pd.read_csv(evaluate(lively, *more, name=name) / "predictions.csv")
        for name, more in (("own", ()), ("file", (f"exported={file}",)))
    )
    answers = [name for name in own if "_prob" in name]
    np.testing.assert_allclose(of_file[answers], own[answers], atol=1e-4)
    assert not of_file[answers].equals(own[answers])  # by another program, which rounds otherwise
    pd.testing.assert_frame_equal(of_file.drop(columns=answers), own.drop(columns=answers))
    assert json.loads((tmp_path / "file" / "run.json").read_text())["exported"] == str(file)


def test_a_file_of_another_checkpoint_is_not_judged(
    trained: Path, lively: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    export(composed("export", f"checkpoint={trained}", f"output={file}", "format=safetensors"), Call("", (), None))
    checkpoint = torch.load(lively, weights_only=True)
    for what, head in (("thresholds", "AU12"), ("temperature", "au")):
        other = copy.deepcopy(checkpoint)
        other["fer"][what][head] = 0.123
        torch.save(other, tmp_path / "other.ckpt")
        with pytest.raises(FerError, match=f"not made from this checkpoint: it has other .*{what}"):
            evaluate(tmp_path / "other.ckpt", f"exported={file}")
    for name in ("nothing.onnx", "other.ckpt"):
        with pytest.raises(FerError, match=r"exported=.*no such file of fer\.export"):
            evaluate(lively, f"exported={tmp_path / name}")
