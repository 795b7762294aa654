"""Consistency of the labels: in, a sample table; out, how far its AUs and emotions contradict each other.

Pictures with the same AUs and another emotion can't all be told right by the face alone: the labels bound what is possible.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.results.predictions import BoolArray, FloatArray, targets_of

_MOST = 1500
_N_EXAMPLES = 5
_ALIKE = 1
"""Units in which two near-identical AU codings may differ."""


def consistency_probe(samples: pd.DataFrame) -> dict[str, Any]:
    """Looks at all pairs of sequences (pictures, where the data has none) with an emotion and coded AUs.

    Returns:
        `n`, the sequences; `same_aus`: `n_pairs` that show a unit and differ in at most one, the share of them with another
        emotion (`other_emotion`), that share among all pairs (`other_emotion_all_pairs`), and `examples` of one AU coding with several
        emotions; `same_emotion`: the mean overlap (Jaccard) of the AUs of one person's sequences with one emotion
        (`same_person` of `n_pairs`), and of other people's (`other_people`). None where there is no pair. Or `reason`.
    """
    rows = _one_per_sequence(samples)
    names = [c for c in rows.columns if c.startswith("AU")]
    if len(rows) < 2:
        return {"reason": "fewer than two sequences have both an emotion and coded AUs"}
    coded = ~np.isnan(targets_of(rows, names))  # two rows are compared by what is coded in both
    shown = np.nan_to_num(targets_of(rows, names))
    emotion, person = (pd.factorize(rows[column])[0] for column in ("emotion", "subject"))
    pairs = np.triu_indices(len(rows), k=1)
    both, one = shown @ shown.T, shown @ coded.T
    both, either = both[pairs], (one + one.T - both)[pairs]
    other_emotion = (emotion[:, None] != emotion)[pairs]
    alike = (either - both <= _ALIKE) & (both > 0)
    same_person = (person[:, None] == person)[pairs]
    overlap = np.where(either > 0, both / np.maximum(either, 1), np.nan)
    within, between = (_mean(overlap, ~other_emotion & chosen) for chosen in (same_person, ~same_person))
    return {
        "n": len(rows),
        "same_aus": {
            "n_pairs": int(alike.sum()),
            "other_emotion": _mean(other_emotion.astype(float), alike)[0],
            "other_emotion_all_pairs": float(other_emotion.mean()),
            "examples": _contradictions(rows, names),
        },
        "same_emotion": {"n_pairs": within[1], "same_person": within[0], "other_people": between[0]},
    }


def _one_per_sequence(samples: pd.DataFrame) -> pd.DataFrame:
    """The rows with both labels, once for all frames of a sequence that are labelled alike; at most `_MOST`, drawn."""
    names = [c for c in samples.columns if c.startswith("AU") and c[2:].isdecimal()]
    rows = samples[samples["emotion"].notna() & samples[names].notna().any(axis="columns")]
    group = rows["sequence"].astype("str").where(rows["sequence"].notna(), rows["path"].astype("str"))
    rows = rows.assign(sequence=group).drop_duplicates(["subject", "sequence", "emotion", *names])
    rows = rows[["subject", "sequence", "emotion", *names]]
    return rows.sample(_MOST, random_state=0) if len(rows) > _MOST else rows


def _mean(values: FloatArray, chosen: BoolArray) -> tuple[float | None, int]:
    """Mean and number of the chosen values that are defined."""
    kept = values[chosen & ~np.isnan(values)]
    return (float(kept.mean()) if len(kept) else None), len(kept)


def _contradictions(rows: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """The AU codings with several emotions, those with most sequences of a rarer emotion first; of rows in which all units are coded."""
    rows = rows.dropna(subset=[name for name in names if rows[name].notna().any()])
    shown: npt.NDArray[np.bool_] = targets_of(rows, names) == 1
    coding = pd.Series(["+".join(np.array(names)[row]) for row in shown], index=rows.index, name="aus")
    counts = rows["emotion"].groupby(coding).value_counts().unstack(fill_value=0)
    rarer = (
        (counts.sum(axis=1) - counts.max(axis=1)).drop("", errors="ignore").sort_values(ascending=False, kind="stable")
    )
    return [
        {"aus": str(aus), "emotions": {str(name): int(n) for name, n in counts.loc[aus].items() if n}}
        for aus in rarer.index[rarer > 0][:_N_EXAMPLES]
    ]
