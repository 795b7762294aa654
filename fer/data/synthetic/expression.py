"""Action units as movements of the head: what FACS says each unit pulls, in millimetres.

In: AU strengths (0 to 1, E = 1) and a left/right imbalance. Out: `Drivers`, then displacements of a `Grid`.

Each unit is a handful of smooth pulls (Ekman, Friesen & Hager, FACS manual, 2002, describes them in words). Units that
cut across each other (1 with 4, an open jaw with closed lips) are settled in `drivers`, everything else adds up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from fer.data.synthetic.face import LIP_CORNER, LIP_Y, Array, Grid, bump, grid, lower_border, ramp, upper_border

Pull = tuple[float, float, float, float, float, float, float]
"""Centre x, y (mirrored), reach x, y, then how far it moves: outwards, up, forwards; all in mm."""

_PULLS: dict[str, tuple[Pull, ...]] = {
    "1": ((11, 20, 11, 11, 0, 8.5, 1.0), (0, 47, 24, 18, 0, 4, 0), (0, 27, 7, 9, 0, 3, 0), (20, 6, 8, 6, 0, 2.2, 0)),
    "2": ((41, 19, 13, 12, 0.5, 8.5, 0.5), (40, 45, 18, 18, 0, 4, 0), (41, 5, 8, 6, 0, 2.4, 0)),
    "4": ((13, 17, 12, 10, 0, -6.5, 1.5), (32, 16, 12, 9, 0, -4.0, 1.0), (22, 4, 12, 5, 0, -2.0, 0)),
    "4_in": ((16, 17, 10, 10, -4.0, 0, 0), (39, 16, 11, 10, -3.5, -1.0, 0.5), (9, 17, 4, 7, 0, 0, 2.4)),
    "6": (
        (36, -27, 15, 10, 0, 5.5, 4.5),
        (50, -8, 7, 9, -2, 1.5, 1),
        (33, -14, 14, 4, 0, 1.5, 2.2),
        (46, 14, 10, 8, 0, -1.6, 0),
    ),
    "7": ((32, -13, 14, 4, 0, 1.2, 1.2),),
    "9": (
        (9, -32, 9, 13, 0, 5.0, 2.5),
        (14, -46, 6, 5, 1.5, 6.5, 1),
        (0, -48, 8, 7, 0, 2.0, 0),
        (12, -64, 13, 8, 0, 7.0, 2),
        (27, -72, 8, 7, 0, 3.0, 0),
        (25, -26, 9, 9, -1, 4.5, 4.0),
        (11, 16, 11, 9, -2.0, -5.0, 2.5),
    ),
    "10": (
        (11, -66, 12, 7, 0, 7.5, 2.5),
        (15, -48, 7, 6, 1.5, 4.0, 0),
        (0, -48, 8, 7, 0, 1.5, 0),
        (24, -57, 8, 9, 1, 5.0, 3.5),
        (27, -72, 7, 6, 0, 2.5, 0),
    ),
    "11": ((22, -56, 7, 10, 2.0, 2.5, 3.5), (17, -60, 4, 8, 0, 0, -2.0)),
    "12": (
        (27, -74, 10, 10, 8.5, 9.0, -4),
        (37, -50, 12, 13, 3, 5.5, 6.0),
        (33, -34, 13, 9, 0, 2.5, 3.5),
        (42, -78, 9, 9, 2, 4, -2),
    ),
    "13": ((26, -73, 7, 8, 1, 9, 0), (38, -52, 11, 12, 0, 4, 8)),
    "14": (
        (27, -73.5, 6, 5, -1.0, 4.0, -6.0),
        (38, -72, 5.5, 11, 0, 0, 3.5),
        (30, -84, 6, 5, 0, 0, 2.0),
        (29, -62, 6, 5, 0, 0, 2.5),
    ),
    "15": ((26, -75, 9, 8, 1.5, -9.0, -1), (29, -92, 8, 8, 0, -3, 2.5), (26, -60, 8, 8, 0, -2.0, -1)),
    "16": (),
    "17": (
        (0, -105, 16, 10, 0, 7, 3.0),
        (0, -117, 18, 9, 0, 4, 1.0),
        (0, -82, 17, 9, 0, 6.0, 4.0),
        (0, -66, 12, 8, 0, 1.5, 1.5),
    ),
    "18": ((25, -73, 11, 12, -11, 0, 3), (0, -73, 13, 12, 0, 0, 8)),
    "20": ((27, -75, 11, 11, 9, -2.5, -4), (42, -74, 12, 14, 4, -1, 1)),
    "21": ((32, -108, 16, 16, 5, -5, 0),),
    "22": ((22, -73, 12, 12, -7, 0, 3), (0, -73, 15, 13, 0, 0, 7)),
    "23": ((25, -73, 8, 8, -1.5, 0, 0), (0, -84, 16, 6, 0, 1.5, 0)),
    "24": (
        (25, -73, 8, 8, -1.0, 1.0, 0),
        (0, -61, 18, 4.5, 0, 0, 2.5),
        (0, -88, 18, 6, 0, 3.0, 4.0),
    ),
    "29": ((0, -104, 26, 20, 0, 0, 9),),
    "31": ((55, -72, 10, 16, 4, 0, 4),),
    "34": ((43, -64, 14, 15, 6, 0, 9),),
    "38": ((14.5, -48.5, 5, 5, 3.0, 0.8, 0),),
    "39": ((14.5, -48.5, 5, 5, -2.6, 0, 0),),
}
_MADE = ("part", "depress", "roll", "jaw")
"""Movements that no sum of round pulls makes: they open the lips, roll them in, or turn the jaw."""
NAMES = (*_PULLS, *_MADE)
JAW_HINGE_Y, JAW_HINGE_Z, JAW_TURN = -25.0, 5.0, 0.37
SUPPORTED_AUS = frozenset(
    (*(int(name) for name in _PULLS if name.isdecimal()), 5, 25, 26, 27, 28, 41, 42, 43, 44, 45, 46)
)
"""Units that `draw_face` can show."""


@dataclass(frozen=True, eq=False)
class Drivers:
    """How far each movement goes on the left and on the right half of the picture."""

    weights: Array
    """Share of the full movement, [len(NAMES), 2]."""
    upper_lid: Array
    """How far the upper lid rises (mm), [2]."""
    lower_lid: Array
    """How far the lower lid rises (mm), [2]."""
    closed: Array
    """0 = as the lids stand, 1 = shut, [2]."""
    lips_part: float
    """Largest strength of the units that part the lips; 0 seals them."""


def drivers(aus: Mapping[int, float], imbalance: Mapping[int, float] | None = None) -> Drivers:
    """Settles the units against each other.

    Args:
        aus: AU number -> strength, 0 to 1.
        imbalance: AU number -> -1 (left half of the picture only) to 1 (right half only); 0 or absent: both alike.
    """
    lean = imbalance or {}

    @cache
    def side(au: int) -> Array:
        tilt = float(np.clip(lean.get(au, 0.0), -1, 1))
        return np.float32(aus.get(au, 0.0)) * np.clip(np.array([1 - tilt, 1 + tilt], dtype=np.float32), 0, 1)

    calm = 1.0 - 0.85 * side(1)  # FACS: 1+4 lifts and joins the inner corners; the brow does not sink
    opening = 1.0 - 0.5 * np.maximum(side(24), side(28))
    weight = {name: side(int(name)) for name in _PULLS if name.isdecimal()}
    weight |= {
        "4": side(4) * calm,
        "4_in": side(4),
        "9": side(9) * (1.0 - 0.3 * side(1)),
        "part": np.maximum(side(25), 0.3 * side(27)) * opening,
        "depress": side(16),
        "roll": np.clip(0.5 * side(23) + 0.6 * side(24) + 0.95 * side(28) + 0.15 * side(12) + 0.25 * side(20), 0, 0.95),
        "jaw": np.full(2, max(0.36 * aus.get(26, 0.0), aus.get(27, 0.0)) + 0.08 * aus.get(25, 0.0), dtype=np.float32),
    }
    lowered = 1.1 * side(7) + 0.7 * side(6) + 0.8 * side(9) + 2.8 * side(41) + 0.9 * side(4) * calm + 1.2 * side(44)
    raised = 2.7 * side(7) + 1.7 * side(6) + 1.3 * side(9) + 0.6 * side(12) + 2.8 * side(44) - 0.6 * side(5)
    return Drivers(
        weights=np.stack([weight[name] for name in NAMES]).astype(np.float32),
        upper_lid=4.3 * side(5) - lowered,
        lower_lid=raised,
        closed=np.clip(side(43) + side(45) + side(46) + 0.8 * side(42), 0, 1),
        lips_part=max([aus.get(au, 0.0) for au in (16, 22, 25, 27)]),
    )


def displace(points: Array, detail: str, moves: Drivers) -> Array:
    """Adds the movements of the skin (not of the lids) to a head, [R, C, 3], in millimetres."""
    g = grid(detail)
    active = np.flatnonzero(np.abs(moves.weights).max(1) > 1e-3)
    moved = points.copy()
    if len(active):
        fields = _fields(detail)[active].reshape(len(active), -1)
        left, right = ((moves.weights[active, k] @ fields).reshape(points.shape) for k in (0, 1))
        moved += left + right_half(g) * (right - left)
    return moved if moves.lips_part > 0 else _seal(moved, g)


def right_half(g: Grid) -> Array:
    """0 on the left of the picture, 1 on the right, smooth between; [R, C, 1]."""
    return ramp(g.x, -5.0, 5.0)[..., None]


def _seal(points: Array, g: Grid) -> Array:
    """Brings the lower lip up to the upper one: a jaw that drops behind closed lips."""
    gap = points[g.lip_row] - points[g.lip_row + 1]
    near = np.exp(-(((LIP_Y - g.y) / 15.0) ** 2)) * g.lower_lip
    sealed: Array = points + near[..., None] * gap[None] * np.array([0, 1, 1], dtype=np.float32)
    return sealed


@cache
def _fields(detail: str) -> Array:
    """Full displacement of each of `NAMES`, [D, R, C, 3]."""
    g = grid(detail)
    front = ramp(np.cos(g.theta), -0.1, 0.35)
    outwards = np.tanh(g.x / 5.0)
    stack = np.zeros((len(NAMES), *g.x.shape, 3), dtype=np.float32)
    for index, name in enumerate(NAMES):
        for x, y, sx, sy, dx, dy, dz in _PULLS.get(name, ()):
            hill = bump(g, x, y, sx, sy) * front
            stack[index] += np.stack([hill * dx * outwards, hill * dy, hill * dz], -1)
    made = {"part": _part(g, 2.0, 5.5), "depress": _part(g, 0.0, 6.5), "roll": _roll(g), "jaw": _jaw(g)}
    for name, field in made.items():
        stack[NAMES.index(name)] += field * front[..., None]
    return stack


def _part(g: Grid, up: float, down: float) -> Array:
    """Lips move apart: the upper one `up`, the lower one `down` (mm), nothing at the corners."""
    inside = np.clip(1.0 - (g.x / LIP_CORNER) ** 2, 0.0, 1.0) ** 0.8
    distance = np.abs(g.y - LIP_Y)
    lift = inside * np.where(
        g.lower_lip, -down * np.exp(-((distance / 17.0) ** 2)), up * np.exp(-((distance / 12.0) ** 2))
    )
    return np.stack([0 * lift, lift, np.where(g.lower_lip, 0.25, 0.3) * np.abs(lift)], -1).astype(np.float32)


def _roll(g: Grid) -> Array:
    """The red of both lips turns inwards and gets narrow."""
    border = np.where(g.lower_lip, lower_border(g.x), upper_border(g.x))
    distance = np.abs(g.y - LIP_Y)
    beyond = np.maximum(distance - border, 0.0)
    shift = np.minimum(distance, border) * np.exp(-beyond / 9.0) * 0.85
    inwards = -2.6 * np.clip(border / 6.0, 0, 1) * np.exp(-((distance / 7.0) ** 2))
    return np.stack([0 * shift, np.where(g.lower_lip, shift, -shift), inwards], -1).astype(np.float32)


def _jaw(g: Grid) -> Array:
    """The jaw turns about its hinge by `JAW_TURN` (rad): chin and lower lip go down, the skin of the cheeks between."""
    along = ramp(g.y, -42, -110)
    inside = np.clip(1.0 - (np.abs(g.x) / LIP_CORNER) ** 2.0, 0.0, 1.0) ** 0.55
    below = along + (1 - along) * inside * np.exp(-(np.maximum(LIP_Y - g.y, 0) / 60.0))
    above = along * (1.0 - inside * np.exp(-(np.maximum(g.y - LIP_Y, 0) / 40.0)))
    follow = np.where(g.lower_lip, below, above)
    base = g.base
    down = -JAW_TURN * np.maximum(base[..., 2] - JAW_HINGE_Z, 0) * follow
    back = JAW_TURN * 0.3 * (base[..., 1] - JAW_HINGE_Y) * follow
    narrow = -3.5 * bump(g, 28, LIP_Y, 10, 10) * np.tanh(g.x / 5.0) - 2.0 * bump(g, 42, -62, 12, 16) * np.tanh(
        g.x / 5.0
    )
    arch_up = 2.5 * inside * ~g.lower_lip * np.exp(-(((g.y - LIP_Y) / 14.0) ** 2))
    return np.stack([narrow, down + arch_up, back], -1).astype(np.float32)
