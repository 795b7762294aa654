"""`MODEL_CARD.md` of a finished run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fer.results.card import write_model_card


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The files of a run that a card is made from."""
    for name in ("config.yaml", "run.json", "metrics.json", "split.csv"):
        shutil.copy(trained / name, tmp_path / name)
    return tmp_path


def test_a_training_run_leaves_a_card_with_its_own_numbers(trained: Path) -> None:
    text = (trained / "MODEL_CARD.md").read_text()
    metrics = json.loads((trained / "metrics.json").read_text())["test"]
    people = pd.read_csv(trained / "split.csv", dtype=str)["split"].value_counts()
    for head in ("Model", "Data and people", "Protocol", "Limits", "What it must not be used for"):
        assert f"\n## {head}\n" in text
    assert f"\n## Numbers (test: {metrics['n_images']} pictures of {metrics['n_subjects']} people)\n" in text
    assert f"| test | {people['test']} | {metrics['n_images']} |" in text
    low, high = metrics["au"]["macro_f1_ci"]
    assert f"| F1 | {metrics['au']['macro']['f1']:.3f} [{low:.3f} to {high:.3f}] |" in text
    assert f"{metrics['emotion']['accuracy']:.3f}" in text and "brow lowerer" in text
    assert "None" not in text and "nan" not in text and "{" not in text


def test_a_run_that_was_not_tested_says_so(copy: Path) -> None:
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps({"val": metrics["val"]}))
    text = write_model_card(copy).read_text()
    assert "This run was not judged on test people" in text and "## Numbers (val:" in text and "not looked at" in text


def test_a_model_that_is_dead_on_validation_alone_is_said_so(copy: Path) -> None:
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["val"]["emotion"] |= {"dead": True, "dead_reason": "always negative"}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    assert "emotion: always negative), on val" in write_model_card(copy).read_text()


def test_a_dead_model_and_a_single_head_are_said_so(copy: Path) -> None:
    metrics = json.loads((copy / "metrics.json").read_text())
    test = metrics["test"]
    del test["au"]
    test["emotion"] |= {"dead": True, "dead_reason": "always negative"}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    text = write_model_card(copy).read_text()
    assert "> **DEAD MODEL" in text and "Action units:" not in text and "Reads 3 emotions off" in text
