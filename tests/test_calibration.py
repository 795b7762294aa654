"""Calibration: in, answers of made networks; out, the temperature that made them too sure, and errors computed by hand."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import composed
from made_predictions import AUS, CLASSES, make_predictions
from scipy.special import expit, logit, softmax
from scipy.stats import spearmanr
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from fer.cli.command import Call
from fer.evaluate import run
from fer.model.checkpoints import CARD, load_checkpoint
from fer.model.finished import load_module
from fer.model.losses import au_loss
from fer.results.au_offsets import fit_au_offsets
from fer.results.calibration import calibrated, fit_temperatures
from fer.results.predictions import au_columns, read_predictions
from fer.results.reliability import expected_calibration_error, reliability, reliability_bins
from fer.results.thresholds import choose_thresholds
from fer.steps import best
from fer.steps.deciding import set_upright, undo_class_weights
from fer.steps.predicting import predict

ONES = {"au": 1.0, "emotion": 1.0}


def made(n: int, au: float = 1.0, emotion: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Answers of a network whose logits are `au` and `emotion` times as large as they should be."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"path": [str(i) for i in range(n)], "subject": [str(i // 4) for i in range(n)]})
    for name in AUS:
        logits = rng.normal(-1, 1.5, n)
        table[name] = (rng.random(n) < expit(logits)).astype(int)
        table[f"{name}_prob"] = expit(au * logits)
    logits = rng.normal(0, 1.5, (n, 3))
    shares = softmax(logits, axis=1)
    codes = (rng.random((n, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    table["emotion"] = np.array(CLASSES)[codes]
    table["emotion_pred"] = np.array(CLASSES)[logits.argmax(axis=1)]
    table[[f"emotion_prob_{name}" for name in CLASSES]] = softmax(emotion * logits, axis=1)
    return table


@pytest.mark.parametrize(("au", "emotion"), [(3.0, 2.0), (1.0, 1.0), (0.5, 0.4)])
def test_a_known_temperature_is_found_again(au: float, emotion: float) -> None:
    found = fit_temperatures(made(4000, au, emotion))
    assert found == pytest.approx({"au": au, "emotion": emotion}, rel=0.06)


def test_the_temperature_has_the_best_likelihood_of_the_validation_labels() -> None:
    table = made(3000, 3.0, 2.0)
    best = fit_temperatures(table)
    truth, columns = table[AUS].to_numpy().ravel(), [f"{name}_prob" for name in AUS]

    def loss(temperature: float) -> float:
        return float(log_loss(truth, expit(logit(table[columns].to_numpy().ravel()) / temperature)))

    assert loss(best["au"]) <= min(loss(t) for t in np.linspace(1, 6, 101)) + 1e-5
    block = reliability(table, best)["au"]
    assert block["nll"] == pytest.approx(loss(best["au"])) and block["nll_before"] == pytest.approx(loss(1))


def test_calibrating_restores_the_right_probabilities_and_no_order_changes() -> None:
    right, sure = made(500), made(500, 3.0, 2.0)
    found = calibrated(sure, {"au": 3.0, "emotion": 2.0})
    for column in [f"{name}_prob" for name in AUS] + [f"emotion_prob_{name}" for name in CLASSES]:
        assert found[column].to_numpy() == pytest.approx(right[column].to_numpy(), abs=1e-6)
    for name in AUS:
        assert spearmanr(found[f"{name}_prob"], sure[f"{name}_prob"])[0] == pytest.approx(1)
    probabilities = found[[f"emotion_prob_{name}" for name in CLASSES]].to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (np.array(CLASSES)[probabilities.argmax(axis=1)] == sure["emotion_pred"]).all()
    assert list(found.columns) == list(sure.columns)


def test_saturated_answers_stay_numbers() -> None:
    table = made(8)
    table["AU1_prob"] = [0.0, 1.0] * 4
    table["emotion_prob_negative"], table["emotion_prob_positive"], table["emotion_prob_surprise"] = 1.0, 0.0, 0.0
    found = calibrated(table, {"au": 10.0, "emotion": 10.0})
    assert np.isfinite(found[["AU1_prob", "emotion_prob_negative"]].to_numpy()).all()
    assert all(0.99 <= value <= 10 for value in fit_temperatures(table).values())


def test_few_pictures_are_no_reason_to_move_far() -> None:
    # Separated without an error: the likelihood alone would take the smallest temperature there is.
    few = pd.DataFrame({"AU1": [0, 0, 1, 1], "AU1_prob": [0.3, 0.4, 0.6, 0.7]})
    many = pd.concat([few] * 100, ignore_index=True)
    assert 0.5 < fit_temperatures(few)["au"] < 1
    assert fit_temperatures(many)["au"] == pytest.approx(0.2, rel=0.01)
    # Four AUs with the same answers on the same pictures are no further pictures.
    copies = few.assign(**{f"{name}{rest}": few[f"AU1{rest}"] for name in AUS for rest in ("", "_prob")})
    assert fit_temperatures(copies)["au"] == pytest.approx(fit_temperatures(few)["au"], rel=1e-3)


def test_heads_that_are_not_there_or_have_no_label_keep_temperature_1() -> None:
    table = made(50)
    assert fit_temperatures(table[["AU1", "AU1_prob"]])["emotion"] == 1
    assert fit_temperatures(table.assign(emotion=None))["emotion"] == 1
    assert fit_temperatures(table[["path"]]) == ONES
    assert set(reliability(table.assign(emotion=None), ONES)) == {"au"}


def test_the_error_by_hand() -> None:
    bins = reliability_bins(np.array([0.1, 0.1, 0.9, 0.9, 1.0]), np.array([0, 1, 1, 1, 0], dtype=bool))
    assert [n for n in bins["n"] if n] == [2, 2, 1]
    assert bins["observed"][1] == 0.5 and bins["observed"][14] == 0 and bins["observed"][7] is None
    assert expected_calibration_error(bins) == pytest.approx((2 * 0.4 + 2 * 0.1 + 1 * 1.0) / 5)


def test_the_error_equals_torchmetrics() -> None:
    table = make_predictions(n=400)
    found = reliability(table, ONES)
    known = [table[table[name].notna()] for name in AUS]
    probability = np.concatenate([rows[f"{name}_prob"] for name, rows in zip(AUS, known, strict=True)])
    truth = np.concatenate([rows[name].to_numpy(dtype=int) for name, rows in zip(AUS, known, strict=True)])
    expected = binary_calibration_error(torch.tensor(probability), torch.tensor(truth), n_bins=15)
    assert found["au"]["ece"] == pytest.approx(float(expected), abs=1e-6)
    rows = table[table["emotion"].notna()]
    shares = torch.tensor(rows[[f"emotion_prob_{name}" for name in CLASSES]].to_numpy())
    codes = torch.tensor(rows["emotion"].map(CLASSES.index).to_numpy(dtype=int))
    expected = multiclass_calibration_error(shares, codes, num_classes=3, n_bins=15)
    assert found["emotion"]["ece"] == pytest.approx(float(expected), abs=1e-6)
    assert found["emotion"]["ece_before"] == pytest.approx(float(expected), abs=1e-6)
    assert found["emotion"]["n"] == len(rows)


def test_calibration_lowers_the_error_to_what_chance_leaves() -> None:
    fitted, fresh = made(2000, 3.0, 3.0, seed=1), made(2000, 3.0, 3.0, seed=2)
    for block in reliability(fresh, fit_temperatures(fitted)).values():
        assert block["ece"] < 0.4 * block["ece_before"] and block["nll"] < block["nll_before"]
        assert block["ece"] < 2 * block["ece_if_perfect"]


def test_a_perfect_model_has_the_error_that_is_expected_of_it() -> None:
    blocks = [reliability(made(60, seed=seed), ONES) for seed in range(200)]
    for head in ("au", "emotion"):
        mean = np.mean([block[head]["ece"] for block in blocks])
        assert mean == pytest.approx(np.mean([block[head]["ece_if_perfect"] for block in blocks]), rel=0.03)


def test_a_run_keeps_its_temperature_and_everything_after_uses_it(train: Callable[..., Path]) -> None:
    run_dir = train()
    card: dict[str, Any] = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["fer"]
    last: dict[str, Any] = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["fer"]
    assert last["temperature"] == ONES
    metrics = json.loads((run_dir / "metrics.json").read_text())
    predictions = read_predictions(run_dir / "predictions.csv")
    for part in ("val", "test"):
        for head in ("au", "emotion"):
            block = metrics[part][head]["calibration"]
            assert block["temperature"] == card["temperature"][head] != 1
            assert block["nll"] == pytest.approx(metrics[part][head]["loss"], rel=1e-5)
    assert metrics["val"]["au"]["calibration"]["nll"] < metrics["val"]["au"]["calibration"]["nll_before"]
    validation = predictions[predictions["split"] == "val"]
    assert choose_thresholds(validation, list(card["thresholds"])) == pytest.approx(card["thresholds"], rel=1e-5)
    assert "Can the probabilities be believed?" in (run_dir / "report.html").read_text()


def test_the_probabilities_of_an_evaluation_are_the_logits_divided_by_the_temperature_of_the_card(
    train: Callable[..., Path], cache: Path, tmp_path: Path
) -> None:
    run_dir = train("trainer.max_epochs=1")
    checkpoint = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    answers = {}
    for name, temperature in (("old", None), ("new", {"au": 2.0, "emotion": 0.5})):
        checkpoint["fer"].pop("temperature", None)
        checkpoint["fer"] |= {"temperature": temperature} if temperature else {}
        torch.save(checkpoint, tmp_path / f"{name}.ckpt")
        typed = (f"checkpoint={tmp_path / name}.ckpt", f"cache_dir={cache}", f"run_dir={tmp_path / name}")
        run(composed("evaluate", *typed), Call("", typed, None))
        answers[name] = read_predictions(tmp_path / name / "predictions.csv")
    for column in (c for c in answers["old"] if c.startswith("AU") and c.endswith("_prob")):
        old, new = (logit(answers[name][column]) for name in ("old", "new"))
        assert old.to_numpy() == pytest.approx(2 * new.to_numpy(), abs=1e-4)
    columns = [c for c in answers["old"] if c.startswith("emotion_prob_")]
    shares = softmax(2 * np.log(answers["old"][columns].to_numpy()), axis=1)
    assert answers["new"][columns].to_numpy() == pytest.approx(shares, abs=1e-5)


def test_what_class_weights_added_to_the_logits_is_taken_out_again_and_only_once(train: Callable[..., Path]) -> None:
    path = train("loss.class_weights=balanced") / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    absent, present = torch.tensor(checkpoint["hyper_parameters"]["class_weights"]["au"]).unbind(1)
    assert checkpoint["fer"]["au_shift"] == pytest.approx((present / absent).log().tolist())
    # the rate of each unit in training, not one half, is what a network says that has hardly learned
    answers = read_predictions(path.parents[1] / "predictions.csv")
    named = [column.removesuffix("_prob") for column in answers if column.startswith("AU") and column.endswith("_prob")]
    rates = [checkpoint["fer"]["au_rates"][name] for name in named]
    assert np.abs(answers[[f"{name}_prob" for name in named]].mean() - rates).mean() < 0.2
    again = copy.deepcopy(checkpoint)
    undo_class_weights(again)
    assert torch.equal(again["state_dict"]["network.au_head.bias"], checkpoint["state_dict"]["network.au_head.bias"])


@pytest.mark.parametrize("kind", ["focal", "asymmetric"])
def test_offsets_make_probabilities_true_after_losses_that_move_them(kind: str) -> None:
    # the best answer to each true probability under the loss, found by brute force, for a rare unit and a common one
    rng = np.random.default_rng(0)
    grid = torch.linspace(-9, 9, 3601)
    present, absent = (au_loss_cells(kind, grid, label) for label in (1, 0))
    columns: dict[str, Any] = {}
    for name, centre in (("AU1", -2.5), ("AU2", 0.0)):
        true = 1 / (1 + np.exp(-rng.normal(centre, 1.5, 2000)))
        best = [(p * present + (1 - p) * absent).argmin() for p in true]
        columns[f"{name}_prob"] = grid[best].sigmoid().numpy()
        columns[name] = (rng.random(2000) < true).astype("int8")
        columns[f"true {name}"] = true
    table = pd.DataFrame(columns)
    answers = table[["AU1_prob", "AU2_prob", "AU1", "AU2"]]
    offsets = fit_au_offsets(answers, {"AU1": 0.1, "AU2": 0.5})
    moved = answers.assign(**{f"{au}_prob": expit(logit(answers[f"{au}_prob"]) + offsets[au]) for au in ("AU1", "AU2")})
    mended = calibrated(moved, fit_temperatures(moved))
    for au in ("AU1", "AU2"):
        error = (mended[f"{au}_prob"] - table[f"true {au}"]).abs().mean()
        assert error < 0.05 and error < (answers[f"{au}_prob"] - table[f"true {au}"]).abs().mean() / 2


def test_a_unit_that_nobody_shows_on_validation_is_as_probable_as_it_is_frequent_in_training() -> None:
    rng = np.random.default_rng(0)
    true, rare = rng.uniform(0.05, 0.95, 4000), rng.beta(1, 30, 4000)
    table = pd.DataFrame({"AU1_prob": expit(logit(true) + 1.5), "AU1": (rng.random(4000) < true).astype("int8")})
    table["AU2_prob"], table["AU2"] = expit(logit(rare) + 3), 0
    offsets = fit_au_offsets(table, {"AU1": 0.5, "AU2": 0.03})
    assert offsets["AU1"] == pytest.approx(-1.5, abs=0.3)
    assert expit(logit(table["AU2_prob"]) + offsets["AU2"]).mean() == pytest.approx(0.03, abs=0.01)
    never = fit_au_offsets(table[["AU2_prob", "AU2"]], {"AU2": 0.0})
    assert -50 < never["AU2"] < 0


def au_loss_cells(kind: str, logits: torch.Tensor, label: int) -> torch.Tensor:
    return torch.stack([au_loss(x.view(1, 1), torch.tensor([[label]]), kind=kind) for x in logits])


def test_offsets_are_added_once_and_only_where_the_loss_asks_for_them(train: Callable[..., Path]) -> None:
    path = train("loss=focal") / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert "au_shift" not in checkpoint["fer"] and any(checkpoint["fer"]["au_offsets"].values())
    module, _ = load_module(path)
    again = copy.deepcopy(checkpoint)
    set_upright(again, module, lambda: pd.DataFrame())
    assert torch.equal(again["state_dict"]["network.au_head.bias"], checkpoint["state_dict"]["network.au_head.bias"])


@pytest.mark.parametrize("settings", [(), ("loss=focal",)])
def test_nothing_that_decides_is_fitted_on_test_people(
    train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    honest = train(*settings, "trainer.max_epochs=1", run_dir=tmp_path / "honest")

    def with_other_test_labels(*args: Any) -> tuple[pd.DataFrame, np.ndarray]:
        predictions, features = predict(*args)
        rows = predictions["split"] == "test"
        for name in au_columns(predictions):
            predictions.loc[rows, name] = 1 - predictions.loc[rows, name]
        predictions.loc[rows, "emotion"] = "surprise"
        return predictions, features

    monkeypatch.setattr(best, "predict", with_other_test_labels)
    other = train(*settings, "trainer.max_epochs=1", run_dir=tmp_path / "other")
    scores = [json.loads((run / "metrics.json").read_text()) for run in (honest, other)]
    assert scores[0]["test"] != scores[1]["test"] and scores[0]["val"] == scores[1]["val"]
    made = [load_checkpoint(run / "checkpoints" / "best.ckpt") for run in (honest, other)]
    for key in ("temperature", "thresholds", *(("au_offsets",) if settings else ()), "emotion_offsets"):
        assert made[0][CARD][key] == made[1][CARD][key], key
    assert all(torch.equal(tensor, made[1]["state_dict"][name]) for name, tensor in made[0]["state_dict"].items())
