"""One person's head with a face on it: the neutral head, lids over eyeballs, and what an expression makes of them.

In: an `Identity`, a level of detail, `Drivers`. Out: points of the head in mm, [R, C, 3], and the places of the 68 landmarks.
"""

from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np

from fer.data.synthetic.expression import Drivers, displace, right_half
from fer.data.synthetic.face import (
    EYE_INNER,
    EYE_OUTER,
    EYE_Y,
    LIP_CORNER,
    LIP_Y,
    Array,
    Grid,
    arch,
    grid,
    lower_border,
    ramp,
    upper_border,
)
from fer.data.synthetic.identity import Identity, neutral_head
from fer.data.synthetic.texture import Paint, paint

_EYE_RADIUS = 16.5
"""Larger than an eyeball (12 mm): one sphere then fills the opening from corner to corner."""
_LID_THICKNESS = 0.7


@dataclass(frozen=True, eq=False)
class Head:
    """A person at one level of detail."""

    identity: Identity
    detail: str
    rest: Array
    """Points of the head at rest with its hair, lids still on one line, [R, C, 3]."""
    paint: Paint
    eyes: Array
    """Centre (3) and radius (1) of the left and the right eye of the picture, [2, 4]."""


@lru_cache(maxsize=16)
def make_head(identity: Identity, detail: str) -> Head:
    """Builds (or finds again) the head of a person."""
    rest = neutral_head(identity, detail)
    painted = paint(identity, detail)
    normal, _, _ = normals(rest, grid(detail))
    eyes = np.stack([_eyeball(rest, grid(detail), side) for side in (-1, 1)])
    return Head(identity, detail, rest + normal * painted.hair[..., None], painted, eyes)


def _eyeball(points: Array, g: Grid, side: int) -> Array:
    inner, outer = (sample(points, g.locate(side * x, EYE_Y)) for x in (EYE_INNER, EYE_OUTER))
    half = float(np.linalg.norm(inner - outer)) / 2
    radius = _EYE_RADIUS * half / 14.5
    center = (inner + outer) / 2 + np.array([0, 0.6, 0.4 - np.sqrt(max(radius**2 - half**2, 1.0))])
    return np.append(center, radius).astype(np.float32)


def sample(points: Array, place: tuple[float, float]) -> Array:
    """A point at a fractional (row, column) of a grid."""
    row, column = min(int(place[0]), len(points) - 2), min(int(place[1]), points.shape[1] - 2)
    down, across = place[0] - row, place[1] - column
    top = points[row, column] * (1 - across) + points[row, column + 1] * across
    bottom = points[row + 1, column] * (1 - across) + points[row + 1, column + 1] * across
    return np.asarray(top * (1 - down) + bottom * down)


def face_points(head: Head, moves: Drivers) -> Array:
    """The head with this expression, [R, C, 3] in mm."""
    points = displace(head.rest, head.detail, moves)
    return _move_lids(points, head, moves)


def _move_lids(points: Array, head: Head, moves: Drivers) -> Array:
    g = grid(head.detail)
    band, upper, lower, shut_up, near = _lids(head.detail)
    right = right_half(g)[band, :, 0]
    person = head.identity

    def per_side(values: Array) -> Array:
        mixed: Array = values[0] * (1 - right) + values[1] * right
        return mixed

    rise = np.maximum(person.upper_lid + moves.upper_lid, 0.3)
    sink = np.maximum(person.lower_lid - moves.lower_lid, np.maximum(0.6 - rise, -1.0))
    closed = per_side(moves.closed)
    open_up, open_low = per_side(rise), per_side(sink)
    strip = points[band].copy()
    strip[..., 1] += upper * open_up * (1 - closed) - shut_up * (open_low - 0.1) * closed - lower * open_low
    for side in (0, 1):
        half = right > 0.5 if side else right <= 0.5
        x, y, z, radius = head.eyes[side]
        inside = np.maximum((radius + _LID_THICKNESS) ** 2 - (strip[..., 0] - x) ** 2 - (strip[..., 1] - y) ** 2, 0)
        over = z + np.sqrt(inside)
        lift = 0.5 * (over - strip[..., 2] + np.sqrt((over - strip[..., 2]) ** 2 + 1.5))
        strip[..., 2] += near * half * lift
    moved = points.copy()
    moved[band] = strip
    return moved


@cache
def _lids(detail: str) -> tuple[slice, Array, Array, Array, Array]:
    """Rows round the eyes and, in them, how the lids follow: upper opening, lower opening, upper shutting, on the eyeball."""
    g = grid(detail)
    rows = np.flatnonzero((g.row_y > EYE_Y - 18) & (g.row_y < EYE_Y + 20))
    band = slice(int(rows[0]), int(rows[-1]) + 1)
    x, y, low = np.abs(g.x[band]), g.y[band], g.lower_lid[band]
    s = np.clip((x - EYE_INNER) / (EYE_OUTER - EYE_INNER), 0, 1)
    arch_up, arch_low = arch(s**0.88, 0.72), arch(s**1.15, 0.8)
    fade_up = np.clip(1 - (y - EYE_Y) / 16, 0, 1) ** 2 * ~low
    fade_low = np.clip(1 - (EYE_Y - y) / 14, 0, 1) ** 2 * low
    near = ramp(np.abs(s - 0.5) + np.maximum(x - EYE_OUTER, 0) / 29 + np.maximum(EYE_INNER - x, 0) / 29, 0.66, 0.46)
    near = near * ramp(np.abs(y - EYE_Y - 1), 14, 8)
    maps = [m.astype(np.float32) for m in (arch_up * fade_up, arch_low * fade_low, arch_low * fade_up, near)]
    return band, maps[0], maps[1], maps[2], maps[3]


def normals(points: Array, g: Grid) -> tuple[Array, Array, Array]:
    """Unit normals and the edges (along rows, along columns) of a head, each [R, C, 3]; nothing leaks across the cuts."""
    across = np.empty_like(points)
    across[:, 1:-1] = points[:, 2:] - points[:, :-2]
    across[:, 0], across[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
    step = points[1:] - points[:-1]
    for cut in (g.eye_row, g.lip_row):
        step[cut] = 0
    down = np.empty_like(points)
    down[1:-1] = step[1:] + step[:-1]
    down[0], down[-1] = step[0], step[-1]
    normal: Array = cv2.blur(_cross(down, across), (3, 3))
    normal /= np.sqrt(np.einsum("ijk,ijk->ij", normal, normal))[..., None] + 1e-6
    return normal, across, down


def _cross(a: Array, b: Array) -> Array:
    """Faster than numpy's for large fields."""
    product = np.empty_like(a)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        product[..., k] = a[..., i] * b[..., j] - a[..., j] * b[..., i]
    return product


def _edge_columns(detail: str, corner: tuple[float, float], row_y: float) -> Array:
    """Columns from one corner (material x) of a cut to the other, as fractional columns, [n]."""
    g = grid(detail)
    first, last = (g.locate(x, row_y)[1] for x in corner)
    return np.linspace(first, last, 25, dtype=np.float32)


def cut_edges(points: Array, detail: str, corner: tuple[float, float], row_y: float) -> tuple[Array, Array]:
    """The upper and the lower edge of an opening, each [25, k], from left to right of the picture."""
    g = grid(detail)
    row = g.eye_row if row_y == EYE_Y else g.lip_row
    columns = _edge_columns(detail, corner, row_y)
    low = np.minimum(columns.astype(int), points.shape[1] - 2)
    share = (columns - low)[:, None]
    upper, lower = (points[r, low] * (1 - share) + points[r, low + 1] * share for r in (row, row + 1))
    return upper, lower


def landmarks(points: Array, detail: str, brow: tuple[float, float, float, float]) -> Array:
    """The 68 points of the iBUG order from any field over the grid, [68, k]."""
    places = _landmark_places(detail, brow)
    rows, columns = np.array(places, dtype=np.float32).T
    found: Array = cv2.remap(points, columns[:, None], rows[:, None], cv2.INTER_LINEAR)
    return found[:, 0]


@lru_cache(maxsize=64)
def _landmark_places(detail: str, brow: tuple[float, float, float, float]) -> list[tuple[float, float]]:
    g = grid(detail)
    half_jaw = [(74.5, -8), (71.5, -28), (67, -48), (61, -66), (54, -83), (45, -98), (33, -111), (18, -118.5)]
    jaw = [(-x, y) for x, y in half_jaw] + [(0.0, -120.5)] + [(x, y) for x, y in reversed(half_jaw)]
    _, _, rise, inner = brow
    brows = [
        (inner + (53 - inner) * t, 15.5 + rise * np.sin(np.pi * t**1.3) - 2.5 * t**3)
        for t in (1.0, 0.78, 0.52, 0.26, 0.0)
    ]
    nose = [(0.0, y) for y in (-2.0, -15.0, -28.0, -41.0)] + [
        (x, -52.0 - 0.25 * (14 - abs(x)) / 4) for x in (-13, -6.5, 0, 6.5, 13)
    ]
    points = [*jaw, *[(-x, y) for x, y in brows], *reversed(brows), *nose]
    return [g.locate(float(x), float(y)) for x, y in points] + _eye_places(g) + _mouth_places(g)


def _eye_places(g: Grid) -> list[tuple[float, float]]:
    width = EYE_OUTER - EYE_INNER
    a, b = EYE_INNER + width * 0.34, EYE_INNER + width * 0.67
    left = [(-EYE_OUTER, False), (-b, False), (-a, False), (-EYE_INNER, False), (-a, True), (-b, True)]
    right = [(EYE_INNER, False), (a, False), (b, False), (EYE_OUTER, False), (b, True), (a, True)]
    return [g.locate(x, EYE_Y, below) for x, below in left + right]


def _mouth_places(g: Grid) -> list[tuple[float, float]]:
    top = [(x, LIP_Y + float(upper_border(np.array([x]))[0])) for x in (-16, -6, 0, 6, 16)]
    bottom = [(x, LIP_Y - float(lower_border(np.array([x]))[0])) for x in (14, 7, 0, -7, -14)]
    corner = (LIP_CORNER - 0.3, LIP_Y)
    outer = [
        g.locate(-corner[0], LIP_Y),
        *[g.locate(*p) for p in top],
        g.locate(*corner),
        *[g.locate(*p) for p in bottom],
    ]
    inside = [g.locate(x, LIP_Y) for x in (-LIP_CORNER + 2.5, -8, 0, 8, LIP_CORNER - 2.5)]
    return outer + inside + [g.locate(x, LIP_Y, below_cut=True) for x in (8, 0, -8)]
