"""Cached pixels in, pairs of near-identical pictures out: the same photograph under two names leaks through any split by person.

1. Each picture becomes a hash: the 63 lowest frequencies of its discrete cosine transform at 64 x 64 pixels, weighted by frequency, as a
   vector of length 1; of its mirror image the same with some signs turned. Pairs whose vectors agree to `HASH_ALIKE` are candidates;
   all pairs are compared, in tiles.
2. A candidate is confirmed by the normalised correlation of its fine structure (a difference of Gaussians, divided by its strength
   around), first at 64 x 64, then at 128 x 128 pixels: the best over shifts of up to 9 % of the side and changes of size of up to 8 %,
   because a face detector does not frame a copy as it did the original.

Measured on 1,274 photographs of 813 people, none under two names: no candidate among 807,000 pairs of different people comes near. The
hardest cases are faces from one model: of 157,000 pairs of 60 rendered people the most alike reach .84, of 1.6 million of 123 drawn people
.85 (.88 for networks of 32 pixels). None is reported. Copies of 300 of the photographs, each found and cropped anew (JPEG quality 40,
brightness + 10 %, 2 % cut off all sides or two sides, mirrored, half size, 1.3 times the size, or most of that at once): 97 % of 2,400 are
found (all that are only brighter, 93 % of those cut on all sides, where the detector often frames anew); of 150 rendered pictures
99.7 % without landmarks and all with.

On one core 1,274 photographs take 0.2 s, 10,000 about 2 s and 30,000 about 15 s, 593 drawn faces 2 s; once, as the pairs are kept in the
cache.
"""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.fft import dctn

from fer.data.cache import Pixels
from fer.data.images import Pixels8, luminance
from fer.data.store import obtain
from fer.runs.surroundings import usable_cores

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

VERSION = 2
"""Raise it whenever other pairs would be found: what was found before is then looked for anew."""

SIDE, FINE_SIDE = 64, 128
FREQUENCIES = 8
HASH_ALIKE = 0.85
LIKELY = 0.88
ALIKE = 0.89
"""Correlation from which two pictures count as near-identical."""

NOISE = 3.0
"""Grey levels: weaker structure is not raised to the strength of the rest."""

AROUND = 5 / 64
"""The neighbourhood that has one strength, as a share of the side."""

SHIFT = 6 / 64
SCALES = (1.0, 0.96, 1.04, 0.92, 1.08)
FINE_SCALES = (1.0, 0.98, 1.02, 0.96, 1.04, 0.94, 1.06, 0.92, 1.08)
HOPELESS = 0.75
"""A candidate that correlates less than this before its size is varied is given up."""

TILE = 4096
MAX_CANDIDATES = 10_000
"""The most alike of more candidates are looked at: ten thousand frames of one film have millions."""


PAIR_COLUMNS = ("first", "second", "alike", "mirrored")


def shared_pictures(table: pd.DataFrame, pixels: Pixels, cache_dir: Path) -> pd.DataFrame:
    """The near-identical pictures of different people, from the cache, or looked for now and kept there.

    Args:
        table: `path`, `subject` and `pixel` (the row in `pixels`); also `split`, if there is one.

    Returns:
        A row per pair: `path`, `subject` and `split` of the one, the same of the other as `other_path` and so on, `correlation`
        (`ALIKE` to 1) and `mirrored`; the most alike pair first.

    Raises:
        FerError: `cache_dir` can't be written.
    """
    rows, people = table["pixel"].to_numpy(dtype=np.int64), table["subject"].to_numpy(dtype=str)
    key = hashlib.sha256(repr((VERSION, pixels.folder.name, rows.tolist(), people.tolist())).encode()).hexdigest()

    def fill(folder: Path) -> None:
        near_identical(pixels.array, rows, people, jobs=usable_cores()).to_csv(folder / "pairs.csv", index=False)

    def load(folder: Path) -> pd.DataFrame:
        pairs = pd.read_csv(folder / "pairs.csv")
        if not set(PAIR_COLUMNS) <= set(pairs) or not pairs[["first", "second"]].isin(range(len(rows))).all(axis=None):
            raise ValueError(f"{folder} is damaged")
        return pairs

    folder = cache_dir.absolute() / "duplicates" / key
    pairs = obtain(folder, load, fill, 100 * MAX_CANDIDATES)
    named = table[[column for column in ("path", "subject", "split") if column in table]]
    one = named.iloc[pairs["first"]].reset_index(drop=True)
    other = named.iloc[pairs["second"]].reset_index(drop=True).add_prefix("other_")
    return pd.concat(
        [one, other, pairs[["alike", "mirrored"]].rename(columns={"alike": "correlation"})], axis="columns"
    )


def across_splits(pairs: pd.DataFrame) -> pd.DataFrame:
    """Those of `shared_pictures` that leak: the two pictures are in different splits."""
    return pairs[pairs["split"] != pairs["other_split"]] if "split" in pairs else pairs.iloc[:0]


def warn(pairs: pd.DataFrame) -> None:
    """Logs one line if there are any `shared_pictures`: how many, one of them, and what to do."""
    if pairs.empty:
        return
    leaks = across_splits(pairs)
    one = (pairs if leaks.empty else leaks).iloc[0]
    log.warning(
        "pairs of near-identical pictures under two people: %d, of them across splits: %d, e.g. %s (%s) and %s (%s); give both one subject "
        "or leave one out (python -m fer.explore lists them)",
        len(pairs), len(leaks), one["path"], one["subject"], one["other_path"], one["other_subject"],
    )  # fmt: skip


def near_identical(array: Pixels8, rows: Ints, groups: npt.NDArray[Any], *, jobs: int = 1) -> pd.DataFrame:
    """Every pair of near-identical pictures that are not of one group, mirror images among them.

    In memory of some kilobytes a picture; the time of the comparison grows with the square of their number.

    Args:
        array: [n, S, S, C] uint8, the cached pixels (may be a memory map).
        rows: [m] the rows of `array` to look at; flat pictures are like none.
        groups: [m] equal values mark pictures that may be alike: frames of one person, say.
        jobs: threads that confirm candidates.

    Returns:
        `first` < `second` (places in `rows`), `alike` (`ALIKE` to 1), `mirrored`; the most alike pair first. At most `MAX_CANDIDATES`.
    """
    thumbnails = np.empty((len(rows), SIDE, SIDE), np.uint8)
    for place, row in enumerate(rows):
        thumbnails[place] = _thumbnail(array[row], SIDE)
    found = _candidates(_hashes(thumbnails), np.unique(groups, return_inverse=True)[1])
    with ThreadPoolExecutor(jobs) as pool:
        places = (found[column].to_numpy() for column in ("first", "second", "mirrored"))
        pairs = found.assign(alike=list(pool.map(partial(_correlation, array, rows, thumbnails), *places)))
    pairs = pairs[pairs["alike"] >= ALIKE].sort_values(["alike", "first", "second"], ascending=[False, True, True])
    # a symmetric face is found twice, as its mirror image too
    return pairs.drop_duplicates(["first", "second"]).reset_index(drop=True)


def _thumbnail(pixels: Pixels8, side: int) -> Pixels8:
    # of a pair of pictures, the one itself
    grey = luminance(pixels[..., :3]) if pixels.shape[-1] in (3, 6) else pixels[..., 0]
    return np.asarray(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _hashes(thumbnails: Pixels8) -> Floats:
    """[n, 64] of length 1, or 0 for a flat picture."""
    low = np.empty((len(thumbnails), FREQUENCIES, FREQUENCIES), np.float32)
    for start in range(0, len(thumbnails), TILE):
        part = thumbnails[start : start + TILE].astype(np.float32)
        low[start : start + TILE] = dctn(part, axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
    down, across = np.mgrid[:FREQUENCIES, :FREQUENCIES]
    weighted = (low * np.hypot(down, across)).reshape(-1, FREQUENCIES**2)
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    return np.asarray(np.where(length > SIDE, weighted / np.maximum(length, 1), 0), dtype=np.float32)


def _candidates(hashes: Floats, codes: Ints) -> pd.DataFrame:
    """Columns first, second, mirrored, and in `alike` the agreement of the hashes."""
    across = np.mgrid[:FREQUENCIES, :FREQUENCIES][1].ravel()
    signs = np.where(across % 2, -1, 1).astype(np.float32)
    best = pd.DataFrame({"first": [], "second": [], "mirrored": [], "alike": []}).astype(
        {"first": np.int64, "second": np.int64, "mirrored": bool, "alike": np.float32}
    )
    for top in range(0, len(hashes), TILE):
        for left in range(top, len(hashes), TILE):
            others = hashes[left : left + TILE]
            for mirrored in (False, True):
                alike = hashes[top : top + TILE] @ (others * signs if mirrored else others).T
                first, second = np.nonzero(alike >= HASH_ALIKE)
                tile = pd.DataFrame(
                    {"first": first + top, "second": second + left, "mirrored": mirrored, "alike": alike[first, second]}
                )
                tile = tile[(tile["first"] < tile["second"]) & (codes[tile["first"]] != codes[tile["second"]])]
                best = pd.concat([best, tile]).nlargest(MAX_CANDIDATES, "alike") if len(tile) else best
    return best


def _correlation(array: Pixels8, rows: Ints, thumbnails: Pixels8, first: int, second: int, mirrored: bool) -> float:
    """Of two candidates in fine structure; 0 where a coarser look rules them out."""
    if _best_match(thumbnails[first], thumbnails[second], mirrored, SCALES, HOPELESS) < LIKELY:
        return 0.0
    one, other = (_thumbnail(array[rows[place]], FINE_SIDE) for place in (first, second))
    return _best_match(one, other, mirrored, FINE_SCALES, 0)


def _best_match(one: Pixels8, other: Pixels8, mirrored: bool, scales: tuple[float, ...], hopeless: float) -> float:
    """Of the centre of `one` with the part of `other` that is most like it."""
    shift = round(SHIFT * len(one))
    centre = _fine_structure(one)[shift:-shift, shift:-shift]
    searched = _fine_structure(np.ascontiguousarray(other[:, ::-1]) if mirrored else other)
    best = 0.0
    for scale in scales:
        best = max(best, float(cv2.matchTemplate(_zoomed(searched, scale), centre, cv2.TM_CCOEFF_NORMED).max()))
        if best < hopeless:
            break
    return best


def _fine_structure(image: Pixels8) -> Floats:
    """Edges as strong everywhere: otherwise the outline of the hair speaks louder than the face."""
    values = image.astype(np.float32)
    edges = cv2.GaussianBlur(values, (0, 0), 1) - cv2.GaussianBlur(values, (0, 0), 4)
    strength = np.sqrt(cv2.GaussianBlur(edges * edges, (0, 0), AROUND * len(image)))
    return np.asarray(edges / (strength + NOISE), dtype=np.float32)


def _zoomed(image: Floats, scale: float) -> Floats:
    side = len(image)
    start = (1 - scale) * (side - 1) / 2
    matrix = np.array([[scale, 0, start], [0, scale, start]])
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)
