"""Honesty probes of one split: what a reader of its scores should ask, answered beside them (`probes` of `metrics.json`).

Dead models and the answers of guessing stand with the scores themselves (`dead`, `baselines`).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.results.consistency import consistency_probe
from fer.results.identity import identity_probe
from fer.results.rule import rule_probe
from fer.results.spread import spread_probe


def probe_answers(decided: pd.DataFrame, samples: pd.DataFrame) -> dict[str, Any]:
    """The probes of what the heads said.

    Args:
        decided: the split's rows of `predictions.csv`.
        samples: the same rows of the sample table.

    Returns:
        `rule`, `spread`. A probe that can't be made says why in `reason`.
    """
    return {"rule": rule_probe(decided, samples), "spread": spread_probe(decided, samples["sequence"])}


def probe_data(
    samples: pd.DataFrame, features: npt.NDArray[np.floating[Any]], shared: pd.DataFrame, n_boot: int = 1000
) -> dict[str, Any]:
    """The probes that hang on data and backbone alone.

    Args:
        samples: the split's rows of the sample table.
        features: (images, features) of the backbone, the same rows.
        shared: near-identical pictures under two people (`fer.data.duplicates.shared_pictures`), of the whole data.
        n_boot: bootstrap draws of the intervals.

    Returns:
        `identity`, `labels`, `near_identical` (`pairs` with a picture of this split, `across_splits` of them). As above.
    """
    mine = shared[shared["path"].isin(samples["path"]) | shared["other_path"].isin(samples["path"])]
    across = int((mine["split"] != mine["other_split"]).sum()) if "split" in mine else 0
    return {
        "identity": identity_probe(features, samples, n_boot),
        "labels": consistency_probe(samples),
        "near_identical": {"pairs": len(mine), "across_splits": across},
    }
