"""What a model has seen: hashes by which a checkpoint knows the pictures of its training and validation again, in any data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer.data.prepare import Prepared


def picture_hashes(prepared: Prepared, table: pd.DataFrame) -> np.ndarray:
    """[n] int64: a hash of each row's stored pixels, by which a checkpoint knows the pictures that it has seen.

    Of the picture alone: the neutral one that it is compared with may be another in other data.
    """
    own = 3 if prepared.pixels.array.shape[-1] >= 3 else 1
    return _hashes(prepared.pixels.array[row][..., :own].tobytes() for row in table["pixel"])


def file_hashes(prepared: Prepared, table: pd.DataFrame) -> np.ndarray:
    """[n] int64: a hash of each row's file, which stays the same when its face is cropped in another way.

    Not of its name: S005/001 is somebody else in each data set that is laid out like CK+.
    """
    return np.asarray(prepared.pixels.digests[table["pixel"].to_numpy()])


def of_known_people(prepared: Prepared, seen: npt.ArrayLike, seen_files: npt.ArrayLike) -> pd.Series:
    """Which rows of `prepared.table` are of a person of whom one picture was seen, by its hash of either kind."""
    people = prepared.table["subject"]
    known = np.isin(picture_hashes(prepared, prepared.table), np.asarray(seen))
    known |= np.isin(file_hashes(prepared, prepared.table), np.asarray(seen_files))
    return people.isin(people[known])


def _hashes(contents: Iterable[bytes]) -> np.ndarray:
    digests = (hashlib.blake2b(content, digest_size=8).digest() for content in contents)
    return np.frombuffer(b"".join(digests), dtype="<i8")
