"""Spread over people: in, a decided predictions table; out, how differently well the model does for each of them.

A good mean can hide people for whom nothing works.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.results.predictions import BoolArray, FloatArray, au_columns, emotion_classes, targets_of

_N_WORST = 5
_N_SHUFFLES = 200


def spread_probe(decided: pd.DataFrame, sequences: pd.Series) -> dict[str, Any]:
    """The distribution over people of the F1 over a person's AU cells (`au`) and of the emotion accuracy (`emotion`).

    Args:
        decided: rows of `predictions.csv`.
        sequences: of the same rows, missing for pictures that are of none.

    Returns:
        Per head with labels: `measure`, `n_subjects` (for whom it is defined), `min`, `q25`, `median`, `q75`, `max`, `sd`,
        `sd_if_alike` (the mean standard deviation when sequences and single pictures are dealt to people at random: what few of
        them per person alone make), `worst` (`subject`, `value`, `n`: pictures).
    """
    found = {}
    # frames of a sequence are right or wrong together
    takes = (
        decided["subject"].astype("str")
        + "/"
        + sequences.astype("str").set_axis(decided.index).fillna(decided["path"].astype("str"))
    )
    who = pd.DataFrame({"subject": decided["subject"].astype("str"), "take": takes})
    if names := au_columns(decided):
        targets = targets_of(decided, names)
        answers = decided[[f"{name}_pred" for name in names]].to_numpy(dtype=float)
        known = ~np.isnan(targets)
        cells = np.stack([(answers * (targets == 1)).sum(1), (answers * known).sum(1), (targets == 1).sum(1)], axis=1)
        coded: BoolArray = np.asarray(known.any(axis=1))
        found["au"] = _spread("F1", who[coded], cells[coded], _f1)
    if emotion_classes(decided):
        known = decided["emotion"].notna().to_numpy()
        right = (decided["emotion"] == decided["emotion_pred"]).fillna(False).to_numpy(dtype=float)
        cells = np.stack([right, np.ones_like(right)], axis=1)
        found["emotion"] = _spread("accuracy", who[known], cells[known], _share)
    return {head: values for head, values in found.items() if values}


def _f1(sums: FloatArray) -> FloatArray:
    """(people,) from true positives, predicted positives and positives; nan where nothing was there to be found."""
    hits, predicted, positives = sums.T
    values: FloatArray = np.where(positives > 0, 2 * hits / np.maximum(predicted + positives, 1), np.nan)
    return values


def _share(sums: FloatArray) -> FloatArray:
    right, labelled = sums.T
    values: FloatArray = right / np.maximum(labelled, 1)
    return values


def _of_each(codes: npt.NDArray[np.intp], cells: FloatArray) -> FloatArray:
    """(people, columns): the sums over the rows of each person."""
    return np.stack([np.bincount(codes, weights=column) for column in cells.T], axis=1)


def _spread(
    measure: str,
    who: pd.DataFrame,
    cells: FloatArray,
    score: Callable[[FloatArray], FloatArray],
) -> dict[str, Any]:
    if who.empty:
        return {}
    codes, people = pd.factorize(who["subject"], sort=True)
    takes, _ = pd.factorize(who["take"])
    of_takes, owners = _of_each(takes, cells), np.empty(takes.max() + 1, np.intp)
    owners[takes] = codes
    values = score(_of_each(codes, cells))
    defined = ~np.isnan(values)
    if not defined.any():
        return {}
    draw = np.random.default_rng(0)
    shuffled = np.stack([score(_of_each(draw.permutation(owners), of_takes)) for _ in range(_N_SHUFFLES)])
    counts = np.bincount(codes)
    # of people who do equally badly, those with more pictures first: one picture says little
    worst = [k for k in np.lexsort((-counts, values)) if defined[k]][:_N_WORST]
    quartiles = np.percentile(values[defined], [0, 25, 50, 75, 100])
    return {
        "measure": measure,
        "n_subjects": int(defined.sum()),
        **dict(zip(("min", "q25", "median", "q75", "max"), quartiles.tolist(), strict=True)),
        "sd": float(values[defined].std()),
        "sd_if_alike": float(np.nanstd(shuffled, axis=1).mean()),
        "worst": [{"subject": str(people[k]), "value": float(values[k]), "n": int(counts[k])} for k in worst],
    }
