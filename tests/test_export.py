"""`fer.export`: one file with all that is needed, the same answers, or no file at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed
from PIL import Image

from fer import load
from fer.cli.command import Call
from fer.errors import FerError
from fer.export import run
from fer.model.weights import find_weights
from fer.use.answers import Answers
from fer.use.exporting.agreement import Agreement, compare, refuse_beyond
from fer.use.exporting.trial import _spread
from fer.use.facts import Facts
from fer.use.runtime_onnx import network_input

Export = Callable[..., Path]

REPOSITORY = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
"""For processes that import both the tests' helpers and `fer`."""


@pytest.fixture
def export(lively: Path, tmp_path: Path) -> Export:
    """`export(name, *overrides)` is `fer.export output=<name>`."""

    def start(name: str, *overrides: str, checkpoint: Path = lively) -> Path:
        (tmp_path / "exported").mkdir(exist_ok=True)
        path = tmp_path / "exported" / name
        run(composed("export", f"checkpoint={checkpoint}", f"output={path}", *overrides), Call("", (), None))
        return path

    return start


@pytest.fixture(scope="module")
def other(lively: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another kind: emotions only, colour, whole pictures, answers averaged over the mirror image."""
    checkpoint = torch.load(lively, weights_only=True)
    settings, card = checkpoint["hyper_parameters"], checkpoint["fer"]
    settings["labels"]["aus"], settings["model"]["flip_average"] = [], True
    settings["preprocessing"] |= {"color": True, "crop": "full"}
    settings["class_weights"] = {}
    card["thresholds"] = {}
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {k: v for k, v in state.items() if "au_head" not in k and "_au" not in k}
    path = tmp_path_factory.mktemp("other") / "other.ckpt"
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 37, 37, 1), dtype=np.uint8)


def test_onnx_holds_everything_and_takes_any_number(export: Export, lively: Path, pixels: np.ndarray) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = export("model.onnx")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]  # nothing is left of the writing
    session = onnxruntime.InferenceSession(path)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["fer"])
    card = torch.load(lively, weights_only=True)["fer"]
    assert facts["thresholds"] == card["thresholds"] and facts["aus"] == list(card["thresholds"])
    assert facts["temperature"] == {"au": 1.7, "emotion": 0.6}
    assert facts["emotions"] == ["negative", "positive", "surprise"]
    assert (facts["image_size"], facts["crop"], facts["color"], facts["precision"]) == (32, "face", False, "f32")
    model, reference = load(path), load(lively)
    assert model.facts == reference.facts
    for n in (1, 2, 5):
        for found, wanted in zip(model.answers(pixels[:n]), reference.answers(pixels[:n]), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_numpy_and_torch_make_the_same_network_input(lively: Path, pixels: np.ndarray) -> None:
    assert np.array_equal(network_input(pixels, 32), load(lively).runtime.images(pixels).numpy())  # type: ignore[attr-defined]


def test_mirror_average_colour_and_a_single_head_are_kept(export: Export, other: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, reference = load(export("other.onnx", checkpoint=other)), load(other)
    picture = np.random.default_rng(1).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)
    for (found,), (wanted,) in zip(model.predict(picture), reference.predict(picture), strict=True):
        assert found.emotion_prob == pytest.approx(wanted.emotion_prob, abs=1e-4)
        assert found.au_prob == {} and found.how == "whole"


def test_safetensors_are_read_back(export: Export, lively: Path, other: Path, pixels: np.ndarray) -> None:
    for checkpoint in (lively, other):
        path = export(f"{checkpoint.stem}.safetensors", checkpoint=checkpoint)
        image = pixels if checkpoint == lively else np.repeat(pixels, 3, axis=3)
        for found, wanted in zip(load(path).answers(image), load(checkpoint).answers(image), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)
        # as a start for another run it says whom it has learned from, as the checkpoint does
        before, after = find_weights("resnet18", str(checkpoint)).seen, find_weights("resnet18", str(path)).seen
        assert before is not None and after is not None and len(before["seen"]) > 0
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_a_name_the_file_is_called_model(lively: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(composed("export", f"checkpoint={lively}", "format=safetensors"), Call("", (), None))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


IN_ANOTHER_PROCESS = """
import dataclasses, json, sys
from conftest import composed
from fer import load
from fer.cli.command import Call
from fer.export import run
from fer.use.exporting import agreement

seen = []
agreement.refuse_beyond = lambda agreement, precision: seen.append(dataclasses.asdict(agreement))
for path in sys.argv[2:]:
    run(composed("export", f"output={path}", *json.loads(sys.argv[1])), Call("", (), None))
print(json.dumps([{**found, "precision": load(path).facts.precision} for found, path in zip(seen, sys.argv[2:])]))
"""
"""Makes the files that are named after the settings, whatever they answer; prints how far they are from the checkpoint."""


def test_int8_is_calibrated_and_kept_within_its_bound(lively: Path, tree: Path, tmp_path: Path) -> None:
    for package in ("onnxruntime", "onnxscript", "openvino", "nncf"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    paths = [tmp_path / "onnx" / "model.onnx", tmp_path / "openvino" / "model.xml"]
    for path in paths:
        path.parent.mkdir()
    settings = [f"checkpoint={lively}", "precision=int8", f"input={tree}", "max_images=40"]
    # quantizers take much memory and are much native code: neither is to end the process of all tests
    line = [sys.executable, "-c", IN_ANOTHER_PROCESS, json.dumps(settings), *map(str, paths)]
    done = subprocess.run(line, cwd=Path(__file__).parent, env=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    whole = sum(v.numel() * 4 for v in torch.load(lively, weights_only=True)["state_dict"].values())
    for path, found in zip(paths, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert sum(file.stat().st_size for file in path.parent.iterdir()) < 0.4 * whole
        assert found["precision"] == "int8" and 0 < found["moved_on_average"] < 0.1
    # in 256 steps the answers about different faces would often be the same number
    model, cut = load(paths[0]), load(lively).cut
    faces = np.stack([cut(path)[0].pixels for path in sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[::2]])
    assert len(faces) > 40 and min(
        len(np.unique(column)) for head in model.answers(faces) for column in head.T
    ) > 0.95 * len(faces)


def test_a_file_that_answers_otherwise_is_not_kept(
    export: Export, lively: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer.use.exporting.formats import WRITERS, write_safetensors

    def wrong(module: Any, facts: Facts, path: Path, calibration: Any) -> None:
        with torch.no_grad():
            module.network.dense[1].bias += 0.5
            write_safetensors(module, facts, path, calibration)
            module.network.dense[1].bias -= 0.5

    monkeypatch.setitem(WRITERS, "safetensors", wrong)
    with pytest.raises(FerError, match="the exported file is not kept"):
        export("model.safetensors")
    assert list((tmp_path / "exported").iterdir()) == []


@pytest.mark.parametrize(("there", "most"), [(5, 10), (10, 10), (19, 10), (29, 10)])
def test_pictures_to_try_are_spread_over_the_whole_folder(tmp_path: Path, there: int, most: int) -> None:
    for number in range(there):
        Image.new("L", (8, 8)).save(tmp_path / f"{number:02d}.png")
    taken = [int(Path(item.path).stem) for item in _spread(str(tmp_path), most)]
    assert len(taken) == min(there, most) and taken == sorted(set(taken))
    steps = np.diff([*taken, there])
    assert taken[0] == 0 and steps.max() - steps.min() <= 1


def test_differences_are_counted_by_decision() -> None:
    temperature = {"au": 1.0, "emotion": 1.0}
    facts = Facts("x", ("AU1", "AU2"), ("a", "b"), {"AU1": 0.5, "AU2": 0.2}, temperature, 32, "face", False)
    before = Answers(np.array([[0.4, 0.3], [0.6, 0.1]], np.float32), np.array([[0.9, 0.1], [0.4, 0.6]], np.float32))
    after = Answers(np.array([[0.4, 0.3], [0.4, 0.1]], np.float32), np.array([[0.9, 0.1], [0.4, 0.6]], np.float32))
    found = compare(facts, before, after)
    assert (found.n_faces, found.changed) == (2, pytest.approx(1 / 6))
    assert (found.moved, found.moved_on_average) == (pytest.approx(0.2), pytest.approx(0.2 / 8))
    refuse_beyond(compare(facts, before, before), "f32")
    refuse_beyond(Agreement(100, 0.02, 0.01, 0.005), "bf16")
    for agreement in (found, Agreement(9, 0.0, 0.0, 0.001), Agreement(9, 0.01, 0, 0), Agreement(9, np.nan, np.nan, 0)):
        with pytest.raises(FerError, match="is not kept"):
            refuse_beyond(agreement, "f32")


def test_nothing_is_written_over_without_a_word(export: Export, tmp_path: Path) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model.safetensors").write_text("precious")
    with pytest.raises(FerError, match="is there already"):
        export("model.safetensors")
    with pytest.raises(FerError, match="its folder does not exist"):
        export("absent/model.safetensors")
    assert (tmp_path / "exported" / "model.safetensors").read_text() == "precious"
    assert export("model.safetensors", "overwrite=true").stat().st_size > 1e6
    (tmp_path / "exported" / "other.bin").write_text("precious")
    with pytest.raises(FerError, match=r"other\.bin is there already"):  # OpenVINO's weights would be written there
        export("other.xml")
    assert (tmp_path / "exported" / "other.bin").read_text() == "precious"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "checkpoint is missing.*output is missing"),
        (("checkpoint=x", "output=a.pt"), r"output must end in \.onnx, \.xml, \.safetensors, got a\.pt"),
        (("checkpoint=x", "output=a.onnx", "format=openvino"), r"must end in \.xml for format=openvino"),
        (("checkpoint=x", "output=a.onnx", "precision=bf16"), "precision=bf16 is not made for format=onnx"),
        (("checkpoint=x", "output=a.onnx", "precision=int8"), "needs input=FOLDER"),
    ],
)
def test_wrong_settings_are_one_line(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(FerError, match=message):
        composed("export", *overrides)


def test_a_missing_package_is_named_with_the_way_to_get_it(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FerError, match=r"onnxruntime is needed .*pip install"):
        export("model.onnx")
    with pytest.raises(FerError, match=r"openvino is needed .*pip install"):
        export("model.xml")
