"""Which action units count as active: probabilities and thresholds in, yes or no out. Of numpy alone: use asks before pandas is there."""

import numpy as np
import numpy.typing as npt


def is_present(probabilities: npt.NDArray[np.floating], thresholds: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether each AU is active: its probability is at or above its threshold.

    In single precision, in which networks answer: a probability at its threshold falls on one side everywhere, in tables, scores and use.

    Args:
        probabilities: (..., AUs).
        thresholds: of the same AUs, or of each cell.
    """
    present: npt.NDArray[np.bool_] = probabilities.astype(np.float32) >= np.asarray(thresholds, np.float32)
    return present
