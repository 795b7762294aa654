"""How well a person can be told by the features: in, the backbone's features of pictures and who is on them; out, an accuracy.

What names a person also lets a network learn "this person is labelled sad" instead of the expression. Some of it is
in any features; far more of it than in another backbone is a reason to look closer.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fer.results.bootstrap import interval, resample_subjects

_MOST_FOLDS = 5
_MOST_IMAGES = 1500
"""Whole people are drawn until there are as many: the probe must not take longer than the answers."""


def identity_probe(
    features: npt.NDArray[np.floating[Any]], samples: pd.DataFrame, n_boot: int = 1000
) -> dict[str, Any]:
    """The accuracy of a linear probe (ridge regression) that names the person.

    It learns from some sequences of each person and is asked about the others, in up to five parts, so that neighbouring
    frames of one film do not give the person away. Alain & Bengio, "Understanding intermediate layers using linear
    classifier probes", ICLR workshops 2017.

    Args:
        features: (images, features) of the backbone.
        samples: the same rows of the sample table: `subject`, `sequence` (missing: each picture stands alone), `path`.

    Returns:
        `accuracy` with interval, `chance` (always naming the person with most pictures), `n_images`, `n_subjects` and
        `n_features`; or `reason`, why there is no number.
    """
    turn = _turns(samples)
    chosen = _chosen(samples["subject"], turn)
    people = samples["subject"].to_numpy(dtype=str)[chosen]
    if len(np.unique(people)) < 2:
        return {"reason": "fewer than two people have two sequences or pictures"}
    known = np.asarray(features, dtype=np.float64)[chosen]
    if not np.isfinite(known).all():
        return {"reason": "the features are not finite numbers"}
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=known.shape[1]))
    named = cross_val_predict(probe, known, people, cv=PredefinedSplit(turn[chosen] % _MOST_FOLDS))
    right = (named == people).astype(np.float64)
    resampling = resample_subjects(pd.Series(people), n_boot, 0)
    draws = resampling.sums(right) / resampling.sums(np.ones_like(right))
    _, counts = np.unique(people, return_counts=True)
    return {
        "accuracy": float(right.mean()),
        "accuracy_ci": interval(draws, len(counts), float(right.mean())),
        "chance": float(counts.max() / counts.sum()),
        "n_images": len(people),
        "n_subjects": len(counts),
        "n_features": known.shape[1],
    }


def _turns(samples: pd.DataFrame) -> npt.NDArray[np.intp]:
    """(images,): 0, 1, 2, ... for the first, second, ... sequence of a person, each person counted for themselves."""
    group = samples["sequence"].astype("str").where(samples["sequence"].notna(), samples["path"].astype("str"))
    turn = group.groupby(samples["subject"].astype("str")).transform(lambda one: pd.factorize(one)[0])
    return turn.to_numpy(dtype=np.intp)


def _chosen(subjects: pd.Series, turn: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The rows of people with two sequences or more; of so many people as `_MOST_IMAGES` allows."""
    people = subjects.to_numpy(dtype=str)
    sizes = pd.Series(1, index=people[np.isin(people, people[turn > 0])]).groupby(level=0).sum()
    drawn = sizes.sample(frac=1, random_state=0)
    kept = drawn.index[drawn.cumsum() <= max(_MOST_IMAGES, int(drawn.iloc[:2].sum()))]
    return np.flatnonzero(np.isin(people, kept))
