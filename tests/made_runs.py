"""Run folders for tests: in, settings and a skill each; out, folders that look like those of a sweep, without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from made_predictions import AUS, CLASSES

from fer.results.scores import judge


def made_labels(n: int, n_subjects: int, seed: int, split: str) -> pd.DataFrame:
    """Pictures with their people and labels; some labels are missing."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"path": [f"/data/{split}/{i}.png" for i in range(n)]})
    table["subject"] = [f"{split}{i % n_subjects:03d}" for i in range(n)]
    table["split"] = split
    for name in AUS:
        table[name] = pd.array((rng.random(n) < 0.3).astype(int), dtype="Int64")
        table.loc[rng.random(n) < 0.1, name] = pd.NA
    table["emotion"] = pd.Series(rng.choice(CLASSES, n), dtype="str").mask(rng.random(n) < 0.2)
    return table


def answered(labels: pd.DataFrame, skill: float, seed: int, spread: float = 0.5, common: float = 0.0) -> pd.DataFrame:
    """The labels with the answers of a model; its mistakes on one person are alike by `spread`, those of all models by `common`."""
    rng, of_all = np.random.default_rng(seed), np.random.default_rng(0)
    table, person = labels.copy(), pd.factorize(labels["subject"])[0]

    def noise(columns: int) -> Any:
        own = rng.normal(size=(person.max() + 1, columns))
        hard = of_all.normal(size=(person.max() + 1, columns))
        return rng.normal(size=(len(table), columns)) + spread * own[person] + common * hard[person]

    truth = table[AUS].fillna(0).to_numpy(dtype=float)
    probabilities = 1 / (1 + np.exp(skill / 2 - skill * truth - noise(len(AUS))))
    for k, name in enumerate(AUS):
        table[f"{name}_prob"], table[f"{name}_pred"] = probabilities[:, k], (probabilities[:, k] >= 0.5).astype(int)
    shown = pd.Index(CLASSES).get_indexer(pd.Index(table["emotion"]))
    logits = skill * np.eye(3)[shown] + noise(3)
    odds = np.exp(logits)
    odds /= odds.sum(axis=1, keepdims=True)
    table["emotion_pred"] = np.array(CLASSES)[odds.argmax(axis=1)]
    for k, name in enumerate(CLASSES):
        table[f"emotion_prob_{name}"] = odds[:, k]
    return table


def made_run(
    where: Path,
    typed: dict[str, Any],
    skill: float,
    *,
    seed: int = 0,
    splits: tuple[str, ...] = ("val",),
    n: int = 60,
    n_subjects: int = 20,
    split_seed: int = 0,
    seconds: float = 10.0,
    name: str = "made",
) -> Path:
    """A finished run folder with predictions, scores and curves."""
    tables = [
        answered(made_labels(n, n_subjects, split_seed + k, split), skill, seed + k) for k, split in enumerate(splits)
    ]
    metrics = {t["split"].iloc[0]: judge(t, dict.fromkeys(AUS, 0.5), n_boot=20) for t in tables}
    where.mkdir(parents=True)
    pd.concat(tables).to_csv(where / "predictions.csv", index=False)
    (where / "metrics.json").write_text(json.dumps(metrics))
    people = {s: split for table, split in zip(tables, splits, strict=True) for s in table["subject"]}
    pd.DataFrame({"subject": ["t0", *people], "split": ["train", *people.values()]}).to_csv(
        where / "split.csv", index=False
    )
    rising = [skill * (1 - 0.5**epoch) / 3 for epoch in range(1, 6)]
    curves = {
        "epoch": range(5),
        "val/score": rising,
        "val/loss": [2 - v for v in rising],
        "train/loss": [1.8 - v for v in rising],
    }
    pd.DataFrame(curves).to_csv(where / "curves.csv", index=False)
    line = " ".join(["python -m fer.train", *(f"'{key}={value}'" for key, value in typed.items()), "name=made"])
    about = {"command": line, "name": name, "finished": True, "timings": {"fit_s": seconds}}
    (where / "run.json").write_text(json.dumps(about | {"data": {"split_hash": f"hash{split_seed}"}}))
    (where / "config.yaml").write_text(
        "name: made\nmodel:\n  backbone: resnet50\n  dense: 256\noptimizer:\n  name: adam\n"
    )
    return where
