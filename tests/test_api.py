"""`from fer import load`: the Python interface, on every kind of picture."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import composed
from PIL import Image

from fer import Predictor, export, load
from fer.cli.command import Call
from fer.data.cache import build_pixels
from fer.data.faces import Box
from fer.errors import FerError
from fer.model.checkpoints import CARD, load_checkpoint
from fer.use.facts import Facts


@pytest.fixture(scope="module")
def model(lively: Path) -> Predictor:
    return load(lively)


@pytest.fixture(scope="module")
def pictures(tree: Path) -> list[Path]:
    return sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[::7]


@pytest.fixture(scope="module")
def pair(pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of two people, the larger one on the right."""
    left, right = (Image.open(pictures[k]).convert("RGB") for k in (0, -1))
    canvas = Image.new("RGB", (1040, 490), (128, 128, 128))
    canvas.paste(left.resize((400, 306)), (0, 90))
    canvas.paste(right, (400, 0))
    path = tmp_path_factory.mktemp("pair") / "pair.png"
    canvas.save(path)
    return path


def test_all_kinds_of_picture_give_the_same_answer(model: Predictor, pictures: list[Path]) -> None:
    path = pictures[0]
    image = Image.open(path)
    wanted = model.predict(path)
    kinds = [str(path), path.read_bytes(), image, np.array(image.convert("RGB")), np.array(image.convert("L"))]
    assert all(model.predict(kind) == wanted for kind in kinds)
    stack = np.stack([np.array(image.convert("RGB"))] * 2)
    for found in [*model.predict(kinds), *model.predict(stack)]:
        assert (found[0].box, found[0].au_active, found[0].emotion) == (
            wanted[0].box,
            wanted[0].au_active,
            wanted[0].emotion,
        )
        assert found[0].au_prob == pytest.approx(
            wanted[0].au_prob, abs=1e-5
        )  # batches of other sizes round in other ways


def test_answers_carry_names_and_decisions_by_the_stored_thresholds(model: Predictor, pictures: list[Path]) -> None:
    faces = [face for found in model.predict(pictures) for face in found]
    assert {len(face.au_prob) for face in faces} == {len(model.facts.aus)} and all(
        a[:2] == "AU" for a in model.facts.aus
    )
    for face in faces:
        assert face.au_active == {au: p >= model.facts.thresholds[au] for au, p in face.au_prob.items()}
        assert face.active_aus == [au for au in model.facts.aus if face.au_active[au]]
        assert face.emotion == max(face.emotion_prob, key=lambda name: face.emotion_prob[name])
        assert sum(face.emotion_prob.values()) == pytest.approx(1, abs=1e-5)
    assert len({tuple(face.active_aus) for face in faces}) > 1  # else the comparisons of these tests show nothing


def test_the_temperature_divides_the_logits(model: Predictor, lively: Path, pictures: list[Path]) -> None:
    import torch

    pixels = np.stack([model.cut(path)[0].pixels for path in pictures])
    with torch.inference_mode():
        au, emotion = model.runtime.module(model.runtime.images(pixels))  # type: ignore[attr-defined]
    answers = model.answers(pixels)
    np.testing.assert_allclose(answers.au_prob, 1 / (1 + np.exp(-au.numpy() / 1.7)), atol=1e-6)
    powers = np.exp(emotion.numpy() / 0.6 - (emotion.numpy() / 0.6).max(1, keepdims=True))
    np.testing.assert_allclose(answers.emotion_prob, powers / powers.sum(1, keepdims=True), atol=1e-6)


def test_the_pixels_are_those_of_training(model: Predictor, pictures: list[Path], tmp_path: Path) -> None:
    table = pd.DataFrame({"path": [str(path) for path in pictures]})
    stored = build_pixels(table, image_size=32, crop="face", color=False, cache_dir=tmp_path)
    for row, path in enumerate(pictures):
        crop = model.cut(path, faces="largest")[0]
        assert np.array_equal(crop.pixels, stored.array[row])
        assert (*crop.box, crop.how) == (*stored.boxes[row], stored.how[row])


def test_every_face_is_answered_the_largest_first(model: Predictor, pair: Path) -> None:
    both = model.predict(pair)
    assert len(both) == 2 and both[0].box.w > both[1].box.w and both[0].box.x > 400 > both[1].box.x
    (largest,) = model.predict(pair, faces="largest")
    assert largest.box == both[0].box
    boxes = [both[1].box, tuple(both[0].box)]
    given = model.predict(pair, boxes=boxes)
    for wrong in ((1, 2, 3, 4), [(1, 2, 3)], [("a", 1, 2, 3)]):
        with pytest.raises(FerError, match="boxes must be a list of x, y, w, h"):
            model.predict(pair, boxes=wrong)
    assert [face.how for face in given] == ["box", "box"]
    assert given[0].au_prob == pytest.approx(both[1].au_prob) and given[1].au_prob == pytest.approx(both[0].au_prob)
    assert given[0].au_prob != pytest.approx(given[1].au_prob)


def test_small_faces_of_a_group_are_found_and_leave_the_main_face_as_it_is(
    model: Predictor, pictures: list[Path]
) -> None:
    main = Image.open(pictures[0]).convert("RGB")
    canvas = Image.new("RGB", (1000, 490), (128, 128, 128))
    canvas.paste(main, (0, 0))
    for k in range(3):
        canvas.paste(Image.open(pictures[k]).convert("RGB").resize((110, 84)), (740, 40 + 140 * k))
    crops = model.cut(canvas)
    assert len(crops) == 4
    assert np.array_equal(crops[0].pixels, model.cut(canvas, faces="largest")[0].pixels)
    assert len(model.cut(canvas, smallest=1 / 6)) == 1


def test_the_smallest_face_to_look_for_holds_for_the_largest_alone_too(model: Predictor, pictures: list[Path]) -> None:
    main = Image.open(pictures[0]).convert("RGB")
    share = min(model.cut(main)[0].box[2:]) / min(main.size)
    assert model.cut(main, smallest=share - 0.02)[0].how == "detector"
    assert model.cut(main, smallest=share + 0.02)[0].how == "whole"
    canvas = Image.new("RGB", (1000, 490), (128, 128, 128))
    canvas.paste(main.resize((110, 84)), (740, 40))
    assert model.cut(canvas, faces="largest")[0].how == "whole"  # as in training
    (found,) = model.cut(canvas, faces="largest", smallest=0.05)
    assert found.how == "detector" and found.box.x > 700


def test_without_a_face_the_whole_picture_is_answered_and_said_so(model: Predictor) -> None:
    (face,) = model.predict(np.full((60, 90, 3), 127, np.uint8))
    assert face.how == "whole" and face.box == Box(0, 0, 90, 60)


def test_a_turned_photograph_is_set_upright(model: Predictor, pictures: list[Path], tmp_path: Path) -> None:
    upright = Image.open(pictures[0]).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    assert model.predict(Image.open(tmp_path / "turned.png")) == model.predict(pictures[0])


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "must be uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"got uint8 \[8, 8, 4\]"),
        (np.zeros((0, 8), np.uint8), "must be uint8"),
        ("nowhere.png", "nowhere.png: no such file"),
        (b"no picture", "not an image"),
        (Image.new("RGB", (0, 10)), "it has no pixels"),
        (7, "not int"),
    ],
)
def test_what_is_no_picture_is_refused(model: Predictor, picture: object, message: str) -> None:
    with pytest.raises(FerError, match=message):
        model.predict(picture)  # type: ignore[call-overload]


def test_a_picture_that_was_closed_is_refused(model: Predictor, pictures: list[Path]) -> None:
    with Image.open(pictures[0]) as picture:
        pass
    with pytest.raises(FerError, match="image: "):
        model.predict(picture)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bfloat16"}, "precision must be f32 or bf16"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_settings_of_a_model_are_checked(lively: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FerError, match=message):
        load(lively, **settings)


def test_faces_are_all_or_the_largest(model: Predictor, pictures: list[Path]) -> None:
    with pytest.raises(FerError, match="faces must be all or largest, got biggest"):
        model.predict(pictures[0], faces="biggest")  # type: ignore[call-overload]


def test_no_pictures_no_answers(model: Predictor) -> None:
    assert model.predict([]) == []


def test_a_missing_or_foreign_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    (tmp_path / "x.ckpt").write_bytes(b"nothing")
    for name in ("x.onnx", "x.ckpt", "absent.onnx", "absent"):
        with pytest.raises(FerError, match=name):
            load(tmp_path / name)


def test_importing_fer_is_light() -> None:
    code = "import sys, fer; print(sorted({'numpy', 'torch', 'cv2', 'hydra'} & set(sys.modules)), fer.load.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[] load"


def test_the_example_of_the_readme_runs(
    lively: Path,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = [
        block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "from fer import load" in block
    ]
    assert blocks
    (tmp_path / "outputs/train/NAME/DATE_TIME/checkpoints").mkdir(parents=True)
    shutil.copy(lively, tmp_path / "outputs/train/NAME/DATE_TIME/checkpoints/best.ckpt")
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        shutil.copy(pictures[0], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block, {})
    assert "Box(" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_size": 60_000}, "image_size must be"),
        ({"image_size": "64"}, "image_size must be"),
        ({"thresholds": {"AU1": 0.5}}, "thresholds must be"),
        ({"thresholds": {"AU1": float("nan"), "AU2": 0.5}}, "thresholds must be"),
        ({"temperature": {"au": 0.0, "emotion": 1.0}}, "temperature must be"),
        ({"temperature": {}}, "temperature must be"),
        ({"aus": ["AU1", "AU1"]}, "different names"),
        ({"aus": ["AU1", 2]}, "different names"),
        ({"crop": "nose"}, "crop must be"),
        ({"name": 5}, "must be text that can be printed"),
        ({"warning": "\x1b[31m"}, "must be text that can be printed"),
        ({"reference": "false"}, "must be true or false"),
    ],
)
def test_what_a_file_says_of_its_model_is_checked(change: dict[str, object], said: str) -> None:
    sound = Facts("x", ("AU1", "AU2"), ("a",), {"AU1": 0.5, "AU2": 0.5}, {"au": 1.0, "emotion": 1.0}, 64, "face", False)
    assert Facts.from_json(sound.as_json(), "f") == sound
    with pytest.raises(FerError, match=f"f does not hold .*{said}"):
        Facts.from_json(json.dumps(json.loads(sound.as_json()) | change), "f")
    with pytest.raises(FerError, match="f does not hold"):
        Facts.from_json("[" * 100_000, "f")


def test_answers_that_are_no_numbers_are_refused(lively: Path, pictures: list[Path], tmp_path: Path) -> None:
    checkpoint = load_checkpoint(lively)
    checkpoint["state_dict"]["network.au_head.bias"][0] = float("nan")
    torch.save(checkpoint, tmp_path / "nan.ckpt")
    with pytest.raises(FerError, match="are no numbers"):
        load(tmp_path / "nan.ckpt").predict(pictures[0])


def test_what_must_be_known_of_a_model_travels_with_it(
    lively: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(lively)
    assert not caplog.records
    last = trained / "checkpoints" / "last.ckpt"
    assert "never chosen for this checkpoint" in load(last).facts.warning and "best.ckpt" in caplog.text
    with pytest.raises(FerError, match="never chosen"):
        export.run(composed("export", f"checkpoint={last}", f"output={tmp_path}/m.safetensors"), Call("", (), None))
    checkpoint = load_checkpoint(lively)
    checkpoint[CARD]["dead"] = "DEAD MODEL: says the same"
    torch.save(checkpoint, tmp_path / "dead.ckpt")
    typed = (f"checkpoint={tmp_path}/dead.ckpt", f"output={tmp_path}/dead.safetensors")
    export.run(composed("export", *typed), Call("", (), None))
    assert load(tmp_path / "dead.safetensors").facts.warning == "DEAD MODEL: says the same"
    assert caplog.text.count("says the same") > 1


@pytest.mark.parametrize("damage", ["a card of another kind", "a threshold too few", "a label too many"])
def test_damaged_checkpoints_are_refused_in_one_line(lively: Path, tmp_path: Path, damage: str) -> None:
    checkpoint = load_checkpoint(lively)
    if damage == "a card of another kind":
        checkpoint[CARD] = 5
    elif damage == "a threshold too few":
        checkpoint[CARD]["thresholds"].popitem()
    else:
        checkpoint["hyper_parameters"]["labels"]["aus"].append(999)
    torch.save(checkpoint, tmp_path / "damaged.ckpt")
    with pytest.raises(FerError, match=r"damaged\.ckpt"):
        load(tmp_path / "damaged.ckpt")
