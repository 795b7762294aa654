"""Light on a head: from points in millimetres to brightness, before any pixel is drawn.

In: points of the head [R, C, 3], relief of the skin, a `View`. Out: per point how much light it returns (diffuse, shine).
"""

import cv2
import numpy as np

from fer.data.synthetic.face import Array, Grid, ramp
from fer.data.synthetic.head import normals
from fer.data.synthetic.raster import back_to_front
from fer.data.synthetic.view import View

_WRAP = 0.22
"""Light that skin carries round the edge of its own shadow."""
_SHADOW_CELL, _SHADOW_CELLS = 2.6, 160
"""Size (mm) and number per side of the cells of the shadow map."""


def shade_head(points: Array, relief: Array, g: Grid, view: View, oil: float) -> Array:
    """Brightness of every point, [R, C, 2]: a factor of the reflectance, and the shine that is added to it.

    Args:
        points: Points of the head in mm, head axes, [R, C, 3].
        relief: Height of fine folds over the skin in mm, [R, C].
        g: The grid of the points.
        view: Pose and lights.
        oil: Strength of the shine.
    """
    normal, across, down = normals(points, g)
    normal = _bend(normal, across, down, relief)
    open_sky = _openness(points, normal)
    crease = np.exp(-1.3 * np.maximum(cv2.GaussianBlur(relief, (0, 0), 1.6) - relief, 0))
    turned = normal @ view.rotation().T
    lit = _sunlit(view.rotate(points), np.asarray(view.light, dtype=np.float32))
    return light_up(turned, view, open_sky * crease, lit, oil)


def light_up(
    normal: Array, view: View, open_sky: Array | float = 1.0, lit: Array | float = 1.0, oil: float = 0.0
) -> Array:
    """Diffuse factor and shine for normals in camera axes, [..., 2]."""
    key = np.asarray(view.light, dtype=np.float32)
    toward = normal @ key
    diffuse = np.clip((toward + _WRAP) / (1 + _WRAP), 0, 1) ** 1.15 * lit
    other = normal @ _unit(np.array([-1.4 * key[0], 0.05, 1.0], dtype=np.float32))
    sky = view.ambient * (0.8 + 0.2 * normal[..., 1]) * open_sky
    total = sky + (view.key * diffuse + view.fill * np.maximum(other, 0)) * np.sqrt(open_sky)
    half = np.maximum(normal @ _unit(key + np.array([0, 0, 1], dtype=np.float32)), 0)
    shine = view.key * oil * (0.07 * half**28 + 0.03 * half**7) * lit
    fresnel = 0.05 * view.fill * (1 - np.clip(normal[..., 2], 0, 1)) ** 3
    return np.stack([total, shine + fresnel], -1).astype(np.float32)


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def _bend(normal: Array, across: Array, down: Array, relief: Array) -> Array:
    """Turns normals by the slope of the relief."""
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 4)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 4)
    across2, down2 = (np.maximum(np.einsum("ijk,ijk->ij", e, e), 0.05) for e in (across, down))
    bent = normal - across * (slope_x / across2)[..., None] - down * (slope_y / down2)[..., None]
    bent /= np.sqrt(np.einsum("ijk,ijk->ij", bent, bent))[..., None] + 1e-6
    return np.asarray(bent)


def _openness(points: Array, normal: Array) -> Array:
    """1 on the open, less in hollows: how much lower a point lies than its surroundings, at two distances."""
    rows = points.shape[0]
    dark = np.zeros(points.shape[:2], dtype=np.float32)
    for share, strength, most in ((0.03, 0.15, 3.0), (0.1, 0.035, 9.0)):
        reach = max(int(rows * share), 1) * 2 + 1
        hollow = np.einsum("ijk,ijk->ij", cv2.blur(points, (reach, reach)) - points, normal)
        dark += strength * np.clip(hollow, -0.5, most)
    return np.exp(-dark)


def _sunlit(points: Array, key: Array) -> Array:
    """1 where the main light reaches, 0 in the shadow of another part of the head; soft, [R, C]."""
    side = _unit(np.cross([0, 1, 0], key).astype(np.float32))
    frame = np.stack([side, np.cross(key, side), key], 1).astype(np.float32)
    seen = points @ frame
    place = (seen[..., :2] / _SHADOW_CELL).astype(np.int32) + _SHADOW_CELLS // 2
    np.clip(place, 0, _SHADOW_CELLS - 1, out=place)
    flat = place[..., 1] * _SHADOW_CELLS + place[..., 0]
    depth = np.full(_SHADOW_CELLS**2, -1e3, dtype=np.float32)
    thin = (slice(None, None, 2), slice(None, None, 2)) if len(points) > 150 else (slice(None), slice(None))
    near = seen[thin][..., 2].ravel()
    order = back_to_front(near)
    depth[flat[thin].ravel()[order]] = near[order]
    cover = cv2.dilate(depth.reshape(_SHADOW_CELLS, _SHADOW_CELLS), np.ones((3, 3), np.uint8))
    ahead = cover.ravel()[flat] - seen[..., 2]
    lit = cv2.GaussianBlur(ramp(ahead, 15.0, 6.0), (0, 0), 0.013 * len(points))
    return np.asarray(0.35 + 0.65 * lit)
