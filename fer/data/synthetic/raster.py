"""Draws grids of points as surfaces, without loops over triangles.

In: projected points of a grid, [R, C, 3] (pixel x, pixel y, depth towards the camera). Out: for every pixel which place of
the grid it shows (`Hits`), so that a texture of the grid can be looked up there.

Every cell that faces the camera is strewn with samples closer than a pixel; cells are ordered from back to front, and of
those that meet in a pixel the last one stays.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""float32, unless said otherwise."""

_SAMPLES_PER_PIXEL = 1.1
_SAMPLES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Samples along a side of a cell: the first of these that suffices."""
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
    cells, corners, sides = _facing_cells(points, size, skip_rows)
    if not len(cells):
        return None
    nearest = _paint(corners + _MARGIN, sides, (size[0] + 2 * _MARGIN, size[1] + 2 * _MARGIN))
    window = _window(corners, size)
    nearest = nearest[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN][window]
    offset = np.array([window[1].start, window[0].start], dtype=np.float32)
    rows, columns = _places(nearest, cells, corners - offset, points.shape[1])
    return _close_pinholes(Hits(rows, columns, nearest >= 0, window))


def back_to_front(depth: Array) -> NDArray[np.int64]:
    """Order of growing depth, [n]; 16 bits of it, which sort in a fraction of the time, are 5 micrometres on a head."""
    if not len(depth):
        return np.zeros(0, dtype=np.int64)
    low, high = float(depth.min()), float(depth.max())
    steps = ((depth - low) * (65535.0 / max(high - low, 1e-6))).astype(np.uint16)
    return np.argsort(steps, kind="stable")


def _facing_cells(
    points: Array, size: tuple[int, int], skip_rows: tuple[int, ...]
) -> tuple[NDArray[np.int64], Array, Array]:
    """Cells that face the camera, from back to front: flat indices [n], pixel corners [n, 4, 2], size in pixels across and down [2, n]."""
    x, y = points[..., 0], points[..., 1]
    right_x, right_y, down_x, down_y = x[:, 1:] - x[:, :-1], y[:, 1:] - y[:, :-1], x[1:] - x[:-1], y[1:] - y[:-1]
    facing = right_x[:-1] * down_y[:, :-1] - right_y[:-1] * down_x[:, :-1] > 0
    facing |= right_x[1:] * down_y[:, 1:] - right_y[1:] * down_x[:, 1:] > 0
    facing[list(skip_rows)] = False
    near = (x > -_MARGIN) & (x < size[1] + _MARGIN - 1) & (y > -_MARGIN) & (y < size[0] + _MARGIN - 1)
    facing &= near[:-1, :-1] & near[1:, 1:] & near[:-1, 1:] & near[1:, :-1]
    cells = np.flatnonzero(facing)
    cells = cells[back_to_front(points[:-1, :-1, 2].ravel()[cells])]
    n_columns = points.shape[1]
    first = cells // (n_columns - 1) * n_columns + cells % (n_columns - 1)
    corners = np.ascontiguousarray(points[..., :2]).reshape(-1, 2)[
        first[:, None] + np.array([0, 1, n_columns, n_columns + 1])
    ]
    across = np.maximum(np.abs(right_x), np.abs(right_y))
    along = np.maximum(np.abs(down_x), np.abs(down_y))
    sides = np.stack([np.maximum(across[:-1], across[1:]), np.maximum(along[:, :-1], along[:, 1:])])
    return cells, corners, sides.reshape(2, -1)[:, cells]


def _window(corners: Array, size: tuple[int, int]) -> tuple[slice, slice]:
    x, y = corners[:, 0, 0], corners[:, 0, 1]
    reach = 4
    left, top = max(int(x.min()) - reach, 0), max(int(y.min()) - reach, 0)
    right, bottom = min(int(x.max()) + reach, size[1]), min(int(y.max()) + reach, size[0])
    return slice(min(top, size[0] - 1), max(bottom, 1)), slice(min(left, size[1] - 1), max(right, 1))


def _paint(corners: Array, sides: Array, size: tuple[int, int]) -> NDArray[np.int32]:
    """Index of the nearest cell per pixel, -1 where none, [height, width]."""
    nearest = np.full(size, -1, dtype=np.int32)
    flat = nearest.ravel()
    level = np.minimum(np.searchsorted(_SAMPLES, sides * _SAMPLES_PER_PIXEL), len(_SAMPLES) - 1)
    kind = level[0] * len(_SAMPLES) + level[1]
    for one in np.flatnonzero(np.bincount(kind)):
        cells = np.flatnonzero(kind == one).astype(np.int32)
        weights = _spread(_SAMPLES[one // len(_SAMPLES)], _SAMPLES[one % len(_SAMPLES)])
        place = (corners[cells, :, 1] @ weights + np.float32(0.5)).astype(np.int32)
        place *= size[1]
        place += (corners[cells, :, 0] @ weights + np.float32(0.5)).astype(np.int32)
        # indices grow towards the camera, and of several writes to a pixel the last, here the largest, stays
        flat[place] = np.maximum(flat[place], cells[:, None])
    return nearest


@cache
def _spread(n_across: int, n_down: int) -> Array:
    """Weights of the corners of a cell for evenly spread places in it, [4, n_across * n_down]."""
    across, down = ((np.arange(n, dtype=np.float32) + 0.5) / n for n in (n_across, n_down))
    fy, fx = (f.ravel() for f in np.meshgrid(down, across, indexing="ij"))
    return np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])


def _places(
    nearest: NDArray[np.int32], cells: NDArray[np.int64], corners: Array, n_columns: int
) -> tuple[Array, Array]:
    """Fractional (row, column) of each pixel's centre within its cell, from the cell's edges at its first corner."""
    hit = np.flatnonzero(nearest >= 0)
    cell = nearest.ravel()[hit]
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
