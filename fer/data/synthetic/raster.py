"""Draws grids of points as surfaces, without loops over triangles.

In: projected points of a grid, [R, C, 3] (pixel x, pixel y, depth towards the camera). Out: for every pixel which place of
the grid it shows (`Hits`), so that a texture of the grid can be looked up there.

Every cell that faces the camera is strewn with samples closer than a pixel; cells are drawn from back to front, so that
the last one written to a pixel is the nearest.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_SAMPLES_PER_PIXEL = 1.35
_MAX_SAMPLES = 12


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
        columns, rows = (self.columns, self.rows) if zoom_x == zoom_y == 1 else (self.columns * zoom_x, self.rows * zoom_y)
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
    cells, corners = _facing_cells(points, size, skip_rows)
    if not len(cells):
        return None
    window, offset = _window(corners, size)
    height, width = window[0].stop - window[0].start, window[1].stop - window[1].start
    nearest = _paint(corners - offset, height, width)
    hit = nearest >= 0
    rows, columns = _places(nearest, cells, corners - offset, points.shape[1])
    return _close_pinholes(Hits(rows, columns, hit, window))


def _facing_cells(points: Array, size: tuple[int, int], skip_rows: tuple[int, ...]) -> tuple[NDArray[np.int64], Array]:
    """Cells that face the camera, from back to front: flat indices [n] and pixel corners [n, 4, 2]."""
    xy = points[..., :2]
    across, down = xy[:, 1:] - xy[:, :-1], xy[1:] - xy[:-1]
    area = across[:-1, :, 0] * down[:, :-1, 1] - across[:-1, :, 1] * down[:, :-1, 0]
    area += across[1:, :, 0] * down[:, 1:, 1] - across[1:, :, 1] * down[:, 1:, 0]
    facing = area > 1e-4
    facing[list(skip_rows)] = False
    x, y = xy[:-1, :-1, 0], xy[:-1, :-1, 1]
    facing &= (x > -20) & (x < size[1] + 20) & (y > -20) & (y < size[0] + 20)
    cells = np.flatnonzero(facing)
    depth = points[:-1, :-1, 2].ravel()[cells]
    cells = cells[np.argsort(depth, kind="stable")]
    n_columns = points.shape[1]
    first = cells // (n_columns - 1) * n_columns + cells % (n_columns - 1)
    flat = xy.reshape(-1, 2)
    return cells, flat[first[:, None] + np.array([0, 1, n_columns, n_columns + 1])]


def _window(corners: Array, size: tuple[int, int]) -> tuple[tuple[slice, slice], Array]:
    low = np.clip(np.floor(corners.min((0, 1))) - 1, 0, [size[1] - 1, size[0] - 1]).astype(int)
    high = np.clip(np.ceil(corners.max((0, 1))) + 2, low + 1, [size[1], size[0]]).astype(int)
    return (slice(low[1], high[1]), slice(low[0], high[0])), low.astype(np.float32)


def _paint(corners: Array, height: int, width: int) -> NDArray[np.int32]:
    """Index of the nearest cell per pixel, -1 where none, [height, width]."""
    extent = np.abs(corners[:, [1, 2, 3, 3]] - corners[:, [0, 0, 1, 2]]).max((1, 2))
    usual = float(np.quantile(extent, 0.95))
    nearest = np.full(height * width + 1, -1, dtype=np.int32)
    wide = np.flatnonzero(extent > usual)  # stretched cells get an undercoat, or they would show holes
    for chosen, largest in ((wide, float(extent.max())), (np.arange(len(corners)), usual)):
        samples = int(np.clip(np.ceil(largest * _SAMPLES_PER_PIXEL), 1, _MAX_SAMPLES))
        _strew(nearest, corners[chosen], chosen.astype(np.int32), samples, height, width)
    return nearest[:-1].reshape(height, width)


def _strew(nearest: NDArray[np.int32], corners: Array, cells: NDArray[np.int32], k: int, height: int, width: int) -> None:
    """Writes each cell's index to the pixels of k x k places in it; of several cells in a pixel the last one stays."""
    t = (np.arange(k, dtype=np.float32) + 0.5) / k
    fy, fx = (f.ravel() for f in np.meshgrid(t, t, indexing="ij"))
    weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
    x = (corners[..., 0] @ weights + 0.5).astype(np.int32)
    y = (corners[..., 1] @ weights + 0.5).astype(np.int32)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = np.where(inside, y * width + x, height * width)
    nearest[place.ravel()] = np.repeat(cells, k * k)


def _places(nearest: NDArray[np.int32], cells: NDArray[np.int64], corners: Array, n_columns: int) -> tuple[Array, Array]:
    """Fractional (row, column) of each pixel's centre within its cell, from the cell's edges at its first corner."""
    ys, xs = np.nonzero(nearest >= 0)
    cell = nearest[ys, xs]
    edge_x, edge_y = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = edge_x[:, 0] * edge_y[:, 1] - edge_x[:, 1] * edge_y[:, 0]
    area = np.where(np.abs(area) < 1e-3, 1e-3, area)
    solve = np.stack([edge_y[:, 1], -edge_y[:, 0], -edge_x[:, 1], edge_x[:, 0]], 1) / area[:, None]
    start = np.concatenate([corners[:, 0], solve], 1)[cell]
    dx, dy = xs - start[:, 0], ys - start[:, 1]
    across = np.clip(start[:, 2] * dx + start[:, 3] * dy, 0.0, 1.0)
    down = np.clip(start[:, 4] * dx + start[:, 5] * dy, 0.0, 1.0)
    row, column = np.divmod(cells[cell], n_columns - 1)
    rows = np.zeros(nearest.shape, dtype=np.float32)
    columns = np.zeros(nearest.shape, dtype=np.float32)
    rows[ys, xs], columns[ys, xs] = row + down, column + across
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
