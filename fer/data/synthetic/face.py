"""The average head: a grid of material points, wrapped round a head in millimetres.

In: a level of detail. Out: a `Grid`: where every point sits on the mean head (`base`), its material coordinates
(`x`, `y`: frontal millimetres that expressions, features and textures are written in), and the two cuts (eyes, lips).

Axes: x to the right of the picture, y up, z towards the camera; the origin lies at eye height on the axis of the head.
Sizes follow adult averages (Farkas, Anthropometry of the Head and Face, 1994).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[Any]
"""float32, unless said otherwise."""

EYE_X, EYE_INNER, EYE_OUTER, EYE_Y = 31.5, 17.0, 46.0, -4.0
LIP_Y, LIP_CORNER = -73.0, 25.5
DETAILS = {"full": (240, 200), "small": (124, 104)}
"""Level of detail -> grid rows and columns: about 1 mm and 2 mm between points on the face."""

# Sections of the head: material y, real y, half width, depth of the midline, depth of the widest place.
_SECTIONS = np.array(
    [
        (118, 115, 3, 4, 0),
        (115, 114, 17, 20, 0),
        (110, 110.5, 30, 36, 0),
        (100, 101, 47, 57, 0),
        (86, 86, 60, 75, 0),
        (70, 70, 68, 87, 0),
        (52, 52, 72.5, 93.5, 0),
        (36, 36, 74, 96.5, 0),
        (18, 18, 73.5, 97, 2),
        (0, 0, 72, 94.5, 5),
        (-20, -20, 70, 93, 8),
        (-40, -40, 67, 91, 10),
        (-58, -58, 62.5, 90, 13),
        (-73, -73, 58, 89, 16),
        (-88, -88, 51.5, 87, 22),
        (-99, -99, 44, 86, 30),
        (-107, -107, 37, 85, 39),
        (-113, -113, 30, 82, 44),
        (-118, -117.5, 22.5, 76, 47),
        (-123, -120.5, 13, 67, 49),
        (-132, -118.5, 10, 52, 42),
        (-142, -112, 12, 36, 26),
    ],
    dtype=np.float64,
)
_SPACING = (
    (118, 3.4),
    (60, 2.4),
    (34, 1.4),
    (12, 0.95),
    (-14, 0.95),
    (-30, 1.3),
    (-42, 1.0),
    (-86, 1.0),
    (-100, 1.5),
    (-142, 2.5),
)
_THETA_MAX = np.deg2rad(108.0)


@dataclass(frozen=True, eq=False)
class Grid:
    """Material points of the mean head, [rows, columns]; row 0 is the crown, column 0 the left of the picture."""

    x: Array
    """Material x in mm, [R, C]."""
    y: Array
    """Material y in mm, [R, C]."""
    theta: Array
    """Angle round the head in radians, [R, C]: 0 in front, positive to the right of the picture."""
    base: Array
    """Mean head in mm, [R, C, 3]."""
    eye_row: int
    """Last row above the cut between the lids; the row after it lies on the same line, below the cut."""
    lip_row: int
    """The same for the cut between the lips."""
    row_y: Array
    """Material y per row, [R]."""

    def locate(self, x: float, y: float, below_cut: bool = False) -> tuple[float, float]:
        """Material coordinates -> fractional (row, column); on a cut, the row above it unless `below_cut`."""
        cuts = [row for row in (self.eye_row, self.lip_row) if abs(float(self.row_y[row]) - y) < 1e-3]
        row = float(cuts[0] + below_cut) if cuts else float(np.interp(-y, -self.row_y, np.arange(len(self.row_y))))
        line = self.x[round(row)]
        return row, float(np.interp(x, line, np.arange(len(line))))

    @property
    def lower_lip(self) -> NDArray[np.bool_]:
        """Rows below the cut between the lips, [R, 1]."""
        return (np.arange(len(self.row_y)) > self.lip_row)[:, None]

    @property
    def lower_lid(self) -> NDArray[np.bool_]:
        """Rows below the cut between the lids, [R, 1]."""
        return (np.arange(len(self.row_y)) > self.eye_row)[:, None]


def bump(grid: Grid, x: float, y: float, sx: float, sy: float) -> Array:
    """A Gaussian hill at (x, y) and at its mirror place, 1 at the top, [R, C]."""
    fall_y = np.exp(-0.5 * ((grid.y - y) / sy) ** 2)
    hill = np.exp(-0.5 * ((np.abs(grid.x) - x) / sx) ** 2) if x else np.exp(-0.5 * (grid.x / sx) ** 2)
    return (hill * fall_y).astype(np.float32)


def smile_fold(grid: Grid, width: float) -> Array:
    """1 along the fold from the wing of the nose to beside the corner of the mouth, fading within `width` mm, [R, C]."""
    line = 18.5 + 0.62 * (-46.0 - grid.y)
    away = np.exp(-0.5 * ((np.abs(grid.x) - line) / width) ** 2)
    return (away * ramp(grid.y, -42, -50) * ramp(grid.y, -80, -66)).astype(np.float32)


def ramp(value: Array, low: float, high: float) -> Array:
    """Smooth step: 0 at `low`, 1 at `high` (which may be the smaller one)."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def arch(t: Array, power: float) -> Array:
    """0 at t = 0 and 1, 1 half-way; a smaller power is flatter on top."""
    return np.asarray(np.clip(np.sin(np.pi * np.clip(t, 0.0, 1.0)), 0.0, 1.0) ** power, dtype=np.float32)


def upper_border(x: Array) -> Array:
    """Height of the red of the upper lip above the lip line at |x| (mm)."""
    t = np.clip(np.abs(x) / LIP_CORNER, 0.0, 1.0)
    bow = 1.0 - 0.2 * np.exp(-0.5 * (x / 2.6) ** 2) + 0.06 * np.exp(-0.5 * ((np.abs(x) - 6.0) / 3.0) ** 2)
    return np.asarray(7.4 * (1.0 - t**1.6) * bow, dtype=np.float32)


def lower_border(x: Array) -> Array:
    """Depth of the red of the lower lip below the lip line at |x| (mm)."""
    t = np.clip(np.abs(x) / (LIP_CORNER - 1.5), 0.0, 1.0)
    return np.asarray(9.2 * (1.0 - t**2.3), dtype=np.float32)


@cache
def grid(detail: str) -> Grid:
    """The mean head at a level of `DETAILS`; built once a process."""
    n_rows, n_columns = DETAILS[detail]
    rows, eye_row, lip_row = _rows(n_rows)
    t = np.linspace(-1.0, 1.0, n_columns)
    theta = np.broadcast_to(_THETA_MAX * (0.7 * t + 0.3 * t**3), (len(rows), n_columns))
    real_y, width, front, middle = PchipInterpolator(_SECTIONS[::-1, 0], _SECTIONS[::-1, 1:])(rows).T[:, :, None]
    side = np.maximum(np.abs(theta) - np.pi / 2, 0.0)
    x = width * (np.sin(theta) * (side == 0) + np.sign(theta) * (1.0 + 0.9 * side) * (side > 0))
    y = np.broadcast_to(rows[:, None], x.shape)
    depth = np.where(side == 0, (1.0 - np.abs(np.sin(theta)) ** 2.35).clip(0) ** (1 / 2.35), np.cos(theta) * 1.05)
    base = np.stack([width * np.sin(theta), real_y + 0 * theta, middle + (front - middle) * depth], -1)
    fields = {"x": x, "y": y, "theta": theta, "base": base, "row_y": rows}
    arrays = {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in fields.items()}
    bare = Grid(eye_row=eye_row, lip_row=lip_row, **arrays)
    bare.base[...] += _features(bare)
    return bare


def _rows(n_rows: int) -> tuple[NDArray[np.float64], int, int]:
    """Material y of the rows, denser where the face is finer, with both cuts as doubled rows; and the rows of the cuts."""
    y_knots, spacing = np.array(_SPACING, dtype=np.float64).T
    fine = np.linspace(118.0, -142.0, 4000)
    density = 1.0 / np.interp(-fine, -y_knots, spacing)
    count = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    count *= (n_rows - 3) / count[-1]
    at_eye, at_lip = np.interp([-EYE_Y, -LIP_Y], -fine, count)
    edges = [0, round(at_eye), round(at_lip), n_rows - 3]
    places = [0.0, at_eye, at_lip, count[-1]]
    parts = [np.linspace(places[i], places[i + 1], edges[i + 1] - edges[i] + 1) for i in range(3)]
    rows = np.interp(np.concatenate(parts), count, fine)
    eye_row, lip_row = edges[1], edges[2] + 1
    rows[eye_row : eye_row + 2], rows[lip_row : lip_row + 2] = EYE_Y, LIP_Y
    return rows, eye_row, lip_row


def _features(g: Grid) -> Array:
    """What makes an egg a face: sockets, brow ridge, nose, cheeks, lips, chin, ears; displacement in mm, [R, C, 3]."""
    move = np.zeros((*g.x.shape, 3), dtype=np.float32)
    z = (
        -8.5 * bump(g, 31, -2, 13, 9)  # sockets
        - 1.5 * bump(g, 19, -3, 5, 8)
        + 3.5 * bump(g, 26, 16, 17, 6)  # brow ridge
        + 1.5 * bump(g, 0, 14, 9, 7)
        + 4.5 * bump(g, 48, -25, 14, 11)  # cheekbones
        + 3.5 * bump(g, 33, -36, 14, 12)
        - 1.5 * bump(g, 48, -62, 12, 16)
        - 1.2 * bump(g, 27, -17, 9, 4)
        - 3.0 * bump(g, 68, 20, 9, 16)
        + 6.0 * bump(g, 0, -72, 27, 18)  # dental arch
        - 4.5 * bump(g, 0, -89, 16, 5)
        + 6.5 * bump(g, 0, -106, 13, 9)  # chin
        - 1.2 * smile_fold(g, 4.5)
    )
    z += _nose(g) + _lips(g)
    move[..., 2] = z * ramp(np.cos(g.theta), 0.05, 0.45)
    move[..., 1] += -2.5 * bump(g, 0, -46, 8, 5) + 1.5 * bump(g, 13, -48, 6, 4)
    flap = ear(g)
    move[..., 0] += np.sign(g.x) * 10.0 * flap
    move[..., 2] += -7.0 * flap
    return move


def _nose(g: Grid) -> Array:
    along = ramp(g.y, 8, -42)
    rise = 0.03 * np.minimum(np.maximum(np.abs(g.x) - 5.0, 0) ** 2, 250)
    under = ramp(g.y - rise, -55.5, -46.5)
    half = 6.2 + 1.4 * along
    top = ramp(g.y, 16, -4)
    ridge = (4.5 + 14.5 * along**1.2) * np.exp(-0.5 * (g.x / half) ** 2) * top * under
    flank = (1.5 + 6.0 * along) * np.exp(-0.5 * (g.x / 11.5) ** 2) * top * ramp(g.y - rise, -57, -46)
    tip = 5.0 * bump(g, 0, -44.0, 6.0, 5.0) * under
    wings = 7.0 * bump(g, 13.2, -47.0, 3.8, 4.4) * ramp(g.y, -54.5, -48.5)
    nostril = -3.0 * bump(g, 6.8, -51.5, 2.6, 1.8)
    philtrum = 0.7 * bump(g, 4.8, -61, 1.8, 6) - 0.9 * bump(g, 0, -60, 2.2, 6)
    crease = -2.0 * bump(g, 18.0, -47, 1.8, 4.5)
    total: Array = ridge + flank + tip + wings + nostril + philtrum + crease
    return total


def _lips(g: Grid) -> Array:
    across = np.clip(1.0 - (g.x / 28.5) ** 2, 0.0, 1.0) ** 1.3
    up, down = np.maximum(upper_border(g.x), 3.5), np.maximum(lower_border(g.x), 3.5)
    t = np.where(g.lower_lip, (LIP_Y - g.y) / down, (g.y - LIP_Y) / up)
    roll = np.where(t < 1.0, np.sqrt(np.clip(1.0 - (t - 0.72) ** 2 / 0.6, 0, 1)), np.exp(-((t - 1.0) * 1.2)) * 0.93)
    total: Array = (across * roll * np.where(g.lower_lip, 4.6, 4.0) - 1.6 * bump(g, 26.5, -73.5, 3.0, 3.0)).astype(
        np.float32
    )
    return total


def ear(g: Grid) -> Array:
    """1 on the rim of the ear, less in its bowl, 0 off the ear."""
    angle = np.abs(g.theta) - np.deg2rad(93.0)
    radius = np.sqrt(((g.y + 17.0 + 40 * angle) / 29.0) ** 2 + (angle / np.deg2rad(10.0)) ** 2)
    whole = ramp(radius, 1.0, 0.75)
    total: Array = whole * (1.0 - 0.35 * ramp(radius, 0.7, 0.3))
    return total
