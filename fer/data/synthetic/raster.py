"""Draws grids of points as surfaces, without loops over triangles.

In: projected points of a grid, [R, C, 3] (pixel x, pixel y, depth towards the camera). Out: for every pixel which place of
the grid it shows (`Hits`), so that a texture of the grid can be looked up there.

Every cell that faces the camera is strewn with samples closer than a pixel; cells are drawn from back to front, so that
the last one written to a pixel is the nearest.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""float32, unless said otherwise."""

_SAMPLES_PER_PIXEL = 1.1
_MAX_SAMPLES, _MAX_CUTS = 12, 4
_UNEVEN = 1.3
_MARGIN = 32
"""Pixels round the picture that are drawn too, so that cells across its edge need no care."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Where a grid shows in a window of the picture: `rows`, `columns` (fractional places in the grid), `mask`; all [h, w]."""

    rows: Array
    columns: Array
    mask: NDArray[np.bool_]
    window: tuple[slice, slice]

    def look_up(self, texture: Array, shape: tuple[int, int]) -> Array:
        """A texture that spans a grid of `shape` = (rows, columns) points, seen from the camera: [h, w(, channels)]."""
        zoom_y = (texture.shape[0] - 1) / (shape[0] - 1)
        zoom_x = (texture.shape[1] - 1) / (shape[1] - 1)
        columns, rows = (
            (self.columns, self.rows) if zoom_x == zoom_y == 1 else (self.columns * zoom_x, self.rows * zoom_y)
        )
        seen: Array = cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return seen


def splat(points: Array, size: tuple[int, int], skip_rows: tuple[int, ...] = ()) -> Hits | None:
    """Which place of a grid each pixel shows.

    Args:
        points: Pixel x, pixel y and depth of each point, [R, C, 3]; depth grows towards the camera.
        size: Height and width of the picture.
        skip_rows: Rows of cells that are holes.

    Returns:
        The hits in the smallest window that holds them, or None where the grid is outside the picture.
    """
    cells, corners, longest = _facing_cells(points, size, skip_rows)
    if not len(cells):
        return None
    owners, patches, side = _even_out(corners, longest)
    nearest = _paint(patches + _MARGIN, side, (size[0] + 2 * _MARGIN, size[1] + 2 * _MARGIN))
    window = _window(corners, size)
    nearest = nearest[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN][window]
    offset = np.array([window[1].start, window[0].start], dtype=np.float32)
    rows, columns = _places(nearest, owners, cells, corners - offset, points.shape[1])
    return _close_pinholes(Hits(rows, columns, nearest >= 0, window))


def _facing_cells(
    points: Array, size: tuple[int, int], skip_rows: tuple[int, ...]
) -> tuple[NDArray[np.int64], Array, Array]:
    """Cells that face the camera, from back to front: flat indices [n], pixel corners [n, 4, 2], longest side in pixels [n]."""
    x, y = points[..., 0], points[..., 1]
    right_x, right_y, down_x, down_y = x[:, 1:] - x[:, :-1], y[:, 1:] - y[:, :-1], x[1:] - x[:-1], y[1:] - y[:-1]
    facing = right_x[:-1] * down_y[:, :-1] - right_y[:-1] * down_x[:, :-1] > 0
    facing |= right_x[1:] * down_y[:, 1:] - right_y[1:] * down_x[:, 1:] > 0
    facing[list(skip_rows)] = False
    near = (x > -_MARGIN) & (x < size[1] + _MARGIN - 1) & (y > -_MARGIN) & (y < size[0] + _MARGIN - 1)
    facing &= near[:-1, :-1] & near[1:, 1:] & near[:-1, 1:] & near[1:, :-1]
    cells = np.flatnonzero(facing)
    cells = cells[np.argsort(points[:-1, :-1, 2].ravel()[cells], kind="stable")]
    n_columns = points.shape[1]
    first = cells // (n_columns - 1) * n_columns + cells % (n_columns - 1)
    corners = np.ascontiguousarray(points[..., :2]).reshape(-1, 2)[
        first[:, None] + np.array([0, 1, n_columns, n_columns + 1])
    ]
    across = np.maximum(np.abs(right_x), np.abs(right_y))
    along = np.maximum(np.abs(down_x), np.abs(down_y))
    longest = np.maximum(np.maximum(across[:-1], across[1:]), np.maximum(along[:, :-1], along[:, 1:]))
    return cells, corners, longest.ravel()[cells]


def _even_out(corners: Array, longest: Array) -> tuple[NDArray[np.int32], Array, float]:
    """Cuts the few cells that are much larger than the rest into patches, so that one spacing of samples fits all.

    Returns:
        For each patch its cell [m] and its pixel corners [m, 4, 2], still from back to front, and the usual side in pixels.
    """
    usual = float(np.quantile(longest, 0.95))
    ratio = float(longest.max()) / usual
    owners = np.arange(len(corners), dtype=np.int32)
    if ratio < _UNEVEN:
        return owners, corners, usual
    cuts = int(min(np.ceil(ratio), _MAX_CUTS))
    wide = longest > usual
    owners = np.repeat(owners, np.where(wide, cuts * cuts, 1))
    patches = corners[owners]
    low, high = np.arange(cuts, dtype=np.float32) / cuts, np.arange(1, cuts + 1, dtype=np.float32) / cuts
    fx = np.stack([low, high, low, high], 1)[None]  # corners of the patches in a row of them
    fy = np.stack([low, low, high, high], 1)[:, None]
    weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy]).reshape(4, -1)
    cut = np.stack([corners[wide, :, axis] @ weights for axis in (0, 1)], -1)
    patches[wide[owners]] = cut.reshape(-1, 4, 2)
    return owners, patches, usual


def _window(corners: Array, size: tuple[int, int]) -> tuple[slice, slice]:
    x, y = corners[:, 0, 0], corners[:, 0, 1]
    reach = 4
    left, top = max(int(x.min()) - reach, 0), max(int(y.min()) - reach, 0)
    right, bottom = min(int(x.max()) + reach, size[1]), min(int(y.max()) + reach, size[0])
    return slice(min(top, size[0] - 1), max(bottom, 1)), slice(min(left, size[1] - 1), max(right, 1))


def _paint(patches: Array, side: float, size: tuple[int, int]) -> NDArray[np.int32]:
    """Index of the nearest patch per pixel, -1 where none, [height, width]: of several in a pixel the last one stays."""
    nearest = np.full(size, -1, dtype=np.int32)
    k = int(np.clip(np.ceil(side * _SAMPLES_PER_PIXEL), 1, _MAX_SAMPLES))
    t = (np.arange(k, dtype=np.float32) + 0.5) / k
    fy, fx = (f.ravel() for f in np.meshgrid(t, t, indexing="ij"))
    weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
    place = (patches[..., 1] @ weights + np.float32(0.5)).astype(np.int32)
    place *= nearest.shape[1]
    place += (patches[..., 0] @ weights + np.float32(0.5)).astype(np.int32)
    nearest.ravel()[place.ravel()] = np.repeat(np.arange(len(patches), dtype=np.int32), k * k)
    return nearest


def _places(
    nearest: NDArray[np.int32], owners: NDArray[np.int32], cells: NDArray[np.int64], corners: Array, n_columns: int
) -> tuple[Array, Array]:
    """Fractional (row, column) of each pixel's centre within its cell, from the cell's edges at its first corner."""
    hit = np.flatnonzero(nearest >= 0)
    cell = owners[nearest.ravel()[hit]]
    edge_x, edge_y = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = edge_x[:, 0] * edge_y[:, 1] - edge_x[:, 1] * edge_y[:, 0]
    area = np.where(np.abs(area) < 1e-3, np.float32(1e-3), area)
    row, column = np.divmod(cells, n_columns - 1)
    table = [corners[:, 0, 0], corners[:, 0, 1], edge_y[:, 1], -edge_y[:, 0], -edge_x[:, 1], edge_x[:, 0]]
    table = [*table[:2], *(column_of / area for column_of in table[2:]), row, column]
    start_x, start_y, xx, xy, yx, yy, row, column = np.stack(table).astype(np.float32)[:, cell]
    y, x = np.divmod(hit, nearest.shape[1])
    dx, dy = x.astype(np.float32) - start_x, y.astype(np.float32) - start_y
    rows = np.zeros(nearest.shape, dtype=np.float32)
    columns = np.zeros(nearest.shape, dtype=np.float32)
    columns.ravel()[hit] = column + np.clip(xx * dx + xy * dy, 0.0, 1.0)
    rows.ravel()[hit] = row + np.clip(yx * dx + yy * dy, 0.0, 1.0)
    return rows, columns


def _close_pinholes(hits: Hits) -> Hits:
    """Gives single missed pixels inside the surface the mean place of their neighbours."""
    mask = hits.mask.astype(np.float32)
    near = cv2.boxFilter(mask, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    holes = ~hits.mask & (near >= 6)
    if holes.any():
        for place in (hits.rows, hits.columns):
            total = cv2.boxFilter(place, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
            place[holes] = total[holes] / near[holes]
        hits.mask[holes] = True
    return hits
