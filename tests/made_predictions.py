"""Predictions for tests: in, a seed; out, tables in the format of `predictions.csv`."""

import numpy as np
import pandas as pd

CLASSES = ["negative", "positive", "surprise"]
AUS = ["AU1", "AU2", "AU12", "AU25"]
HALF = dict.fromkeys(AUS, 0.5)


def make_predictions(n: int = 200, n_subjects: int = 40, seed: int = 0, skill: float = 1.5) -> pd.DataFrame:
    """Both heads, rounded probabilities (ties), missing labels."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(n)]})
    table["subject"] = [f"S{i % n_subjects:03d}" for i in range(n)]
    table["split"] = "test"
    for name in AUS:
        truth = rng.random(n) < 0.3
        table[name] = pd.array(truth.astype(int), dtype="Int64")
        table.loc[rng.random(n) < 0.1, name] = pd.NA
        table[f"{name}_prob"] = np.round(1 / (1 + np.exp(-(rng.normal(size=n) + skill * truth - 0.8))), 2)
        table[f"{name}_pred"] = (table[f"{name}_prob"] >= 0.5).astype(int)
    codes = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[codes]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table["emotion"] = pd.Series(np.array(CLASSES)[codes], dtype="str").mask(rng.random(n) < 0.2)
    table["emotion_pred"] = np.array(CLASSES)[probabilities.argmax(axis=1)]
    for k, name in enumerate(CLASSES):
        table[f"emotion_prob_{name}"] = probabilities[:, k]
    return table
