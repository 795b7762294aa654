"""Faces drawn while training: each a function of (seed, epoch, number), exactly labelled, never the same twice; what is learned travels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from fer.config import AugmentConfig, DataConfig
from fer.data.datamodule import FaceData
from fer.data.faces import face_pixels
from fer.data.fresh import FreshFaces
from fer.data.landmarks import in_square
from fer.data.synthetic import SUPPORTED_AUS, fits, fresh, fresh_face
from fer.data.synthetic.identity import sample_identity
from fer.errors import FerError
from fer.labels import BASIC
from fer.steps.fitting import threads_of
from tests.conftest import SMALL, composed

AUS = [1, 4, 12, 25]


def faces(seed: int = 0, **settings: object) -> FreshFaces:
    cfg = DataConfig(image_size=32, emotions="basic+neutral", **settings)  # type: ignore[arg-type]
    return FreshFaces(64, cfg, AUS, (*BASIC, "neutral"), seed, augmented=True)


def test_a_picture_is_a_function_of_seed_epoch_and_number() -> None:
    first, again = fresh_face(1, 2, 3, 48), fresh_face(1, 2, 3, 48)
    assert np.array_equal(first.image, again.image) and first.aus == again.aus
    others = [fresh_face(*place, 48) for place in ((2, 2, 3), (1, 3, 3), (1, 2, 4))]
    assert not any(np.array_equal(first.image, other.image) for other in others)


def test_labels_are_what_was_drawn() -> None:
    drawn = [fresh_face(0, 0, number, 36) for number in range(240)]  # a young face at rest has no fold at all
    assert {face.emotion for face in drawn} == {*BASIC, "neutral", None}
    for face in drawn:
        assert set(face.aus) <= SUPPORTED_AUS and all(0 < strength <= 1 for strength in face.aus.values())
        assert (not face.aus) == (face.emotion == "neutral")
        if face.emotion in BASIC and face.emotion not in (
            "surprise",
            "fear",
        ):  # these two hang on the grade of AU5 as well
            assert fits(face.emotion, {au: 3 for au in face.aus})


def test_a_batch_holds_the_labels_of_its_pictures() -> None:
    places = [(0, number) for number in range(16)]
    batch = faces().__getitems__(places)
    assert batch["image"].shape == (16, 1, 37, 37) and batch["image"].dtype == torch.uint8
    for row, (epoch, number) in enumerate(places):
        face = fresh_face(0, epoch, number, 37)
        assert batch["au"][row].tolist() == [int(au in face.aus) for au in AUS]
        expected = -1 if face.emotion is None else (*BASIC, "neutral").index(face.emotion)
        assert int(batch["emotion"][row]) == expected


def test_a_batch_holds_landmarks_where_they_are_asked_for() -> None:
    cfg = DataConfig(image_size=32, emotions="basic+neutral")
    places = [(0, number) for number in range(8)]
    batch = FreshFaces(64, cfg, AUS, (*BASIC, "neutral"), 0, False, landmarks=True).__getitems__(places)
    assert batch["landmarks"].shape == (8, 68, 2) and "landmarks" not in faces().__getitems__(places)
    # pixels of the drawing to places in the square
    face = fresh_face(0, 0, 3, 37)
    _, box, how = face_pixels(np.repeat(face.image[..., None], 3, axis=2), 32, "face", False, face.landmarks)
    expected = torch.from_numpy(in_square(face.landmarks, box, how, 32)).float()
    torch.testing.assert_close(batch["landmarks"][3], expected)


def test_a_neutral_picture_beside_each_shows_the_same_person_at_rest() -> None:
    settings = {"reference": "neutral"}
    pairs = faces(**settings).__getitems__([(0, number) for number in range(16)])
    alone = faces().__getitems__([(0, number) for number in range(16)])
    assert pairs["image"].shape == (16, 2, 37, 37)
    assert torch.equal(pairs["image"][:, :1], alone["image"]) and torch.equal(pairs["au"], alone["au"])
    own, neutral = pairs["image"].float().flatten(2).unbind(1)
    other = (own - neutral.roll(8, 0)).abs().mean(1)  # of the person before
    assert ((own - neutral).abs().mean(1) < other).all()
    for number in range(16):
        face = fresh_face(0, 0, number, 37, reference=True)
        assert face.neutral is not None and not face.neutral.aus
        rgb = np.repeat(face.neutral.image[..., None], 3, axis=2)
        expected = face_pixels(rgb, 32, "face", False, face.neutral.landmarks)[0][..., 0]
        np.testing.assert_array_equal(pairs["image"][number, 1], expected)


def test_pairs_can_be_pretrained_on(tree: Path, cache: Path) -> None:
    settings = ("data.reference=neutral", "data.judged_frames=peak", "loss.landmark_weight=0")
    words = (
        "experiment=pretrain_synthetic",
        *settings,
        f"data.root={tree}",
        *SMALL,
        "data.fresh_pictures=16",
    )
    cfg = composed("train", *words)
    data = FaceData(cfg.data, cfg.augment, 0, cache)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape[:2] == (8, 2)


def test_processes_that_draw_get_half_of_the_cores_where_learning_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    cfg = composed("train", "data.fresh_pictures=8")
    try:
        for cores, threads, left in ((8, 8, 4), (2, 2, 1), (1, 1, 1), (16, 4, 4)):
            monkeypatch.setattr("fer.steps.fitting.usable_cores", lambda cores=cores: cores)
            torch.set_num_threads(threads)
            assert threads_of(cfg, "bf16-mixed") == left and threads_of(cfg, "32-true") == threads
            assert threads_of(composed("train"), "bf16-mixed") == threads
    finally:
        torch.set_num_threads(before)


def test_loader_processes_draw_the_same_pictures(tree: Path, cache: Path) -> None:
    batches = []
    for workers in (0, 1):
        cfg = DataConfig(
            name="synthetic",
            root=str(tree),
            image_size=32,
            batch_size=16,
            fresh_pictures=32,
            min_au_count=3,
            workers=workers,
        )
        data = FaceData(cfg, AugmentConfig(), 0, cache)
        data.setup()
        batches.append(list(data.train_dataloader()))
    for one, two in zip(*batches, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_is_learned_from_them_starts_another_run(
    train: Callable[..., Path], tree: Path, cache: Path, tmp_path: Path
) -> None:
    from fer.cli.command import Call
    from fer.train import run

    where = tmp_path / "pretrained"
    typed = (
        "data=synthetic", f"data.root={tree}", *SMALL, "data.fresh_pictures=16", "trainer.save_backbone=true", "trainer.max_epochs=1",
        f"cache_dir={cache}", f"run_dir={where}",
    )  # fmt: skip
    run(composed("train", *typed), Call("python -m fer.train ...", typed, None))
    file = where / "backbone.safetensors"
    with safe_open(file, framework="pt") as stored:
        first_layer = stored.get_tensor("conv1.0.weight")
        seen = stored.get_tensor("seen_files")
    answers = pd.read_csv(where / "predictions.csv")
    assert len(seen) == (answers["split"] == "val").sum()  # what it was trained on lies in no file
    again = train(f"model.weights={file}", "trainer.max_epochs=1", "optimizer.backbone_lr=1e-9")
    checkpoint = torch.load(again / "checkpoints" / "best.ckpt", weights_only=True)
    assert torch.allclose(checkpoint["state_dict"]["network.backbone.conv1.0.weight"], first_layer, atol=1e-5)


def test_other_data_cannot_be_drawn() -> None:
    with pytest.raises(FerError, match=r"data.fresh_pictures is for data=synthetic only"):
        composed("train", "data=ckplus", "data.root=x", "data.fresh_pictures=8")


def test_nobody_of_the_drawn_set_is_drawn_anew() -> None:
    # the seeds [0, 5] and [0, 5, 0, 0] are the same to numpy
    people = {repr(sample_identity(np.random.default_rng([0, number]))) for number in range(130)}
    for epoch in range(130):
        new = sample_identity(np.random.default_rng([0, epoch, 0, fresh._PERSON]))
        assert repr(new) not in people


def test_units_that_undo_each_other_are_not_drawn_together() -> None:
    codes = [set(fresh._expression(np.random.default_rng([7, k]))[1]) for k in range(4000)]
    mixtures = [code for code in codes if code]
    for pair in ((18, 20), (20, 22), (38, 39), (5, 43), (7, 43)):
        assert not any(code.issuperset(pair) for code in mixtures)
        assert all(any(unit in code for code in mixtures) for unit in pair)
