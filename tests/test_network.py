"""The network: any torchvision classifier, both heads, statistics applied once, weights from names and files."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from conftest import composed
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet50_Weights, get_model, resnet18

from fer.errors import FerError
from fer.model import weights
from fer.model.backbone import make_backbone
from fer.model.network import TwoHeadNetwork
from fer.steps.checks import check_maps


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet50", 2048),
        ("resnet18", 512),
        ("vgg16", 512),
        ("mobilenet_v3_large", 960),
        ("inception_v3", 2048),
        ("squeezenet1_1", 512),
        ("efficientnet_b0", 1280),
        ("convnext_tiny", 768),
        ("densenet121", 1024),
        ("swin_t", 768),
    ],
)
def test_any_torchvision_classifier_becomes_a_backbone(name: str, width: int) -> None:
    network = TwoHeadNetwork(name, 96, dense=8, dropout=0.0, n_aus=5, n_emotions=3)
    logits = network.eval()(torch.rand(2, 3, 96, 96))
    assert logits.au is not None and logits.emotion is not None
    assert logits.au.shape == (2, 5) and logits.emotion.shape == (2, 3)
    assert network.features(torch.rand(1, 3, 96, 96)).shape == (1, width)


def test_features_are_those_of_torchvision_before_its_classifier() -> None:
    whole = resnet18(weights=None).eval()
    backbone = make_backbone("resnet18", 64).module
    backbone.eval().load_state_dict(whole.state_dict(), strict=False)
    whole.fc = nn.Identity()
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(whole(images), backbone(images))


def test_flip_average_answers_the_same_for_a_picture_and_its_mirror_image() -> None:
    plain = TwoHeadNetwork("resnet18", 32, 8, 0.0, 2, 3).eval()
    averaged = TwoHeadNetwork("resnet18", 32, 8, 0.0, 2, 3, flip_average=True).eval()
    averaged.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 32, 32)
    for one, mirror, both, both_mirror in zip(
        plain(images), plain(images.flip(-1)), averaged(images), averaged(images.flip(-1)), strict=True
    ):
        assert torch.allclose(both, (one + mirror) / 2, atol=1e-6) and torch.allclose(both, both_mirror, atol=1e-6)


def test_missing_head_says_nothing() -> None:
    network = TwoHeadNetwork("resnet18", 32, 8, 0.0, n_aus=0, n_emotions=3)
    logits = network.eval()(torch.rand(1, 3, 32, 32))
    assert logits.au is None and logits.emotion is not None
    assert not any("au_head" in name for name in network.state_dict())


def test_statistics_of_the_weights_are_applied_exactly_once() -> None:
    network = TwoHeadNetwork("resnet18", 32, 8, 0.0, 1, 2, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)).eval()
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.rand(64, 3, 32, 32) * torch.tensor((0.1, 0.2, 0.3)).view(1, 3, 1, 1) * 12**0.5
    images += torch.tensor((0.4, 0.5, 0.6)).view(1, 3, 1, 1) - images.mean((0, 2, 3), keepdim=True)
    network(images)
    assert torch.allclose(seen[0].mean((0, 2, 3)), torch.zeros(3), atol=1e-3)
    assert torch.allclose(seen[0].std((0, 2, 3)), torch.ones(3), atol=2e-2)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet5", 64, "no such classifier; near it are resnet50"),
        ("vit_b_16", 100, "does not take data.image_size=100"),
        ("inception_v3", 40, "does not take"),
    ],
)
def test_wrong_backbones_are_refused_by_name(name: str, size: int, message: str) -> None:
    with pytest.raises(FerError, match=message):
        make_backbone(name, size)


def test_pictures_that_a_backbone_does_not_take_are_refused_before_they_are_read() -> None:
    with pytest.raises(FerError, match=r"inception_v3 does not take data\.image_size=64, it was made for 299"):
        check_maps(composed("train", "model=inception_v3", "data=synthetic"))
    check_maps(composed("train", "model.backbone=regnet_y_400mf", "model.landmarks=true", "data=synthetic"))


def saved(path: Path, state: dict[str, torch.Tensor], **metadata: str) -> Path:
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path, metadata)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("file_name", ["own.safetensors", "torchvision.pth"])
def test_weights_from_a_file_reach_the_backbone(tmp_path: Path, file_name: str) -> None:
    state = resnet18(weights=None).state_dict()
    found = weights.find_weights("resnet18", str(saved(tmp_path / file_name, state)))
    backbone = make_backbone("resnet18", 64).module
    found.load_into(backbone)
    assert torch.equal(backbone.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert found.pretrained and found.sha256 and found.source.endswith(file_name)


def older(name: str) -> str:
    """A tensor's name in the files that torchvision published first."""
    for new, old in ((".mlp.0.", ".mlp.linear_1."), (".mlp.3.", ".mlp.linear_2.")):
        name = name.replace(new, old)
    return re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name)


@pytest.mark.parametrize(
    ("name", "size"), [("vit_b_32", 224), ("vit_b_32", 64), ("densenet121", 64), ("mnasnet0_5", 64)]
)
def test_files_of_torchvision_fit_whatever_their_age(tmp_path: Path, name: str, size: int) -> None:
    whole = get_model(name, weights=None)
    state = {older(key): tensor for key, tensor in whole.state_dict().items()}
    backbone = make_backbone(name, size).module.eval()
    weights.find_weights(name, str(saved(tmp_path / "w.pth", {"model": state}))).load_into(backbone)
    assert any("linear_1" in key or "norm.1" in key for key in state) != name.startswith("mnasnet")
    own = whole.state_dict()
    for key, tensor in backbone.state_dict().items():
        assert key == "encoder.pos_embedding" or torch.equal(tensor, own[key])
    if size == 224:
        assert torch.equal(backbone.encoder.pos_embedding, whole.encoder.pos_embedding)
    copy.deepcopy(backbone).load_state_dict(dict(backbone.state_dict()))


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_the_only_dropout_is_ours(name: str) -> None:
    own = [each for each in make_backbone(name, 96).module.modules() if isinstance(each, torch.nn.Dropout) and each.p]
    assert not own


def test_file_says_which_statistics_it_wants(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", resnet18(weights=None).state_dict(), mean="0.5,0.5,0.5", std="0.2,0.2,0.2")
    assert weights.find_weights("resnet18", str(path)).mean == (0.5, 0.5, 0.5)
    assert weights.find_weights("resnet18", str(path)).std == (0.2, 0.2, 0.2)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    other = weights.find_weights("resnet18", str(saved(tmp_path / "w.pth", get_model("resnet34").state_dict())))
    backbone = make_backbone("resnet50", 64).module
    with pytest.raises(FerError, match=r"does not fit model\.backbone"):
        other.load_into(backbone)
    (tmp_path / "text.pth").write_text("not weights")
    for wanted, message in (("text.pth", "can't be read as weights"), ("none.pth", "there is no such file")):
        with pytest.raises(FerError, match=message):
            weights.find_weights("resnet18", str(tmp_path / wanted))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", refuse)


@pytest.mark.usefixtures("offline")
def test_named_weights_that_cannot_be_had_are_an_error_that_says_how_to_get_them() -> None:
    with pytest.raises(
        FerError, match=r"can't be downloaded.*resnet50-11ad3fa6\.pth.*model\.weights=FILE.*model\.weights=none"
    ):
        weights.find_weights("resnet50", "IMAGENET1K_V2")
    with pytest.raises(FerError, match="resnet50 has IMAGENET1K_V1, IMAGENET1K_V2"):
        weights.find_weights("resnet50", "IMAGENET21K")


@pytest.mark.usefixtures("offline")
def test_auto_falls_back_to_random_weights_loudly(caplog: pytest.LogCaptureFixture) -> None:
    found = weights.find_weights("resnet50", "auto")
    assert not found.pretrained and found.source == "random"
    assert "RANDOM WEIGHTS" in caplog.text and found.warning is not None and "RANDOM WEIGHTS" in found.warning


def test_named_weights_bring_their_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", lambda *_, **__: get_model("resnet50").state_dict())
    found = weights.find_weights("resnet50", "DEFAULT")
    assert found.source == "resnet50 IMAGENET1K_V2" and found.mean == (0.485, 0.456, 0.406)


def test_inception_weights_want_pictures_in_minus_one_to_one(tmp_path: Path) -> None:
    # torchvision's own network undoes the ImageNet statistics inside; ours must hand it (x - .5) / .5, once
    whole = get_model("inception_v3", weights=None, init_weights=False, aux_logits=False, transform_input=True).eval()
    found = weights.find_weights("inception_v3", str(saved(tmp_path / "w.pth", whole.state_dict())))
    network = TwoHeadNetwork("inception_v3", 96, 8, 0.0, 1, 2, found.mean, found.std).eval()
    found.load_into(network.backbone)
    whole.fc, whole.dropout = nn.Identity(), nn.Identity()
    images = torch.rand(2, 3, 96, 96)
    imagenet = (images - torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)) / torch.tensor((0.229, 0.224, 0.225)).view(
        3, 1, 1
    )
    assert torch.allclose(whole(imagenet), network.features(images), atol=1e-4)


def test_a_checkpoint_as_weights_brings_whom_it_learned_from_and_its_statistics(trained: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["preprocessing"]["mean"] = [0.5, 0.4, 0.3]
    torch.save(checkpoint, tmp_path / "best.ckpt")
    found = weights.find_weights("resnet18", str(tmp_path / "best.ckpt"))
    assert found.mean == (0.5, 0.4, 0.3)
    assert found.seen is not None and torch.equal(found.seen["seen_files"], checkpoint["fer"]["seen_files"])
    found.load_into(make_backbone("resnet18", 32).module)


@pytest.mark.parametrize("damage", ["fer", "hyper_parameters"])
def test_a_damaged_checkpoint_as_weights_is_one_line(trained: Path, tmp_path: Path, damage: str) -> None:
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save(checkpoint | {damage: 7}, tmp_path / "best.ckpt")
    with pytest.raises(FerError, match="can't be read as weights: a damaged checkpoint"):
        weights.find_weights("resnet18", str(tmp_path / "best.ckpt"))
