"""What a model has seen: hashes by which a checkpoint knows the pictures of its training and validation again, in any data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from fer.data.prepare import Prepared


def picture_hashes(prepared: Prepared, table: pd.DataFrame) -> np.ndarray:
    """[n] int64: a hash of each row's stored pixels, by which a checkpoint knows the pictures that it has seen.

    Of the picture alone: the neutral one that it is compared with may be another in other data.
    """
    own = 3 if prepared.pixels.array.shape[-1] >= 3 else 1
    return _hashes(prepared.pixels.array[row][..., :own].tobytes() for row in table["pixel"])


def name_hashes(table: pd.DataFrame) -> np.ndarray:
    """[n] int64: a hash of each row's person, folder and file name, which stay the same when pictures are cropped in another way."""
    parts = (Path(path).parts[-2:] for path in table["path"])
    return _hashes("/".join((str(who), *part)).encode() for who, part in zip(table["subject"], parts, strict=True))


def of_known_people(prepared: Prepared, pictures: np.ndarray, names: np.ndarray) -> pd.Series:
    """Which rows of `prepared.table` are of a person of whom one picture was seen, by its hash of either kind."""
    people = prepared.table["subject"]
    seen = np.isin(picture_hashes(prepared, prepared.table), pictures)
    seen |= np.isin(name_hashes(prepared.table), names)
    return people.isin(people[seen])


def _hashes(contents: Iterable[bytes]) -> np.ndarray:
    digests = (hashlib.blake2b(content, digest_size=8).digest() for content in contents)
    return np.frombuffer(b"".join(digests), dtype="<i8")
