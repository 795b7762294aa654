"""What a head is painted with: skin, lips, brows, beard and hair as reflectance maps over the grid.

In: an `Identity` and a level of detail. Out: `Paint`: maps twice as fine as the grid, and the thickness of the hair.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fer.data.synthetic.face import (
    EYE_INNER,
    EYE_OUTER,
    EYE_Y,
    LIP_CORNER,
    LIP_Y,
    Array,
    Grid,
    arch,
    ear,
    grid,
    lower_border,
    ramp,
    upper_border,
)
from fer.data.synthetic.identity import Identity

GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Paint:
    """Maps over the grid of one person."""

    albedo: Array
    """Linear reflectance, [2R-1, 2C-1, 3]."""
    grey: Array
    """The same without colour, [2R-1, 2C-1, 1]."""
    hair: Array
    """Thickness of the hair over the skin in mm, [R, C]."""


@dataclass(frozen=True, eq=False)
class _Fine:
    """Material coordinates at twice the resolution of the grid."""

    x: Array
    y: Array
    theta: Array
    lower_lip: NDArray[np.bool_]
    detail: str

    @property
    def shape(self) -> tuple[int, int]:
        return self.x.shape[0], self.x.shape[1]


def _refine(coarse: Array) -> Array:
    """[R, C] -> [2R-1, 2C-1]: every second value is an old one."""
    rows, columns = coarse.shape
    at_x, at_y = np.meshgrid(np.arange(2 * columns - 1) / 2, np.arange(2 * rows - 1) / 2)
    fine: Array = cv2.remap(coarse, at_x.astype(np.float32), at_y.astype(np.float32), cv2.INTER_LINEAR)
    return fine


@cache
def _fine(detail: str) -> _Fine:
    g = grid(detail)
    rows = np.arange(2 * len(g.row_y) - 1)[:, None]
    return _Fine(_refine(g.x), _refine(g.y), _refine(g.theta), rows > 2 * g.lip_row + 1, detail)


def paint(identity: Identity, detail: str) -> Paint:
    """Paints a person; the same identity gives the same maps."""
    f = _fine(detail)
    rng = np.random.default_rng(identity.texture_seed)
    skin = np.asarray(identity.skin, dtype=np.float32) * _complexion(f, identity, rng)[..., None]
    skin = skin * (1 - _blush(f)[..., None] * np.array([-0.06, 0.16, 0.18], dtype=np.float32))
    lips = _lip_mask(f)[..., None] * (0.42 + 0.58 * identity.lip_tint)
    color = skin * (1 - lips) + lips * skin * np.array([0.78, 0.42, 0.42], dtype=np.float32)
    color = color * (1 - _dark_places(f)[..., None])
    hair_color = np.asarray(identity.hair_color, dtype=np.float32)
    for mask in (_beard_mask(f, identity, rng), _brow_mask(f, identity, rng)):
        color = color + mask[..., None] * (hair_color * 0.65 - color)
    mask, shade = _hair_mask(f, identity, rng)
    color = color + mask[..., None] * (hair_color * shade[..., None] - color)
    albedo = np.clip(color, 0.004, 1).astype(np.float32)
    return Paint(albedo, (albedo @ GREY)[..., None], _hair_thickness(grid(detail), identity))


def noise(rng: np.random.Generator, shape: tuple[int, int], every: tuple[float, float]) -> Array:
    """Smooth noise, mean 0 and deviation near 1, that changes every `every` = (rows, columns)."""
    small = (max(int(shape[0] / every[0]), 2), max(int(shape[1] / every[1]), 2))
    values = rng.standard_normal(small, dtype=np.float32)
    grown: Array = cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return grown


def _complexion(f: _Fine, identity: Identity, rng: np.random.Generator) -> Array:
    """Blotches, pores, freckles and moles: a factor near 1."""
    blotch = 0.035 * noise(rng, f.shape, (24, 24)) + 0.02 * noise(rng, f.shape, (6, 6))
    pores = 0.022 * rng.standard_normal(f.shape, dtype=np.float32)
    spots = noise(rng, f.shape, (3, 3)) * np.exp(-0.5 * ((f.y + 25) / 25) ** 2)
    freckles = 0.35 * identity.freckles * ramp(spots, 1.2, 2.4)
    factor = 1 + blotch + pores - freckles
    for _ in range(int(rng.integers(0, 5))):
        x, y, size = rng.uniform(-55, 55), rng.uniform(-110, 55), rng.uniform(0.8, 1.6)
        factor = factor * (1 - 0.6 * np.exp(-0.5 * ((f.x - x) ** 2 + (f.y - y) ** 2) / size**2))
    return np.clip(factor, 0.3, 1.4).astype(np.float32)


def _blush(f: _Fine) -> Array:
    def spot(x: float, y: float, sx: float, sy: float) -> Array:
        fall: Array = np.exp(-0.5 * ((np.abs(f.x) - x) / sx) ** 2 - 0.5 * ((f.y - y) / sy) ** 2)
        return fall

    return (
        0.8 * spot(38, -38, 14, 12)
        + 0.9 * spot(0, -42, 10, 8)
        + 0.4 * spot(0, -106, 12, 8)
        + 0.5 * spot(76, -17, 10, 25)
    )


def _lip_mask(f: _Fine) -> Array:
    distance = np.where(f.lower_lip, LIP_Y - f.y, f.y - LIP_Y)
    border = np.where(f.lower_lip, lower_border(f.x), upper_border(f.x))
    inside = ramp(border - distance, -0.9, 0.9)
    return np.asarray(inside * ramp(np.abs(f.x), LIP_CORNER + 1, LIP_CORNER - 2), dtype=np.float32)


def _dark_places(f: _Fine) -> Array:
    """Nostrils, edges of the lids, the line between the lips, shadow of the sockets; 0 to 0.9."""
    away = np.abs(f.x)
    nostril = 0.85 * ramp(((away - 7.0) / 3.4) ** 2 + ((f.y + 51.6) / 1.9) ** 2, 1.3, 0.5)
    in_eye = ramp(away, EYE_INNER - 2, EYE_INNER + 2) * ramp(away, EYE_OUTER + 2, EYE_OUTER - 2)
    edge = 0.55 * in_eye * np.exp(-np.maximum(f.y - EYE_Y, 0) / 0.5) * (f.y >= EYE_Y - 0.01)
    edge += 0.28 * in_eye * np.exp(-np.maximum(EYE_Y - f.y, 0) / 0.9) * (f.y < EYE_Y)
    lip_line = 0.4 * np.exp(-np.abs(f.y - LIP_Y) / 0.8) * ramp(away, LIP_CORNER + 2.5, LIP_CORNER - 1)
    socket = 0.13 * np.exp(-0.5 * ((away - 28) / 14) ** 2 - 0.5 * ((f.y + 6) / 10) ** 2)
    return np.clip(np.maximum(nostril, np.maximum(edge, lip_line)) + socket, 0, 0.92).astype(np.float32)


def _brow_mask(f: _Fine, identity: Identity, rng: np.random.Generator) -> Array:
    thick, density, rise, inner = identity.brow
    t = (np.abs(f.x) - inner) / (53.0 - inner)
    middle = 15.0 + rise * arch(np.clip(t, 0, 1) ** 1.3, 1.2) - 2.5 * np.clip(t, 0, 1) ** 3
    half = 0.5 * thick * np.clip(1.15 - 0.15 * t - 0.85 * np.clip(t - 0.35, 0, 1) ** 1.2, 0.05, 2) * 1.3
    across = ramp(np.abs(f.y - middle) - half, 0.9, -1.1)
    ends = ramp(t, -0.05, 0.17) * ramp(t, 1.04, 0.85)
    hairs = noise(rng, f.shape, (9, 1.3))
    lean = cv2.warpAffine(
        hairs, np.array([[1, -1.1, 0.55 * f.shape[0]], [0, 1, 0]]), f.shape[::-1], borderMode=cv2.BORDER_WRAP
    )
    strands = 0.82 + 0.3 * np.where(f.x < 0, lean, lean[:, ::-1])
    mask = across * ends * density * np.clip(strands, 0.1, 1.2) * 1.1
    return np.asarray(np.clip(mask, 0, 0.96), dtype=np.float32)


def _beard_mask(f: _Fine, identity: Identity, rng: np.random.Generator) -> Array:
    stubble, moustache, full = identity.beard
    away = np.abs(f.x)
    lip = _lip_mask(f)
    edge = -58 + 34 * ramp(away, 36, 66) + 3 * noise(rng, f.shape, (14, 14))
    cheeks = ramp(f.y - edge, 9, -9) * ramp(away, 88, 76)
    upper = ramp(f.y, -54, -58) * ramp(f.y, -74, -71) * ramp(away, 34, 25)
    soul = np.clip(cheeks + upper, 0, 1) * (1 - lip) * ramp(f.y, -136, -122)
    soul = soul * (1 - 0.6 * ramp(away, 22, 10) * ramp(f.y, -80, -84) * ramp(f.y, -93, -88))
    over = ramp(f.y + 0.22 * away, -52, -57) * ramp(away, 33, 22) * ramp(f.y, -79, -73)
    stash = np.clip(
        over + 0.8 * ramp(np.abs(away - 29), 5, 2) * ramp(f.y, -92, -82) * ramp(f.y, -66, -72) * (full > 0), 0, 1
    )
    grain = np.clip(0.85 + 0.18 * noise(rng, f.shape, (7, 1.3)) + 0.15 * noise(rng, f.shape, (2, 1.2)), 0.3, 1.2)
    dots = np.clip(0.5 + 0.5 * rng.standard_normal(f.shape, dtype=np.float32), 0, 1.6)
    mask = np.maximum(full * soul * 0.95, moustache * stash * (1 - lip) * 0.95) * grain
    return np.asarray(np.clip(np.maximum(mask, 0.42 * stubble * soul * dots), 0, 0.95), dtype=np.float32)


_HAIRLINES = {
    "receding": (84, 78, 46, 20, -6, -25),
    "crop": (68, 64, 52, 22, -12, -30),
    "short": (68, 63, 50, 24, -14, -40),
    "fringe": (32, 31, 27, 14, -14, -40),
    "bob": (68, 58, 38, 8, -26, -40),
    "long": (68, 58, 38, 8, -26, -40),
    "tied": (69, 65, 54, 28, -8, -40),
}
"""Material y of the hairline at each of `_ANGLES` degrees from the middle of the face."""
_ANGLES = (0, 25, 48, 66, 80, 100)


def _hairline(theta: Array, identity: Identity) -> Array:
    """Material y above which hair grows, for each angle."""
    line = np.interp(np.rad2deg(np.abs(theta)), _ANGLES, _HAIRLINES[identity.hair])
    sweep = identity.hair_sweep * 9.0 * np.sin(2 * theta) * np.exp(-0.5 * (theta / 0.6) ** 2)
    return np.asarray(line + identity.hairline + sweep, dtype=np.float32)


def _hair_mask(f: _Fine, identity: Identity, rng: np.random.Generator) -> tuple[Array, Array]:
    """Cover of the hair, 0 to 1, and the brightness of its strands."""
    strands = 0.8 * noise(rng, f.shape, (50, 1.4)) + 0.6 * noise(rng, f.shape, (60, 5))
    shade = np.clip(1.0 + 0.25 * strands, 0.3, 2.0).astype(np.float32)
    if identity.hair == "bald":
        return np.zeros(f.shape, dtype=np.float32), shade
    wisps = noise(rng, f.shape, (90, 2.0)) + 0.8 * noise(rng, f.shape, (90, 9))
    inside = f.y - _hairline(f.theta, identity) + (3.0 if identity.hair == "fringe" else 1.1) * wisps
    soft = 1.8 if identity.hair == "fringe" else 5.0
    mask = ramp(inside, -soft, soft)
    return mask * (1 - _refined_ear(f)), shade


def _refined_ear(f: _Fine) -> Array:
    """1 on the ears, which no hair grows on."""
    return ramp(_refine(ear(grid(f.detail))), 0.0, 0.15)


def _hair_thickness(g: Grid, identity: Identity) -> Array:
    if identity.hair == "bald":
        return np.zeros_like(g.x)
    volume = {"crop": 2.0, "receding": 3.0, "tied": 3.5}.get(identity.hair, identity.hair_volume)
    inside = g.y - _hairline(g.theta, identity)
    rise = 1.2 * ramp(inside, -2.0, 4.0) + (volume - 1.0) * ramp(inside, 0.0, 32.0)
    return np.asarray(np.maximum(rise, 0) * (1 - ramp(ear(g), 0.0, 0.15)), dtype=np.float32)
