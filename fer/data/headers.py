"""Image files in, what their headers say out: size, colour, bits, format. No pixel is decoded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pandas as pd
from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from fer.data.images import FORMATS
from fer.runs.surroundings import usable_cores

ORIENTATION = 274
"""The EXIF tag; from 5 on, the stored picture lies on its side."""

_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}
_GREY = ("1", "L", "LA", "La", "I", "F")


class Header(NamedTuple):
    """Of one file; None throughout where it can't be opened."""

    width: int | None
    height: int | None
    color: str | None
    """`grey`, `colour` or `palette`."""
    bits: int | None
    """Per channel."""
    format: str | None


def read_headers(paths: pd.Series) -> pd.DataFrame:
    """A row per path, upright `width` and `height`, then the other fields of `Header`."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = list(pool.map(_header, paths))
    return pd.DataFrame(found, index=paths.index, columns=list(Header._fields))


def _header(path: str) -> Header:
    try:
        with Image.open(path, formats=FORMATS) as image:
            # of a TIFF, newer Pillows say the upright size already
            width, height = image.size
            if isinstance(image, TiffImageFile):
                width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
            size = (height, width) if image.getexif().get(ORIENTATION, 1) >= 5 else (width, height)
            grey = image.mode in _GREY or image.mode.startswith("I;16")
            color = "grey" if grey else "palette" if image.mode in ("P", "PA") else "colour"
            return Header(*size, color, _BITS.get(image.mode, 8), image.format)
    except Exception:  # Pillow answers hostile bytes with nearly every built-in error
        return Header(None, None, None, None, None)
