"""Fine folds that the grid of points is too coarse to move: lines that grow with an expression and with age.

In: a person and settled movements. Out: height of the relief over the skin in mm, [R, C]; and the folds so sharp that
they are drawn as lines.
"""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fer.data.synthetic.expression import NAMES, Drivers, right_half
from fer.data.synthetic.face import Array, Grid, grid, ramp
from fer.data.synthetic.identity import Identity

Line = tuple[tuple[tuple[float, float], ...], float, float]
"""Points (x, y) of a fold on the right half (mirrored), its width and its depth, all in mm."""

_LINES: dict[str, tuple[Line, ...]] = {
    "brow_raise": (
        (((0, 33), (20, 35), (40, 33), (54, 27)), 1.8, 1.0),
        (((0, 42), (22, 44), (44, 41), (56, 35)), 1.8, 1.1),
        (((0, 52), (24, 53), (44, 49)), 1.8, 0.9),
    ),
    "1": ((((0, 34), (9, 35), (19, 32)), 1.9, 1.1), (((0, 43), (10, 44), (23, 40)), 1.9, 1.0)),
    "2": ((((28, 33), (40, 37), (54, 32)), 1.5, 0.9), (((32, 42), (44, 44), (56, 38)), 1.5, 0.8)),
    "4_in": (
        (((6.5, 8), (6, 17), (8, 28)), 1.6, 1.8),
        (((1.5, 10), (1.5, 22)), 1.3, 0.6),
        (((12, 30), (20, 27)), 2.0, 0.6),
    ),
    "6": (
        (((49, -1), (55, 3), (61, 6)), 1.4, 0.9),
        (((50, -6), (57, -5), (64, -3)), 1.4, 1.0),
        (((48, -11), (55, -14), (62, -16)), 1.4, 0.9),
        (((20, -15), (32, -18), (45, -14)), 1.6, 1.1),
    ),
    "7": ((((20, -13), (32, -15), (44, -11)), 1.4, 1.0),),
    "9": (
        (((0, 0), (8, -2)), 1.3, 1.2),
        (((0, -5), (8, -6), (13, -4)), 1.3, 1.1),
        (((0, -10), (9, -12)), 1.3, 0.9),
        (((7, -20), (11, -14), (17, -11)), 1.4, 1.3),
        (((17, -42), (23, -48), (28, -56)), 2.2, 2.4),
    ),
    "10": ((((17, -44), (23, -51), (28, -61), (31, -70)), 2.4, 2.3),),
    "11": ((((17, -48), (21, -54), (25, -61)), 2.0, 2.8),),
    "12": ((((18, -46), (26, -54), (33, -64), (36, -74)), 2.4, 2.3), (((48, -6), (58, -7)), 1.2, 0.5)),
    "13": ((((20, -48), (28, -56), (33, -66)), 2.4, 2.0),),
    "14": ((((30, -66), (33, -73), (31, -81)), 2.4, 2.6),),
    "15": ((((28, -76), (31, -84), (31, -94)), 2.4, 1.6), (((0, -90), (12, -91), (20, -88)), 2.0, 0.8)),
    "17": (
        (((0, -92), (9, -93), (17, -97)), 1.8, 1.4),
        (((5, -102), (8, -108)), 1.6, 0.8),
        (((11, -101), (13, -107)), 1.6, 0.7),
    ),
    "18": ((((6, -62), (5, -67)), 1.0, 0.6), (((12, -63), (10, -68)), 1.0, 0.7), (((10, -84), (9, -79)), 1.0, 0.6)),
    "20": ((((32, -62), (35, -73), (34, -85)), 2.6, 1.4), (((41, -66), (44, -76), (41, -88)), 2.8, 0.9)),
    "23": ((((5, -59), (5, -66)), 0.9, 0.6), (((12, -60), (11, -66)), 0.9, 0.6), (((8, -88), (8, -83)), 0.9, 0.5)),
    "24": ((((0, -86), (14, -87), (22, -83)), 1.8, 1.3), (((27, -70), (29, -77)), 1.5, 1.0)),
    "age": (
        (((17, -46), (25, -55), (31, -66)), 2.2, 1.1),
        (((19, -16), (30, -20), (42, -16)), 1.6, 0.7),
        (((0, 40), (22, 42), (44, 39)), 1.4, 0.35),
        (((28, -77), (31, -84), (32, -93)), 2.2, 0.6),
        (((50, -5), (60, -4)), 1.1, 0.35),
    ),
}


_SHARP = ("brow_raise", "1", "2", "4_in", "7", "9")
"""What folds thin skin: its lines are narrower than the distance between points, and dark in any light."""

_VARIANTS = 4


class Crease(NamedTuple):
    """A sharp fold: fractional (row, column) of points along it, [n, 2], and the share of light that it takes, 0 to 1."""

    places: Array
    dark: float


def creases(identity: Identity, detail: str, moves: Drivers) -> Iterator[Crease]:
    """The sharp folds of an expression, on both halves of the face."""
    both = _strengths(moves)
    for name, depth, halves in _sharp_lines(detail, identity.texture_seed % _VARIANTS):
        for places, strength in zip(halves, both[name], strict=True):
            dark = min(0.45 * depth * float(strength) * identity.lines * (0.6 + 0.6 * identity.age), 0.8)
            if dark > 0.02:
                yield Crease(places, dark)


@cache
def _sharp_lines(detail: str, variant: int) -> list[tuple[str, float, tuple[Array, Array]]]:
    g, found = grid(detail), []
    for name, points, _, depth in _lines(variant):
        if name in _SHARP:
            line = np.array(points)
            t = np.linspace(0, len(line) - 1, 4 * (len(line) - 1) + 1)
            x, y = (np.interp(t, np.arange(len(line)), line[:, k]) for k in (0, 1))
            left, right = (np.array([g.locate(side * a, b) for a, b in zip(x, y, strict=True)]) for side in (-1, 1))
            found.append((name, depth, (left, right)))
    return found


def _strengths(moves: Drivers) -> dict[str, Array]:
    """How far each movement has gone, on the left and the right half of the picture; brows that rise whole fold as one."""
    both = {name: moves.weights[NAMES.index(name)] for name in NAMES}
    both["brow_raise"] = np.minimum(both["1"], both["2"])
    both["1"] = both["1"] - 0.7 * both["brow_raise"]
    both["2"] = both["2"] - 0.7 * both["brow_raise"]
    return both


def relief(identity: Identity, detail: str, moves: Drivers) -> Array:
    """Height of all folds in mm (grooves are negative), [R, C]."""
    maps, names = _maps(detail, identity.texture_seed % _VARIANTS)
    both = _strengths(moves)
    both["age"] = np.full(2, identity.age, dtype=np.float32)
    depth = (0.45 + 0.65 * identity.age) * identity.folds
    weights = np.stack([both[name] * (1.0 if name == "age" else depth) for name in names]).astype(np.float32)
    used = np.flatnonzero(weights.max(1) > 1e-3)
    flat = maps[used].reshape(len(used), maps[0].size)  # nothing is used on a young face at rest
    left, right = ((weights[used, k] @ flat).reshape(maps.shape[1:]) for k in (0, 1))
    total: Array = left + right_half(grid(detail))[..., 0] * (right - left) + _crease(grid(detail), identity)
    return total


def _crease(g: Grid, identity: Identity) -> Array:
    """The fold of the upper lid."""
    return _fold_of_lid(g, round(identity.crease * 2) / 2)


@cache
def _fold_of_lid(g: Grid, height: float) -> Array:
    return _groove(
        g, ((19, -1.0 + 0.4 * height), (26, 0.5 + height), (37, 0.5 + height), (47, -1.5 + 0.6 * height)), 1.0, 0.9
    )


@cache
def _maps(detail: str, variant: int) -> tuple[Array, tuple[str, ...]]:
    """Relief at full strength for each entry of `_LINES`, [n, R, C]."""
    g = grid(detail)
    maps = {name: np.zeros_like(g.x) for name in _LINES}
    for name, points, width, depth in _lines(variant):
        maps[name] += _groove(g, points, width, depth)
    return np.stack(list(maps.values())), tuple(maps)


@cache
def _lines(variant: int) -> list[tuple[str, tuple[tuple[float, float], ...], float, float]]:
    """Movement, points, width and depth of every line of `_LINES`; people differ in where theirs run."""
    rng, found = np.random.default_rng(variant), []
    for name, lines in _LINES.items():
        for points, width, depth in lines:
            lift = rng.normal(0, 1.0)
            moved = tuple((x + (rng.normal(0, 0.8) if x else 0.0), y + lift) for x, y in points)
            found.append((name, moved, width * float(rng.uniform(0.85, 1.2)), depth * float(rng.uniform(0.7, 1.2))))
    return found


def _groove(g: Grid, points: tuple[tuple[float, float], ...], width: float, depth: float) -> Array:
    """A groove along a line of points with a low swelling beside it, fading at its ends, on both halves."""
    line = np.array(points, dtype=np.float32)
    x, y = np.abs(g.x), g.y
    nearest = np.full(g.x.shape, 1e6, dtype=np.float32)
    place = np.zeros_like(nearest)
    for k, (a, b) in enumerate(pairwise(line)):
        step = b - a
        t = np.clip(((x - a[0]) * step[0] + (y - a[1]) * step[1]) / float(step @ step), 0, 1)
        squared = (x - a[0] - t * step[0]) ** 2 + (y - a[1] - t * step[1]) ** 2
        closer = squared < nearest
        nearest, place = np.where(closer, squared, nearest), np.where(closer, k + t, place)
    length = len(line) - 1
    ends = ramp(place, length, length * 0.7) * (1.0 if line[0, 0] == 0 else ramp(place, 0, length * 0.25))
    profile = -np.exp(-nearest / width**2) + 0.35 * np.exp(-nearest / (2.6 * width) ** 2)
    return np.asarray(depth * ends * profile, dtype=np.float32)
