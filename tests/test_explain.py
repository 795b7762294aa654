"""Explaining: heat is where the signal is, regions are where the face parts are, and a random map scores the area."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import LayerGradCam
from conftest import composed
from PIL import Image
from started import run_command
from torch import nn

from fer import Predictor, load
from fer.cli.command import Call
from fer.config import ExplainConfig, check
from fer.data.faces import Box, face_pixels, read_landmarks, stored_size
from fer.errors import FerError
from fer.labels import au_number
from fer.model.backbone import Backbone, make_backbone
from fer.model.heat import CHUNK, GradCam, last_map
from fer.model.network import TwoHeadNetwork
from fer.results.thumbnails import overlay
from fer.use.explaining.figure import TILE, FacePanels, Panel, draw_figure
from fer.use.explaining.mean_face import MEAN_FACE
from fer.use.explaining.regions import AU_REGIONS, au_mask, view_landmarks
from fer.use.explaining.score import HeatRow, share_inside, shares, summarise
from fer.use.facts import Facts
from fer.use.heat import HeatMaps, explain_face, face_view, told
from fer.use.runtime_torch import TorchRuntime

SIZE = 56


def toy(flip_average: bool = False) -> Predictor:
    """AU1 and `negative` are red, AU12 and `positive` are blue: a network whose reasons are known."""
    backbone = nn.Sequential(nn.Conv2d(3, 3, 7, stride=7), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = TwoHeadNetwork(Backbone(backbone, 3), SIZE, 3, 0.0, 2, 2, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), flip_average)
    with torch.no_grad():
        for layer in (backbone[0], network.dense[1], network.au_head, network.emotion_head):
            layer.weight.zero_()
            layer.bias.zero_()
        for channel in range(3):
            backbone[0].weight[channel, channel] = 1 / 49
        network.dense[1].weight.copy_(torch.eye(3))
        for head in (network.au_head, network.emotion_head):
            head.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]))
    aus, emotions = ("AU1", "AU12"), ("negative", "positive")
    even = {"au": 1.0, "emotion": 1.0}
    facts = Facts("toy", aus, emotions, dict.fromkeys(aus, 0.5), even, SIZE, "full", True)
    return Predictor(TorchRuntime(network, facts, "cpu"))


def patches() -> np.ndarray:
    """Stored pixels: red at the upper left of the view, blue at the lower right."""
    side = stored_size(SIZE)
    pixels = np.zeros((side, side, 3), np.uint8)
    start = (side - SIZE) // 2
    pixels[start + 7 : start + 14, start + 7 : start + 14, 0] = 255
    pixels[start + 42 : start + 49, start + 42 : start + 49, 2] = 255
    return pixels


@pytest.mark.parametrize("flip_average", [False, True])
def test_heat_is_where_the_signal_is(flip_average: bool) -> None:
    labels = ["AU1", "AU12", "negative", "positive"]
    maps = HeatMaps(toy(flip_average)).of(patches()[None], [(0, label) for label in labels])
    assert maps.shape == (4, SIZE, SIZE)
    assert maps.min() == 0 and maps.max(axis=(1, 2)) == pytest.approx(1)
    for label, heat in zip(labels, maps, strict=True):
        place = slice(3, 18) if label in ("AU1", "negative") else slice(38, 53)
        assert heat[place, place].sum() > 0.9 * heat.sum(), label


@pytest.mark.parametrize("flip_average", [False, True])
@pytest.mark.parametrize(
    ("name", "size", "maps"), [("resnet18", 64, (1, 1)), ("resnet18", 128, (3, 2)), ("densenet121", 64, (1, 1))]
)
def test_maps_are_those_of_captum(name: str, size: int, maps: tuple[int, int], flip_average: bool) -> None:
    torch.manual_seed(0)
    levels, grid = maps
    network = TwoHeadNetwork(name, size, 8, 0.0, 3, 2, flip_average=flip_average, levels=levels, grid=grid).eval()
    images = torch.rand(CHUNK + 2, 3, size, size)
    rows, labels = torch.tensor([0, 0, 0, 1, CHUNK + 1, 0, CHUNK]), torch.tensor([0, 3, 4, 3, 2, 1, 0])
    grad_cam = GradCam(network, size)
    peer = LayerGradCam(
        lambda images: torch.cat(network.heads(network.features(images)), dim=1),
        network.backbone.get_submodule(grad_cam.layer),
    )

    def by_captum(images: torch.Tensor) -> torch.Tensor:
        return peer.attribute(images.clone().requires_grad_(), labels, relu_attributions=True).detach()

    coarse = by_captum(images[rows])
    if flip_average:
        coarse += by_captum(images[rows].flip(-1)).flip(-1)
    wanted = nn.functional.interpolate(coarse, (size, size), mode="bilinear")[:, 0]
    wanted /= wanted.amax((1, 2), keepdim=True).clamp_min(1e-30)
    assert (wanted.amax((1, 2)) > 0).sum() >= 2
    torch.testing.assert_close(grad_cam.maps(images, rows, labels), wanted, atol=1e-4, rtol=1e-3)


def test_a_label_that_nothing_speaks_for_has_no_heat() -> None:
    black = np.zeros_like(patches())
    assert not HeatMaps(toy()).of(black[None], [(0, "AU1")]).any()


def test_a_label_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(FerError, match="no AU4; it knows AU1, AU12, negative, positive"):
        HeatMaps(toy()).of(patches()[None], [(0, "AU4")])


def test_explaining_leaves_the_model_as_it_was() -> None:
    model = toy()
    before = copy.deepcopy(model.answers(patches()[None]))
    maps = HeatMaps(model)
    maps.of(patches()[None], [(0, "AU1")])
    assert all((a == b).all() for a, b in zip(before, model.answers(patches()[None]), strict=True))
    assert all(p.requires_grad and p.grad is None for p in model.runtime.module.parameters())  # type: ignore[attr-defined]
    assert not any(m._forward_hooks for m in model.runtime.module.modules())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("backbone", "size", "layer"),
    [
        ("resnet18", 128, "layer4"),
        ("resnet18", 64, "layer3"),
        ("resnet50", 64, "layer3"),
        ("mobilenet_v3_small", 128, "features"),
        ("mobilenet_v3_small", 64, "features.8"),
        ("swin_t", 128, "permute"),
    ],
)
def test_the_last_map_is_found(backbone: str, size: int, layer: str) -> None:
    module = make_backbone(backbone, size).module
    name, places = last_map(module.eval(), size)
    assert name == layer
    assert min(places) >= 4


def test_channels_are_no_places() -> None:
    assert last_map(make_backbone("swin_t", 64).module.eval(), 64) == ("permute", (2, 2))


def test_heat_is_of_the_face_that_is_answered_about(lively: Path, pictures: list[Path]) -> None:
    model = load(lively)
    canvas = Image.new("RGB", (1000, 490), (128, 128, 128))
    canvas.paste(Image.open(pictures[0]).convert("RGB").resize((110, 84)), (740, 40))
    (face,) = model.predict(canvas)
    assert face.box.x > 700
    for label, heat in explain_face(model, canvas, face.box).items():
        assert np.array_equal(explain_face(model, canvas, labels=[label])[label], heat)


def test_a_transformer_of_tokens_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Flatten(2), nn.Linear(16, 4), nn.Flatten())
    with pytest.raises(FerError, match="needs a convolutional backbone"):
        last_map(module, 32)


def landmarks_of(picture: Path) -> np.ndarray:
    person, sequence = picture.parts[-3:-1]
    found = read_landmarks(picture.parents[3] / "Landmarks" / person / sequence / f"{picture.stem}_landmarks.txt")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def pictures(tree: Path) -> list[Path]:
    return sorted((tree / "cohn-kanade-images").glob("*/*/*.png"))[::9]


def test_landmarks_land_where_the_pixels_do(pictures: list[Path]) -> None:
    """A dot painted on a landmark is found again in the view at the place that is said."""
    for picture in pictures[:3]:
        image = np.asarray(Image.open(picture).convert("RGB"))
        points = landmarks_of(picture)
        for crop in ("face", "full"):
            x, y = points[30].round().astype(int)  # tip of the nose
            dotted = np.zeros_like(image)
            cv2.circle(dotted, (int(x), int(y)), 8, (255, 255, 255), -1)
            pixels, box, how = face_pixels(dotted, 112, crop, True, points)
            found = view_landmarks(box, how, 112, points)
            assert found is not None
            rows, columns = np.nonzero(face_view(pixels, 112)[..., 0] > 127)
            assert [columns.mean(), rows.mean()] == pytest.approx(found[30].tolist(), abs=1.0)


def test_regions_hold_their_parts_and_no_others(pictures: list[Path]) -> None:
    image = np.asarray(Image.open(pictures[0]).convert("RGB"))
    marks = landmarks_of(pictures[0])
    _, box, how = face_pixels(image, 112, "face", False, marks)
    points = view_landmarks(box, how, 112, marks)
    assert points is not None
    parts = {4: (19, 24, 27), 7: (37, 40, 44), 9: (29, 31, 35), 12: (48, 54, 51, 57), 17: (57, 8)}
    for au, inside in parts.items():
        mask = au_mask(au, points, 112)
        assert mask is not None and mask.dtype == bool
        for other in {k for some in parts.values() for k in some}:
            x, y = points[other].round().astype(int)
            # the root and the wings of the nose and the lips belong to several units
            if other in inside or other in (19, 24, 37, 44, 8):
                assert mask[min(y, 111), x] == (other in inside), (au, other)
    assert au_mask(30, points, 112) is None


def test_every_region_is_part_of_the_view() -> None:
    points = view_landmarks(Box(10, 20, 80, 80), "detector", 112)
    assert points is not None
    for au in AU_REGIONS:
        mask = au_mask(au, points, 112)
        assert mask is not None and 0.01 < mask.mean() < 0.25, au


def test_the_mean_face_is_that_of_drawn_faces(pictures: list[Path]) -> None:
    errors = []
    for picture in pictures:
        marks = landmarks_of(picture)
        _, box, _ = face_pixels(np.asarray(Image.open(picture).convert("RGB")), 112, "face", False, marks)
        errors.append((marks - [box.x, box.y]) / box.w - MEAN_FACE)
    assert np.abs(np.mean(errors, axis=0)).mean() < 0.02


def test_no_face_has_no_region() -> None:
    assert view_landmarks(Box(0, 0, 200, 100), "whole", 112) is None


def test_even_heat_scores_the_area_and_no_heat_scores_nothing() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:3, :4] = True
    assert share_inside(np.full((10, 10), 0.3, np.float32), mask) == pytest.approx(0.12)
    assert share_inside(mask.astype(np.float32), mask) == 1
    assert share_inside(np.zeros((10, 10), np.float32), mask) is None


def rows(people: bool = True) -> pd.DataFrame:
    """Four pictures of two people: AU1 twice .4 and twice .6 inside, AU12 once; what is not decided or an emotion does not count."""
    names = ["a", "a", "b", "b"] if people else [None] * 4
    made = [
        HeatRow(f"{k}.png", name, 1, "AU1", 0.9, True, inside, 0.1)
        for k, (name, inside) in enumerate(zip(names, (0.4, 0.4, 0.6, 0.6), strict=True))
    ]
    made += [
        HeatRow("0.png", names[0], 1, "AU12", 0.8, True, 0.7, 0.2),
        HeatRow("1.png", names[1], 1, "AU12", 0.2, False, 0.0, 0.2),
        HeatRow("2.png", names[2], 1, "AU12", 0.8, True, None, None),  # a face without a known place
        HeatRow("3.png", names[3], 1, "AU12", 0.8, True, None, 0.2),  # a map without heat
        HeatRow("3.png", names[3], 1, "AU4", 0.2, False, None, 0.2),
        HeatRow("0.png", names[0], 1, "happy", 0.8, True, None, None),
    ]
    return pd.DataFrame(made, columns=list(HeatRow._fields))


def test_the_summary_by_hand() -> None:
    found = summarise(rows())
    assert (found["n_images"], found["n_subjects"], found["n_maps"], found["n_without_region"]) == (4, 2, 5, 1)
    assert found["n_empty"] == {"AU12": 1}
    au1 = found["per_au"]["AU1"]
    assert (au1["n"], au1["inside"], au1["random"]) == (4, pytest.approx(0.5), pytest.approx(0.1))
    assert au1["difference"] == pytest.approx(0.4)
    # of two people, who make .3 and .5: the standard error is .1, and Student's t of one degree of freedom is 12.7
    assert au1["difference_ci"] == pytest.approx([0.4 - 1.27, 0.4 + 1.27], abs=0.03)
    assert found["per_au"]["AU12"]["inside_ci"] is None  # one person
    assert found["macro"]["inside"] == pytest.approx((0.5 + 0.7) / 2)
    assert found["macro"]["difference"] == pytest.approx((0.4 + 0.5) / 2)


def test_maps_are_held_against_those_of_other_units_of_the_same_face() -> None:
    left, right = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    left[:, :2], right[:, 2:] = 1, 1
    both, none = left + right, np.zeros_like(left)
    maps = {"AU1": left, "AU4": both, "AU12": none, "happy": right}
    found = shares(maps, {"AU1": left > 0, "AU4": right > 0, "AU12": left > 0, "happy": None})
    assert found == {"AU1": (1, 0.5, 0.5), "AU4": (0.5, 0.5, 0), "AU12": (None, 0.5, None), "happy": (None,) * 3}
    table = rows()
    table["others"] = [0.1, 0.2, *[None] * 8]
    assert summarise(table)["per_au"]["AU1"]["above_others_ci"] is None  # one person has a value
    table["others"] = [0.1, 0.2, 0.1, 0.2, *[None] * 6]
    summary = summarise(table)
    assert summary["per_au"]["AU1"]["above_others"] == pytest.approx(0.35)
    assert summary["per_au"]["AU1"]["above_others_ci"] == pytest.approx([0.35 - 1.27, 0.35 + 1.27], abs=0.03)
    assert summary["per_au"]["AU12"]["above_others"] is None
    assert summary["macro"]["above_others"] == pytest.approx(0.35)  # over the units that can be held against others
    assert summarise(rows())["macro"]["above_others"] is None


def test_a_unit_that_few_people_show_does_not_spread_the_mean_over_units() -> None:
    # both units differ from chance by as much in everybody: which of them a draw of people has says nothing
    made = [HeatRow(f"{k}.png", f"p{k}", 1, "AU1", 0.9, True, 0.4, 0.2) for k in range(20)]
    made += [HeatRow(f"{k}.png", f"p{k}", 1, "AU9", 0.9, True, 0.1, 0.3) for k in range(3)]
    macro = summarise(pd.DataFrame(made, columns=list(HeatRow._fields)))["macro"]
    assert macro["difference"] == pytest.approx(0) and macro["difference_ci"] == pytest.approx([0, 0])


def test_without_people_there_is_no_interval() -> None:
    found = summarise(rows(people=False))
    assert found["n_subjects"] is None
    assert found["per_au"]["AU1"]["inside"] == pytest.approx(0.5)
    assert found["per_au"]["AU1"]["inside_ci"] is None and found["macro"]["difference_ci"] is None


def test_explain_face_names_its_maps(lively: Path, pictures: list[Path]) -> None:
    model = load(lively)
    face = model.predict(pictures[0], faces="largest")[0]
    maps = explain_face(model, pictures[0])
    assert list(maps) == told(face) == [*face.active_aus, face.emotion]
    assert all(heat.shape == (32, 32) and 0 <= heat.min() <= heat.max() <= 1 for heat in maps.values())
    assert list(explain_face(model, pictures[0], face.box, [model.facts.aus[0]])) == [model.facts.aus[0]]
    assert len(told(face, top=2)) == 4


def test_the_overlay_leaves_the_face_where_there_is_no_heat() -> None:
    view = np.full((32, 32, 3), 90, np.uint8)
    heat = np.zeros((32, 32), np.float32)
    assert (overlay(view, heat, 64) == 90).all()
    heat[:16] = 1
    drawn = overlay(view, heat, 64).astype(int)
    assert (drawn[50] == 90).all() and drawn[10, :, 0].min() > 150


def test_the_figure_has_a_tile_for_each_map() -> None:
    view, heat = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.float32)
    small = draw_figure([FacePanels(view, "a.png", "happy", [Panel("AU12", "90%", heat)])])
    large = draw_figure([FacePanels(view, "a.png", "happy", [Panel("AU12", "90%", heat)] * 7)])
    assert 2 * TILE < small.width < 3 * TILE
    assert large.width > 6 * TILE and large.height > 1.9 * small.height


def explain(*typed: str) -> float | None:
    from fer.explain import run

    return run(composed("explain", *typed), Call("python -m fer.explain ...", typed, None))


def test_a_set_gets_figures_a_table_and_intervals(lively: Path, cache: Path, tmp_path: Path) -> None:
    where = tmp_path / "out"
    score = explain(f"checkpoint={lively}", "split=all", f"cache_dir={cache}", f"run_dir={where}", "max_figures=2")
    table, summary = pd.read_csv(where / "heat.csv"), json.loads((where / "heat.json").read_text())
    assert list(table) == list(HeatRow._fields)
    assert len(list(where.glob("*.png"))) == min(2, table["path"].nunique())
    assert summary["macro"]["difference"] == pytest.approx(score)
    assert summary["n_subjects"] == table["subject"].nunique()
    counted = table[table["decided"] & table["inside"].notna() & table["label"].map(au_number).notna()]
    for au, own in counted.groupby("label"):
        assert summary["per_au"][au]["inside"] == pytest.approx(own["inside"].mean())
    assert json.loads((where / "run.json").read_text())["finished"] is True


def test_a_folder_needs_no_labels_and_says_what_it_left_out(lively: Path, pictures: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "good.png").write_bytes(pictures[0].read_bytes())
    (folder / "bad.png").write_bytes(b"no picture")
    explain(f"checkpoint={lively}", f"input={folder}", f"run_dir={tmp_path / 'out'}", "top=1")
    assert [p.name for p in (tmp_path / "out").glob("*.png")] == ["0001_good.png"]
    assert len(json.loads((tmp_path / "out" / "run.json").read_text())["left_out"]) == 1
    assert len(pd.read_csv(tmp_path / "out" / "heat.csv")) == 2  # one unit, one emotion


def test_a_folder_may_be_called_like_a_camera_or_a_video(
    lively: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("1", "film.mp4"):
        Path(name).mkdir()
        Path(name, "a.png").write_bytes(pictures[0].read_bytes())
        explain(f"checkpoint={lively}", f"input={name}", f"run_dir={tmp_path / f'of {name}'}", "top=1")
        assert Path(f"of {name}", "heat.csv").is_file()


def test_mistakes_leave_nothing_behind(lively: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    for typed, said in (
        ([f"input={tmp_path / 'bad.png'}"], "bad.png"),
        ([f"input={tmp_path / 'none'}"], "no such file"),
        ([f"input={tmp_path / 'bad.png'}", "split=test"], "input and split"),
        ([f"input={tmp_path / 'bad.png'}", "data.batch_size=4"], "input and data.batch_size"),
        (["input=0"], "cameras"),
    ):
        with pytest.raises(FerError, match=said):
            explain(f"checkpoint={lively}", *typed, f"run_dir={out}")
        assert not out.exists()


def test_settings_are_checked_first() -> None:
    with pytest.raises(FerError, match="checkpoint is missing"):
        check(ExplainConfig())
    with pytest.raises(FerError, match=r"an exported \.onnx has no gradients"):
        check(ExplainConfig(checkpoint="model.onnx", input="a.png"))
    with pytest.raises(FerError, match="input is missing"):
        check(ExplainConfig(checkpoint="model.safetensors"))


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    ended = run_command("fer.explain", "checkpoint=model.onnx", "input=a.png", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "no gradients" in ended.stderr
