"""Heads that see maps (`model.levels`, `model.grid`): where the features come from, what is refused, what still holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import get_model

from fer import load
from fer.cli.command import Call
from fer.crossval import run as crossval
from fer.errors import FerError
from fer.export import run as export
from fer.model.backbone import make_backbone, pool_maps
from fer.model.carried import heads_of
from fer.model.heat import GradCam
from fer.model.network import TwoHeadNetwork
from fer.model.weight_files import save_backbone
from fer.model.weights import find_weights
from tests.conftest import composed

MAPS = ("model.levels=2", "model.grid=2", "model.landmarks=true")
AUS, EMOTIONS = (1, 4), ("happy", "neutral")


def network(levels: int = 2, grid: int = 2, reference: bool = False, landmarks: bool = False) -> TwoHeadNetwork:
    return TwoHeadNetwork(
        "resnet18", 64, 8, 0.0, 2, 2, reference=reference, levels=levels, grid=grid, landmarks=landmarks
    ).eval()


def test_cells_are_means_of_their_part_of_the_map() -> None:
    fine = torch.tensor([[[[1.0, 3, 0, 0], [5, 7, 0, 0], [0, 0, 2, 2], [0, 0, 2, 6]]]])
    coarse = torch.tensor([[[[9.0]]]])  # one place has no four cells
    assert pool_maps([fine, coarse], 2).tolist() == [[4, 0, 0, 3, 9]]
    assert pool_maps([fine, coarse], 1).tolist() == [[1.75, 9]]


def test_features_are_the_last_maps_of_the_coarsest_resolutions() -> None:
    whole = get_model("resnet18", weights=None).eval()
    made = make_backbone("resnet18", 96, levels=3, grid=4)
    made.module.load_state_dict(whole.state_dict(), strict=False)
    images, seen = torch.rand(2, 3, 96, 96), []
    for layer in (whole.layer2, whole.layer3, whole.layer4):
        layer.register_forward_hook(lambda _module, _given, out: seen.append(out))
    with torch.no_grad():
        whole(images)
        found = made.module.eval()(images)
    assert [map_.shape[2] for map_ in seen] == [12, 6, 3]
    pooled = [nn.functional.adaptive_avg_pool2d(map_, min(4, map_.shape[2])).flatten(1) for map_ in seen]
    assert torch.equal(found, torch.cat(pooled, 1)) and made.n_features == (128 + 256) * 16 + 512 * 9


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_the_mean_over_the_cells_is_what_the_classifier_sees(name: str) -> None:
    plain, cells = make_backbone(name, 64), make_backbone(name, 64, grid=2)
    cells.module.load_state_dict(plain.module.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        mean = cells.module.eval()(images).view(2, -1, 4).mean(2)
        torch.testing.assert_close(mean, plain.module.eval()(images))


@pytest.mark.parametrize(
    ("name", "n_features"),
    [
        ("vgg16", 4 * (512 + 512)),
        ("mobilenet_v3_large", 4 * (112 + 960)),
        ("inception_v3", 4 * 768 + 2048),  # at 96 pixels its last map is of one place
        ("densenet121", 4 * (512 + 1024)),
        ("squeezenet1_1", 4 * (256 + 512)),
    ],
)
def test_any_convolutional_classifier_has_them(name: str, n_features: int) -> None:
    assert make_backbone(name, 96, levels=2, grid=2).n_features == n_features


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        (
            "swin_t",
            2,
            r"model\.levels=2, model\.grid=2, model\.landmarks=false: model\.backbone=swin_t has 1 resolution",
        ),
        ("vit_b_16", 1, "has 0 resolution"),
        ("resnet18", 6, "has 5 resolution"),
    ],
)
def test_more_levels_than_there_are_are_refused(name: str, levels: int, message: str) -> None:
    with pytest.raises(FerError, match=message):
        make_backbone(name, 224, levels, 2)


def test_features_of_different_size_count_alike_and_one_picture_is_a_batch() -> None:
    net = network().train()
    features = torch.randn(64, net.n_features) * torch.logspace(-2, 2, net.n_features) + 3
    seen: list[torch.Tensor] = []
    net.dense.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    net.heads(features)
    torch.testing.assert_close(seen[0].std(0, correction=0), torch.ones(net.n_features), atol=0.1, rtol=0)
    assert torch.isfinite(net.heads(features[:1]).au).all()  # type: ignore[union-attr]
    net.standardised.reset_running_stats()  # type: ignore[operator]
    for k in range(8):  # an epoch of a small data set: what validation sees is standardised by then
        net.heads(features[8 * k : 8 * k + 8])
    net.eval()
    net.heads(features)
    torch.testing.assert_close(seen[-1].std(0), torch.ones(net.n_features), atol=0.5, rtol=0)
    assert torch.allclose(net.heads(features[:1]).au, net.heads(features).au[:1], atol=1e-5)  # type: ignore[union-attr, index]


def test_a_checkpoint_of_before_answers_as_ever(trained: Path, tmp_path: Path) -> None:
    file = trained / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    for key in ("levels", "grid", "landmarks"):
        del checkpoint["hyper_parameters"]["model"][key]
    assert not any("standardised" in name for name in checkpoint["state_dict"])
    torch.save(checkpoint, tmp_path / "old.ckpt")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 37, 37, 1), dtype=np.uint8)
    for found, wanted in zip(load(tmp_path / "old.ckpt").answers(pixels), load(file).answers(pixels), strict=True):
        assert np.array_equal(found, wanted)


def test_heat_of_a_network_with_deep_names_is_of_a_late_map() -> None:
    net = TwoHeadNetwork("regnet_y_400mf", 128, 8, 0.0, 2, 2, levels=2, grid=2).eval()
    assert GradCam(net, 128).layer.startswith("trunk_output.block4.")


def test_heat_is_of_the_last_map() -> None:
    grad_cam = GradCam(TwoHeadNetwork("resnet18", 128, 8, 0.0, 2, 2, levels=3, grid=2).eval(), 128)
    assert (grad_cam.layer, grad_cam.places) == ("layer4.1", (4, 4))
    heat = grad_cam.maps(torch.rand(1, 3, 128, 128), torch.tensor([0]), torch.tensor([1]))
    assert heat.shape == (1, 128, 128) and torch.isfinite(heat).all()


@pytest.mark.parametrize("landmarks", [False, True])
def test_heads_travel_with_what_they_see(tmp_path: Path, landmarks: bool) -> None:
    torch.manual_seed(0)
    source, path = network(landmarks=landmarks), tmp_path / "backbone.safetensors"
    source.standardised.running_mean.uniform_(0, 1)  # type: ignore[union-attr, operator]
    source.standardised.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    save_backbone(source, path, heads_of(source, AUS, EMOTIONS))
    found, target = find_weights("resnet18", str(path)), network(landmarks=landmarks)
    found.load_into(target.backbone)
    assert found.heads is not None and found.heads.load_into(target, AUS, EMOTIONS)
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(target(images).au, source(images).au)
    pairs = network(reference=True, landmarks=landmarks)  # differences are around 0, whatever features were around
    assert found.heads.load_into(pairs, AUS, EMOTIONS) and pairs.standardised.running_mean.eq(0).all()  # type: ignore[union-attr, operator]
    said = rf"see model\.levels=2 model\.grid=2 model\.landmarks={str(landmarks).lower()}: set these, or model\.carry_heads=false"
    for other in (network(1, 1), network(2, 1, landmarks=landmarks), network(landmarks=not landmarks)):
        with pytest.raises(FerError, match=said):
            found.heads.load_into(other, AUS, EMOTIONS)


@pytest.mark.parametrize("overrides", [("model.levels=9",), ("model.levels=6",), (*MAPS, "data.batch_size=1")])
def test_what_cannot_be_is_refused_before_anything_is_there(
    tmp_path: Path, tree: Path, overrides: tuple[str, ...]
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(FerError, match=r"model\.levels"):
        crossval(
            composed("crossval", "data=ckplus", f"data.root={tree}", f"run_dir={folder}", *overrides),
            Call("", (), None),
        )
    assert not folder.exists()


def test_a_transformer_s_own_norm_is_no_head(tmp_path: Path) -> None:
    source = TwoHeadNetwork("swin_t", 32, 8, 0.0, 2, 2)
    save_backbone(source, tmp_path / "swin.safetensors", heads_of(source, AUS, EMOTIONS))
    heads = find_weights("swin_t", str(tmp_path / "swin.safetensors")).heads
    assert heads is not None and heads.load_into(TwoHeadNetwork("swin_t", 32, 8, 0.0, 2, 2), AUS, EMOTIONS)


def test_what_is_exported_answers_as_the_run_does(train: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = train(*MAPS, "trainer.max_epochs=1", run_dir=tmp_path / "run")
    reference = load(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 37, 37, 1), dtype=np.uint8)
    for name in ("model.onnx", "model.safetensors"):
        export(composed("export", f"checkpoint={folder}", f"output={tmp_path / name}"), Call("", (), None))
        for found, wanted in zip(load(tmp_path / name).answers(pixels), reference.answers(pixels), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)
