"""Heads that travel with a backbone: their answers arrive under the same names, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fer.errors import FerError
from fer.model.carried import heads_of
from fer.model.network import TwoHeadNetwork
from fer.model.weight_files import save_backbone
from fer.model.weights import Weights, find_weights

AUS = (1, 4, 12, 25)
EMOTIONS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise", "neutral")


def network(n_aus: int, n_emotions: int, dense: int = 8) -> TwoHeadNetwork:
    return TwoHeadNetwork("resnet18", 32, dense, 0.0, n_aus, n_emotions).eval()


@pytest.fixture(scope="module")
def source() -> TwoHeadNetwork:
    torch.manual_seed(0)
    return network(len(AUS), len(EMOTIONS))


@pytest.fixture
def saved(source: TwoHeadNetwork, tmp_path: Path) -> Path:
    path = tmp_path / "backbone.safetensors"
    save_backbone(source, path, heads_of(source, AUS, EMOTIONS))
    return path


def started(saved: Path, aus: list[int], emotions: list[str]) -> TwoHeadNetwork:
    found: Weights = find_weights("resnet18", str(saved))
    target = network(len(aus), len(emotions))
    found.load_into(target.backbone)
    assert found.heads is not None
    found.heads.load_into(target, aus, emotions)
    return target


def test_answers_arrive_by_name(source: TwoHeadNetwork, saved: Path) -> None:
    target = started(saved, [25, 4], ["neutral", "happy"])
    images = torch.rand(3, 3, 32, 32)
    expected, found = source(images), target(images)
    torch.testing.assert_close(found.au, expected.au[:, [3, 1]])
    torch.testing.assert_close(found.emotion, expected.emotion[:, [7, 4]])


def test_high_level_emotions_start_from_the_mean_of_their_members(source: TwoHeadNetwork, saved: Path) -> None:
    target = started(saved, [], ["negative", "positive", "surprise"])
    images = torch.rand(3, 3, 32, 32)
    expected, found = source(images).emotion, target(images).emotion
    torch.testing.assert_close(found[:, 0], expected[:, [0, 1, 2, 3, 5]].mean(1))
    torch.testing.assert_close(found[:, 1:], expected[:, [4, 6]])


def test_names_without_a_counterpart_stay_as_they_are(saved: Path) -> None:
    heads = find_weights("resnet18", str(saved)).heads
    assert heads is not None
    target = network(2, 0)
    before = target.au_head.weight[0].clone()  # type: ignore[union-attr]
    assert heads.load_into(target, [2, 12], []) == ["AU12"]
    assert torch.equal(target.au_head.weight[0], before)  # type: ignore[union-attr]


def test_another_width_is_refused_with_what_to_set(saved: Path) -> None:
    heads = find_weights("resnet18", str(saved)).heads
    assert heads is not None
    with pytest.raises(FerError, match=r"8 units of 512 features.*model\.dense=8"):
        heads.load_into(network(4, 8, dense=16), AUS, EMOTIONS)


def test_heads_that_compare_are_not_taken_for_single_pictures(saved: Path, tmp_path: Path) -> None:
    def pairs() -> TwoHeadNetwork:
        return TwoHeadNetwork("resnet18", 32, 8, 0.0, len(AUS), len(EMOTIONS), reference=True)

    single, compared = find_weights("resnet18", str(saved)).heads, tmp_path / "pairs.safetensors"
    assert single is not None and single.load_into(pairs(), AUS, EMOTIONS)
    save_backbone(pairs(), compared, heads_of(pairs(), AUS, EMOTIONS))
    heads = find_weights("resnet18", str(compared)).heads
    assert heads is not None and heads.load_into(pairs(), AUS, EMOTIONS)
    with pytest.raises(FerError, match=r"compare a picture with a neutral one: set data\.reference=neutral"):
        heads.load_into(network(4, 8), AUS, EMOTIONS)


def test_a_damaged_file_is_refused(saved: Path, tmp_path: Path) -> None:
    state = load_file(saved)
    good = {"aus": "[1, 4, 12, 25]", "emotions": "[]"}
    for name, changed, meta in (
        ("rows", {}, {"aus": "[1, 4]", "emotions": "[]"}),
        ("json", {}, {"aus": "[1, ", "emotions": "[]"}),
        ("kind", {}, {"aus": "3", "emotions": "[]"}),
        ("units", {"au_head.weight": torch.zeros(4, 9)}, good),
        ("bias", {"dense.1.bias": torch.zeros(7)}, good),
        ("maps", {}, good | {"maps": "[1e999, 1]"}),
        ("unit", {}, good | {"maps": "[2, 2]"}),
    ):
        save_file(state | changed, tmp_path / f"{name}.safetensors", meta)
        with pytest.raises(FerError, match="dense layer and heads are damaged"):
            find_weights("resnet18", str(tmp_path / f"{name}.safetensors"))


def test_a_run_starts_from_the_answers_of_the_run_before(
    train: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = train("trainer.save_backbone=true", "trainer.max_epochs=1")
    still = ("seed=5", "trainer.max_epochs=1", "optimizer.lr=1e-9", "model.finetune=frozen", "data.views=1")

    def started(name: str, *words: str) -> torch.Tensor:
        return au_head(train(*words, *still, run_dir=tmp_path / name))

    weights = f"model.weights={before / 'backbone.safetensors'}"
    # another seed: new heads would be others
    torch.testing.assert_close(
        started("carried", weights, "model.carry_heads=true"), au_head(before), atol=1e-5, rtol=0
    )
    caplog.clear()
    started("random", "model.weights=none", "model.carry_heads=true")
    assert "holds no dense layer and heads" in caplog.text


def test_a_backbone_that_has_learned_moves_a_tenth_as_fast_as_the_heads(
    train: Callable[..., Path], saved: Path, tmp_path: Path
) -> None:
    def rate(name: str, *words: str) -> float:
        run = train(
            "model.backbone=resnet18", "trainer.max_epochs=1", "optimizer.lr=1e-3", *words, run_dir=tmp_path / name
        )
        checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
        return float(checkpoint["hyper_parameters"]["optimizer"]["backbone_lr"])

    assert rate("random", "model.weights=none") == pytest.approx(1e-3)
    assert rate("learned", f"model.weights={saved}") == pytest.approx(1e-4)
    assert rate("told", f"model.weights={saved}", "optimizer.backbone_lr=3e-4") == pytest.approx(3e-4)


def au_head(run: Path) -> torch.Tensor:
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    tensor: torch.Tensor = checkpoint["state_dict"]["network.au_head.weight"]
    return tensor


def test_a_checkpoint_carries_its_heads_as_a_backbone_file_does(train: Callable[..., Path]) -> None:
    run_dir = train("trainer.max_epochs=1", "trainer.save_backbone=true", "model.backbone=resnet18")
    one, other = (
        find_weights("resnet18", str(run_dir / file)).heads
        for file in ("backbone.safetensors", "checkpoints/best.ckpt")
    )
    assert one is not None and other is not None
    assert (list(one.aus), list(one.emotions), one.maps) == (list(other.aus), list(other.emotions), other.maps)
    assert all(torch.equal(tensor, other.state[name]) for name, tensor in one.state.items())
