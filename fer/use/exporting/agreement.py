"""Whether an exported model says what the checkpoint says. In, the answers of both about the same faces; out, differences in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer.errors import FerError
from fer.results.presence import is_present
from fer.use.answers import Answers, Probabilities
from fer.use.facts import Facts


@dataclass(frozen=True)
class Bound:
    """How far an exported model may be from its checkpoint.

    Attributes:
        moved: no probability may move by more.
        changed: largest share of decisions (every AU of every face, and every face's emotion) that may differ.
    """

    moved: float
    changed: float


BOUNDS = {"f32": Bound(0.001, 0.0), "bf16": Bound(0.03, 0.01), "int8": Bound(0.15, 0.03)}
"""By precision. A decision differs where a probability moves over its threshold: with single precision that never happens."""


@dataclass(frozen=True)
class Agreement:
    """How far two models are apart on the same faces.

    Attributes:
        n_faces: faces that both answered.
        moved: largest change of any probability.
        moved_on_average: mean change.
        changed: share of decisions that differ.
    """

    n_faces: int
    moved: float
    moved_on_average: float
    changed: float

    def in_words(self) -> str:
        return (
            f"on {self.n_faces} faces {self.changed:.2%} of the decisions differ, and probabilities move by "
            f"at most {self.moved:.2g} ({self.moved_on_average:.2g} on average)"
        )


def compare(facts: Facts, before: Answers, after: Answers) -> Agreement:
    """Compares the answers of a checkpoint with those of the file made from it, row by row."""
    moved = np.abs(np.hstack(before) - np.hstack(after))
    changed = _decisions(facts, before) != _decisions(facts, after)
    return Agreement(len(moved), float(moved.max()), float(moved.mean()), float(changed.mean()))


def refuse_beyond(agreement: Agreement, precision: str) -> None:
    """Refuses a file whose answers are not those of its checkpoint.

    Raises:
        FerError: says by how much it is off.
    """
    bound = BOUNDS[precision]
    if not (agreement.moved <= bound.moved and agreement.changed <= bound.changed):  # nan is beyond, too
        raise FerError(
            f"the exported file is not kept, as its answers differ from the checkpoint's: {agreement.in_words()}; "
            f"precision={precision} allows {bound.changed:.0%} and {bound.moved:g}"
        )


def _decisions(facts: Facts, answers: Answers) -> npt.NDArray[np.intp]:
    """[N, A + 1]: the AUs that count as active, and the place of the emotion."""
    active = is_present(answers.au_prob, [facts.thresholds[au] for au in facts.aus])
    return np.hstack([active.astype(np.intp), _place(answers.emotion_prob)])


def _place(emotion_prob: Probabilities) -> npt.NDArray[np.intp]:
    return emotion_prob.argmax(1)[:, None] if emotion_prob.shape[1] else np.zeros((len(emotion_prob), 0), np.intp)
