"""Each mistake of the projects before this one, and what stops it here.

Those that have a room of their own are tested there: double normalisation (test_network), squashed pictures (test_faces), class
weights used as task weights (test_losses), micro scores alone and dead models (test_scores), thresholds (test_thresholds), dropped
batches (test_datamodule).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import composed

from fer.config import AugmentConfig, DataConfig
from fer.data import splits
from fer.data.augment import augmented_view, centre_view, epoch_draws
from fer.data.datamodule import FaceData
from fer.errors import FerError
from fer.labels import EMOTION_SETS
from fer.model.backbone import make_backbone

Train = Callable[..., Path]


def test_1_pixels_reach_the_backbone_normalised_once(tree: Path, cache: Path) -> None:
    data = FaceData(DataConfig("ckplus", str(tree), image_size=64, min_au_count=1), AugmentConfig(), 0, cache)
    data.setup()
    batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert batch["image"].min() >= 0 and 0.3 < batch["image"].max() <= 1
    from fer.model.network import TwoHeadNetwork

    network = TwoHeadNetwork("resnet18", 64, 8, 0.0, 1, 3).eval()
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(batch["image"])
    # grey faces in ImageNet's units: around 0, within a few deviations; a second normalisation leaves neither
    assert seen[0].mean().abs() < 1.5 and 0.4 < seen[0].std() < 2 and seen[0].min() >= -2.2 and seen[0].max() <= 2.7


@pytest.mark.parametrize("seed", range(5))
def test_3_no_person_is_on_two_sides(seed: int) -> None:
    people = [f"S{k // 3:03d}" for k in range(60)]
    table = pd.DataFrame(
        {"path": [f"{k}.png" for k in range(60)], "subject": people, "emotion": ["happy", "anger", None] * 20}
    )
    split = splits.split_subjects(table, 0.2, 0.2, seed)
    assert split["subject"].is_unique
    leaked = table.assign(split=["train", "val", "test"] * 20)
    with pytest.raises(AssertionError, match="S000"):
        splits.assert_disjoint(leaked)


def test_weights_that_cannot_be_had_are_refused_before_any_picture_is_read(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models.ResNet18_Weights.get_state_dict", no_network)
    own = "model.backbone=resnet18"
    for typed, said in (("IMAGENET1K_V9", "has IMAGENET1K_V1"), ("no.pth", "no such file"), ("DEFAULT", "no network")):
        with pytest.raises(FerError, match=said):
            train(own, f"model.weights={typed}", f"cache_dir={tmp_path / 'cache'}")
    assert not (tmp_path / "cache").exists() and not (tmp_path / "run").exists()


def test_4_every_picture_is_judged_whatever_the_batch_size(train: Train, tmp_path: Path) -> None:
    counts = []
    for size in (7, 64):
        run_dir = train(f"data.batch_size={size}", "trainer.max_epochs=1", run_dir=tmp_path / str(size))
        metrics = json.loads((run_dir / "metrics.json").read_text())
        about = json.loads((run_dir / "run.json").read_text())
        counts.append({part: metrics[part]["n_images"] for part in metrics})
        assert sum(counts[-1].values()) < about["data"]["n_images"]
    assert counts[0] == counts[1]


def test_8_the_split_is_a_function_of_the_seed_not_of_the_order_of_rows() -> None:
    table = pd.DataFrame(
        {"path": [f"{k}.png" for k in range(40)], "subject": [f"p{k % 20}" for k in range(40)], "emotion": "happy"}
    )
    one = splits.split_subjects(table, 0.2, 0.2, 3)
    other = splits.split_subjects(table.sample(frac=1, random_state=1), 0.2, 0.2, 3)
    assert splits.split_hash(one) == splits.split_hash(other)
    assert splits.split_hash(one) != splits.split_hash(splits.split_subjects(table, 0.2, 0.2, 4))


@pytest.mark.parametrize("name", ["seed", "default"])
def test_9_augmentation_keeps_a_face_a_face(tree: Path, cache: Path, name: str) -> None:
    data = FaceData(DataConfig("ckplus", str(tree), image_size=64, min_au_count=1), AugmentConfig(), 0, cache)
    data.setup()
    stored = next(iter(data.val_dataloader()))["image"]
    cfg = composed("train", f"augment={name}").augment
    plain, n = centre_view(stored, 64), len(stored)
    for epoch in range(5):
        view = augmented_view(stored, torch.from_numpy(epoch_draws(0, epoch, n)), cfg, 64)
        assert (view.mean((1, 2, 3)) - plain.mean((1, 2, 3))).abs().max() < 0.2  # the seed's half range would be .5
        upright = torch.nn.functional.cosine_similarity(
            (view - view.mean()).flatten(1), (plain - plain.mean()).flatten(1)
        )
        mirrored = torch.nn.functional.cosine_similarity(
            (view - view.mean()).flatten(1), (plain - plain.mean()).flip(-1).flatten(1)
        )
        flipped = torch.nn.functional.cosine_similarity(
            (view - view.mean()).flatten(1), (plain - plain.mean()).flip(-2).flatten(1)
        )
        assert (torch.maximum(upright, mirrored) > flipped).float().mean() > 0.8  # never upside down


def test_10_the_report_names_the_run_that_it_is_of(train: Train) -> None:
    run_dir = train("name=the-run", "trainer.max_epochs=1")
    about = json.loads((run_dir / "run.json").read_text())
    assert about["name"] == "the-run" and "the-run" in (run_dir / "report.html").read_text()
    assert "dense: 16" in (run_dir / "config.yaml").read_text()


def test_11_a_new_model_shares_no_tensor_with_an_earlier_one() -> None:
    one = make_backbone("resnet18", 32).module
    other = make_backbone("resnet18", 32).module
    pointers = {p.data_ptr() for p in one.parameters()}
    assert not any(p.data_ptr() in pointers for p in other.parameters())


def test_12_imbalance_is_met_in_the_loss_for_every_unit_not_by_copies_of_rows(tree: Path, cache: Path) -> None:
    data = FaceData(DataConfig("ckplus", str(tree), image_size=32, min_au_count=1), AugmentConfig(), 0, cache)
    data.setup()
    index = torch.cat([batch["index"] for batch in data.train_dataloader()])
    assert sorted(index.tolist()) == list(range(len(data.prepared.part("train"))))


def test_13_label_order_does_not_depend_on_the_data(train: Train, tmp_path: Path) -> None:
    for seed in (0, 1):
        run_dir = train(f"seed={seed}", "trainer.max_epochs=1", run_dir=tmp_path / str(seed))
        labels = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["hyper_parameters"]["labels"]
        assert labels["emotions"] == list(EMOTION_SETS["high_level"]) and labels["aus"] == sorted(labels["aus"])
