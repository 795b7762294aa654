"""The pictures that stand for a model, where it looked in them, and its course in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from conftest import composed
from made_predictions import AUS, CLASSES, make_predictions
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fer.cli.command import Call
from fer.evaluate import run as evaluate
from fer.model.heat import GradCam
from fer.model.network import TwoHeadNetwork
from fer.results.course import overfitted, why_it_ended
from fer.results.gallery import PER_KIND, choose
from fer.results.wording import unjudged


def test_the_surest_of_each_kind_are_chosen_one_of_each_person() -> None:
    rows = make_predictions()
    found = choose(rows)
    assert set(found) == {*AUS, *CLASSES}
    hits = rows[(rows["AU12"] == 1) & (rows["AU12_pred"] == 1)].sort_values("AU12_prob", ascending=False, kind="stable")
    best = hits.drop_duplicates("subject").head(PER_KIND["found"])
    assert [example.row for example in found["AU12"]["found"]] == best.index.tolist()
    for kind, shown, said, column in (("missed", 1, 0, "least"), ("seen where it is not", 0, 1, "most")):
        wrong = rows[(rows["AU12"] == shown) & (rows["AU12_pred"] == said)]["AU12_prob"]
        worst = wrong.min() if column == "least" else wrong.max()
        assert found["AU12"][kind][0].probability == worst
    for example in found["surprise"]["seen where it is not"]:
        row = rows.loc[example.row]
        assert row["emotion_pred"] == "surprise" and row["emotion"] == example.truth != "surprise"


def test_unlabelled_pictures_are_never_chosen() -> None:
    rows = make_predictions(60)
    rows.loc[:, "AU1"] = pd.NA
    assert "AU1" not in choose(rows)


def test_many_labels_of_many_pictures_are_explained_as_each_alone() -> None:
    torch.manual_seed(0)
    network = TwoHeadNetwork("resnet18", 64, 16, 0.0, 5, 3).eval()
    maps, images = GradCam(network, 64), torch.rand(18, 3, 64, 64)  # more than one chunk
    rows, labels = torch.tensor([0, 17, 0, 3, 17]), torch.tensor([6, 1, 2, 6, 6])
    together = maps.maps(images, rows, labels)
    for k, (row, label) in enumerate(zip(rows, labels, strict=True)):
        alone = maps.maps(images[row, None], torch.tensor([0]), label[None])[0]
        torch.testing.assert_close(together[k], alone, rtol=1e-3, atol=1e-4)
    # by the definition: gradient of the logit, averaged over the map, weighs its channels
    kept: list[torch.Tensor] = []
    hook = network.backbone.get_submodule(maps.layer).register_forward_hook(lambda _m, _i, out: kept.append(out))
    logit = network.heads(network.features(images[3, None])).emotion[0, 1]
    (gradient,) = torch.autograd.grad(logit, kept[-1])
    hook.remove()
    coarse = (gradient.mean((2, 3), keepdim=True) * kept[-1]).sum(1, keepdim=True).relu().detach()
    fine = torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(together[3], fine / fine.max(), rtol=1e-3, atol=1e-4)


def curves(train: list[float], val: list[float], loss: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"epoch": range(len(val)), "train/emotion_f1": train, "val/emotion_f1": val, "val/loss": loss})


def test_overfitting_is_named() -> None:
    good = overfitted(curves([0.3, 0.5, 0.52], [0.3, 0.5, 0.5], [2, 1.0, 1.02]), 1)
    assert good is not None and good.good is True and "in epoch 2" in good.text and "rose" not in good.text
    bad = overfitted(curves([0.3, 0.9, 0.99], [0.3, 0.5, 0.5], [2, 1.0, 1.5]), 1)
    assert bad is not None and bad.good is False and "rose from 1.000 to 1.500" in bad.text
    early = overfitted(curves([0.3, 0.5], [0.3, 0.5], [2, 1.0]), 1)
    assert early is not None and early.good is None and "more epochs may help" in early.text
    assert overfitted(pd.DataFrame({"epoch": [0], "val/loss": [1.0]}), 0) is None


def test_why_it_ended() -> None:
    course, trainer = curves([0.1] * 4, [0.1] * 4, [1.0] * 4), {"max_epochs": 9, "patience": 2, "monitor": "val/score"}
    assert "Stopped early, after epoch 4 of at most 9: 2 epochs without" in why_it_ended(course, 1, trainer)
    assert why_it_ended(course, 1, {**trainer, "max_epochs": 4}).startswith("Ended after 4 epochs")


def test_what_can_not_be_judged_is_named() -> None:
    scores = {"au": {"per_au": {"AU1": {"n_positive": 0}, "AU2": {"n_positive": 9}, "AU4": {"n_positive": 10}}}}
    words = unjudged(scores)
    assert words is not None and words.text.endswith("hardly judged: AU2 (9)") and "without scores: AU1;" in words.text
    assert unjudged({"au": {"per_au": {"AU4": {"n_positive": 10}}}}) is None


def test_tensorboard_has_curves_and_pictures_of_the_best_checkpoint(trained: Path) -> None:
    events = EventAccumulator(str(trained / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {"val_pictures/confusion", "val_pictures/predictions"}
    tensors = set(events.Tags()["tensors"])
    assert {"settings/text_summary", "verdict/text_summary"} <= tensors
    assert any(tag.startswith("val/AU") for tag in tensors)
    text = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    backbone: resnet18" in text


def test_no_picture_leaves_the_run_when_they_are_to_stay_out(
    train: Callable[..., Path], cache: Path, tmp_path: Path
) -> None:
    run = train("report.pictures=false", "trainer.max_epochs=1")
    assert "<img" not in (run / "report.html").read_text(encoding="utf-8")
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["val_pictures/confusion"]
    for typed, shown in (
        ((), False),
        (("report.pictures=true",), True),
    ):  # an evaluation does as the training did, unless told
        where = tmp_path / f"evaluated{shown}"
        words = (f"checkpoint={run}", f"cache_dir={cache}", f"run_dir={where}", "trainer.progress=false", *typed)
        evaluate(composed("evaluate", *words), Call("python -m fer.evaluate", words, None))
        assert ("<img" in (where / "report.html").read_text(encoding="utf-8")) == shown
