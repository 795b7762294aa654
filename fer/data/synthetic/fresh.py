"""Drawn faces without end, to pretrain on: every picture is a function of (seed, epoch, number) and is never asked for twice.

More varied than the CK+-like tree on purpose: a network that is to meet photographs must not rely on a laboratory.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fer.data.images import Pixels8
from fer.data.synthetic.cast import sample_code
from fer.data.synthetic.identity import sample_identity
from fer.data.synthetic.render import draw_face
from fer.data.synthetic.view import jitter, sample_view
from fer.labels import BASIC, NEUTRAL

PER_PERSON = 8
"""Pictures in a row that show one person, whose head is built once: what changes between them is the expression, pose and light."""

RANDOM_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28, 38, 39, 43)
_FAINTEST = 0.3
"""Weakest strength of a unit that is called present: fainter ones can't be seen in a crop of a hundred pixels, and teach to guess."""
_CONTRARY = ((18, 20), (20, 22), (38, 39))
"""Units that pull one place two ways: together hardly anything is to be seen of either."""
_BEHIND_SHUT_LIDS = {5, 7}
_PERSON, _PICTURE, _NEUTRAL = 3, 1, 2
"""Last words of seeds. None is 0: numpy takes [a, b, 0, 0] for [a, b], which is the seed of a person of the tree."""
_MARGIN = 1.18
"""Side of the drawn picture over that of the stored crop: the crop then takes it at about its own scale."""


@dataclass(frozen=True, eq=False)
class FreshFace:
    """A drawn picture with its exact labels.

    Attributes:
        image: [H, W] uint8 brightness.
        landmarks: [68, 2] pixel x, y.
        aus: AU number -> strength above 0 to 1; units that are not named are absent.
        emotion: a basic emotion, `neutral`, or None for a mixture of units, whatever it may look like.
        neutral: the same person with no unit active, of the same recording; None where it was not asked for.
    """

    image: Pixels8
    landmarks: np.ndarray
    aus: dict[int, float]
    emotion: str | None
    neutral: FreshFace | None = None


def fresh_face(seed: int, epoch: int, number: int, stored: int, reference: bool = False) -> FreshFace:
    """Draws one.

    Args:
        seed, epoch, number: what the picture is a function of; `PER_PERSON` numbers in a row share a person.
        stored: side in pixels of the crop that it is for (`fer.data.faces.stored_size`).
        reference: whether a neutral picture is drawn beside it, for as much work again. Does not change the first.
    """
    person = sample_identity(np.random.default_rng([seed, epoch, number // PER_PERSON, _PERSON]))
    rng = np.random.default_rng([seed, epoch, number, _PICTURE])
    emotion, aus = _expression(rng)
    side = round(stored * _MARGIN)
    view = sample_view(rng, (side, side), fill=0.77, spread=float(rng.uniform(0.5, 3)))
    view = replace(
        view, noise=float(rng.uniform(0.5, 6)), key=float(rng.uniform(0.5, 1.2)), ambient=float(rng.uniform(0.2, 0.6))
    )
    drawing = draw_face(rng, aus, person, view, imbalance=_imbalance(aus, rng))
    neutral = None
    if reference:
        own = np.random.default_rng([seed, epoch, number, _NEUTRAL])
        rest = draw_face(own, {}, person, jitter(view, own))
        # one camera, one file format
        neutral = FreshFace(_developed(rest.image, copy.deepcopy(rng)), rest.landmarks, {}, NEUTRAL)
    return FreshFace(_developed(drawing.image, rng), drawing.landmarks, aus, emotion, neutral)


def _expression(rng: np.random.Generator) -> tuple[str | None, dict[int, float]]:
    """A third by the recipes of the emotions, half any mixture of units: no unit must stand for another; the rest neutral."""
    kind = rng.random()
    if kind < 0.15:
        return NEUTRAL, {}
    if kind < 0.5:
        emotion = str(rng.choice(BASIC))
        grades = sample_code(emotion, rng)
        share = float(rng.uniform(0.7, 1))
        return emotion, {au: max(_FAINTEST, (grade or 3) / 5 * share) for au, grade in grades.items()}
    n = int(rng.integers(1, 7))
    units = set(rng.choice(RANDOM_UNITS, n, replace=False).tolist())
    units -= {26} if 27 in units else set()
    units |= {25} if units & {16, 22, 26, 27} else set()
    units -= {24, 28} if 25 in units else set()
    units -= _BEHIND_SHUT_LIDS if 43 in units else set()
    for pair in _CONTRARY:
        if units.issuperset(pair):
            units.remove(pair[int(rng.integers(2))])
    return None, {au: float(rng.uniform(_FAINTEST, 1)) for au in sorted(units)}


def _imbalance(aus: Mapping[int, float], rng: np.random.Generator) -> dict[int, float]:
    lean = {au: float(np.clip(rng.normal(0, 0.15), -0.5, 0.5)) for au in aus}
    if 14 in lean and rng.random() < 0.5:
        lean[14] = float(rng.choice([-1.0, 1.0]))
    return lean


def _developed(image: Pixels8, rng: np.random.Generator) -> Pixels8:
    """What else cameras and files do: gamma, few pixels, JPEG."""
    gamma = float(np.exp(rng.normal(0, 0.25)))
    lit: np.ndarray = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)[image]
    height, width = image.shape[:2]
    if rng.random() < 0.3:
        fewer = float(rng.uniform(0.5, 0.95))
        small = cv2.resize(lit, None, fx=fewer, fy=fewer, interpolation=cv2.INTER_AREA)
        lit = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    if rng.random() < 0.4:
        _, file = cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        lit = np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE))
    return np.asarray(lit, dtype=np.uint8)
