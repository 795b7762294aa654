"""People: shape of the head and features, skin, hair, brows, beard, glasses.

In: a random generator. Out: an `Identity` (plain numbers), and the neutral head of an identity as a grid of points.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from fer.data.synthetic.face import (
    EYE_X,
    EYE_Y,
    LIP_Y,
    Array,
    Grid,
    bump,
    grid,
    lower_border,
    ramp,
    smile_fold,
    upper_border,
)

HAIR_STYLES = ("bald", "receding", "crop", "short", "fringe", "bob", "long", "tied")
_STYLE_ODDS = {
    "man": (0.08, 0.12, 0.36, 0.3, 0.08, 0.01, 0.04, 0.01),
    "woman": (0, 0, 0.02, 0.12, 0.14, 0.2, 0.28, 0.24),
}
SHAPE_MODES = 42


@dataclass(frozen=True)
class Identity:
    """One person, as numbers; everything drawn of the person follows from them."""

    shape: tuple[float, ...]
    """Weights of the shape modes in standard deviations, `SHAPE_MODES` of them."""
    upper_lid: float
    """Height of the upper lid above the corners of the open eye (mm)."""
    lower_lid: float
    crease: float
    """Height of the fold of the upper lid above its edge (mm); small = single lid."""
    age: float
    """0 = smooth, 1 = deep lines."""
    skin: tuple[float, float, float]
    """Linear reflectance, RGB."""
    lip_tint: float
    iris: float
    """Brightness of the iris, 0 = dark brown, 1 = light."""
    hair: str
    """One of `HAIR_STYLES`."""
    hair_color: tuple[float, float, float]
    hair_volume: float
    """Thickness of the hair (mm)."""
    hairline: float
    """Shift of the hairline (mm, up)."""
    hair_sweep: float
    """-1 to 1: how much lower the hair grows on one side of the forehead."""
    brow: tuple[float, float, float, float]
    """Thickness (mm), density (0-1), arch (mm), inner end (mm from the midline)."""
    beard: tuple[float, float, float]
    """Strength of stubble, moustache and full beard, 0 to 1."""
    glasses: tuple[float, float, float] | None
    """Half width and half height of a lens (mm) and darkness of the frame, or None."""
    freckles: float
    oil: float
    """Strength of the shine of the skin."""
    shirt: tuple[float, float, float]
    texture_seed: int
    folds: float
    """How deep the skin folds in expressions, as a factor: firm, full faces show hardly any."""
    lines: float
    """How dark the sharp lines round brows and eyes are in expressions, as a factor."""


def sample_identity(rng: np.random.Generator) -> Identity:
    """A random adult."""
    sex = "man" if rng.random() < 0.45 else "woman"
    hair_dark = float(rng.beta(1.1, 1.6))
    tone = float(rng.beta(1.6, 1.2))
    skin = np.array([0.055, 0.03, 0.02]) * (1 - tone) + np.array([0.66, 0.46, 0.35]) * tone
    age = float(rng.beta(1.3, 1.8))
    grey = float(rng.random() < 0.5 * max(age - 0.55, 0) * 2)
    light = hair_dark * max(tone - 0.25, 0.0) * 1.3
    hair_color = np.array([0.018, 0.014, 0.012]) + light * np.array([0.34, 0.22, 0.11])
    hair_color = hair_color * (1 - grey) + grey * rng.uniform(0.1, 0.34)
    is_man = sex == "man"
    shape = np.clip(0.85 * rng.standard_normal(SHAPE_MODES), -1.8, 1.8)
    return Identity(
        shape=tuple(float(v) for v in shape + _SEX_SHIFT * (1 if is_man else -1)),
        upper_lid=float(rng.uniform(4.3, 6.3)),
        lower_lid=float(rng.uniform(4.0, 5.2)),
        crease=float(rng.uniform(1.5, 6.0)),
        age=age,
        skin=_rgb(skin * rng.uniform(0.92, 1.08, 3)),
        lip_tint=float(rng.uniform(0.25, 0.7) + (0.0 if is_man else rng.uniform(0.0, 0.35))),
        iris=float(rng.beta(1.0, 2.0) * min(1.0, tone * 1.3)),
        hair=str(rng.choice(HAIR_STYLES, p=_STYLE_ODDS[sex])),
        hair_color=_rgb(hair_color),
        hair_volume=float(rng.uniform(3.0, 13.0)),
        hairline=float(rng.normal(0, 4.5)),
        hair_sweep=float(rng.uniform(-1, 1)),
        brow=(
            float(rng.uniform(4.0, 6.8) if is_man else rng.uniform(2.6, 5.0)),
            float(rng.uniform(0.6, 1.0)),
            float(rng.uniform(1.0, 5.5)),
            float(rng.uniform(8.5, 13.5)),
        ),
        beard=_sample_beard(rng) if is_man else (0.0, 0.0, 0.0),
        glasses=(float(rng.uniform(20, 27)), float(rng.uniform(13, 21)), float(rng.uniform(0.55, 1)))
        if rng.random() < 0.15
        else None,
        freckles=float(rng.beta(0.6, 2.0)),
        oil=float(rng.uniform(0.2, 1.0)),
        shirt=_rgb(rng.uniform(0.02, 0.7) * rng.uniform(0.6, 1.0, 3)),
        texture_seed=int(rng.integers(2**31)),
        folds=float(rng.uniform(0.3, 1.8)),
        lines=float(rng.uniform(0.0, 2.0)),
    )


def _rgb(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _sample_beard(rng: np.random.Generator) -> tuple[float, float, float]:
    stubble = float(rng.beta(0.8, 1.2))
    kind = rng.random()
    moustache = float(rng.uniform(0.5, 1.0)) if kind < 0.26 else 0.0
    full = float(rng.uniform(0.5, 1.0)) if kind < 0.17 else 0.0
    return stubble, moustache, full


def neutral_head(identity: Identity, detail: str) -> Array:
    """Points of the head at rest, lids still on one line, [R, C, 3] in mm."""
    modes = _modes(detail)
    weights = np.asarray(identity.shape, dtype=np.float32)
    points = grid(detail).base + (weights @ modes.reshape(len(modes), -1)).reshape(modes.shape[1:])
    return points + _age_field(detail) * np.float32(identity.age)


@cache
def _age_field(detail: str) -> Array:
    """Sagging of the lower face, hollow tear trough."""
    g = grid(detail)
    z = (
        -1.5 * bump(g, 26, -17, 9, 3.5)
        + 1.5 * bump(g, 30, -13, 10, 3)
        - 1.3 * smile_fold(g, 3)
        + 1.4 * bump(g, 38, -60, 7, 10)
    )
    x = 2.0 * bump(g, 48, -88, 10, 12) * np.sign(g.x)
    return np.stack([x, -1.0 * bump(g, 40, -70, 14, 16), z * ramp(np.cos(g.theta), 0.05, 0.45)], -1).astype(np.float32)


_SEX_SHIFT = np.zeros(SHAPE_MODES)
_SEX_SHIFT[[2, 4, 15, 17, 20, 21, 23, 24]] = [0.7, 0.4, -0.4, 0.9, -0.4, -0.4, 0.6, 0.5]
"""How the two builds differ on average: jaw, lower face, eye size, brow ridge, lips, chin."""


@cache
def _modes(detail: str) -> Array:
    """One standard deviation of each shape mode, [SHAPE_MODES, R, C, 3] in mm."""
    g = grid(detail)
    front = ramp(np.cos(g.theta), 0.05, 0.45)
    fields = [_axes(g, front, *spec) for spec in _mode_specs(g)]
    rng = np.random.default_rng(20100613)
    while (
        len(fields) < SHAPE_MODES
    ):  # small shapeless variation, the same in every grid, that makes no half mirror the other
        fields.append(_wobble(g, rng))
    return np.stack(fields).astype(np.float32)


def _axes(g: Grid, front: Array, x: Array | float, y: Array | float, z: Array | float) -> Array:
    """A field from its outward, upward and forward parts."""
    zero = np.zeros_like(g.x)
    return np.stack([zero + x * np.tanh(g.x / 4.0), zero + y, (zero + z) * front], -1)


def _wobble(g: Grid, rng: np.random.Generator) -> Array:
    field = np.zeros((*g.x.shape, 3), dtype=np.float32)
    for axis, size in enumerate((0.7, 0.7, 1.0)):
        fx, fy = rng.uniform(0.02, 0.055, 2)
        px, py = rng.uniform(0, 2 * np.pi, 2)
        field[..., axis] = size * np.sin(g.x * fx + px) * np.sin(g.y * fy + py)
    return field


def _mode_specs(g: Grid) -> list[tuple[Array | float, Array | float, Array | float]]:
    x, y, away = g.x, g.y, np.abs(g.x)
    eye = bump(g, EYE_X, EYE_Y, 17, 12)
    nose = ramp(y, 4, -40) * np.exp(-0.5 * (x / 9) ** 2) * ramp(y, -55, -46)
    lower = ramp(y, -48, -122)
    up, low = upper_border(x), lower_border(x)
    above, under = np.maximum(y - LIP_Y, 0) * ~g.lower_lip, np.maximum(LIP_Y - y, 0) * g.lower_lip
    thick_up = np.minimum(above, up) / 7.4 * np.exp(-np.maximum(above - up, 0) / 9)
    thick_low = np.minimum(under, low) / 9.2 * np.exp(-np.maximum(under - low, 0) / 9)
    lips = np.exp(-0.5 * ((y - LIP_Y) / 9) ** 2) * np.exp(-0.5 * (x / 20) ** 2)
    return [
        (0.045 * np.abs(g.base[..., 0]), 0.0, 0.0),  # 0 width of the head
        (0.0, 0.035 * g.base[..., 1], 0.0),
        (4.5 * np.exp(-0.5 * ((y + 88) / 26) ** 2) * ramp(away, 18, 46), 0.0, 0.0),  # 2 jaw
        (3.5 * bump(g, 64, -26, 16, 17), 0.0, 2.0 * bump(g, 48, -26, 14, 11)),
        (0.0, -5.0 * lower, 0.0),  # 4 length of the lower face
        (0.0, -3.5 * ramp(y, -8, -48), 0.0),
        (0.0, 6.0 * ramp(y, 28, 95), 0.0),  # 6 forehead
        (0.0, 0.0, 4.0 * bump(g, 0, 62, 50, 22)),
        (2.4 * bump(g, 14, -46, 6, 7), 0.0, 0.0),  # 8 width of the nose
        (0.0, 0.0, 3.2 * nose),
        (0.0, 0.0, 2.4 * bump(g, 0, -8, 7, 12)),  # 10 bridge
        (0.0, 2.4 * bump(g, 0, -45, 10, 7), 0.5 * bump(g, 0, -45, 8, 6)),
        (0.0, 0.0, 1.9 * bump(g, 0, -17, 6, 7)),  # 12 hump
        (1.8 * bump(g, 12, -40, 6, 12), 0.0, 0.8 * bump(g, 12, -46, 5, 5)),
        (2.0 * bump(g, EYE_X, EYE_Y, 20, 14), 0.0, 0.0),  # 14 distance of the eyes
        ((away - EYE_X) * 0.055 * eye, (y - EYE_Y) * 0.04 * eye, 0.0),
        (0.0, (away - EYE_X) / 15 * 1.5 * bump(g, EYE_X, EYE_Y, 20, 11), 0.0),  # 16 slant of the eyes
        (0.0, 0.0, 2.4 * bump(g, 27, 16, 18, 7) + 1.4 * bump(g, 0, 14, 10, 8)),
        (0.0, 2.4 * bump(g, 28, 18, 26, 8), 0.0),  # 18 height of the brows
        (3.0 * lips * away / 25, 0.0, 0.0),
        (0.0, 2.0 * thick_up, 0.9 * thick_up * lips),  # 20 upper lip
        (0.0, -2.2 * thick_low, 1.0 * thick_low * lips),
        (0.0, 0.0, 2.0 * bump(g, 0, -72, 24, 14)),  # 22 protrusion of the mouth
        (0.0, -2.0 * bump(g, 0, -112, 20, 10), 3.6 * bump(g, 0, -108, 18, 11)),
        (4.0 * bump(g, 18, -112, 11, 12), 0.0, 0.0),  # 24 width of the chin
        (0.0, 0.0, -1.1 * bump(g, 0, -108, 3, 6)),
        (2.4 * bump(g, 52, -58, 16, 22), 0.0, 3.0 * bump(g, 43, -55, 14, 16)),  # 26 fullness
        (0.0, 0.0, -2.2 * bump(g, 45, -60, 10, 15) + 1.5 * bump(g, 46, -26, 12, 9)),
        (0.0, 2.2 * bump(g, 0, LIP_Y, 40, 14), 0.0),  # 28 height of the mouth
        (0.0, 0.0, -2.4 * eye),
        (0.0, (away - 28) / 14 * 1.6 * bump(g, 30, 18, 24, 8), 0.0),  # 30 slant of the brows
        (0.0, 0.0, 0.04 * g.base[..., 2]),
        (4.0 * bump(g, 76, -17, 8, 30), 0.0, 0.0),  # 32 ears
        (0.0, 0.0, -1.0 * smile_fold(g, 3.5) + 1.2 * bump(g, 37, -56, 8, 10)),
        (-3.0 * ramp(y, 30, 75) * ramp(away, 30, 70), 0.0, 0.0),  # 34 temples
    ]
