"""Image files in, upright 8-bit RGB pixels out; everything that is no honest picture is refused in one line.

Files come from strangers (data sets, uploads): few formats, a size limit that is checked before any pixel is decoded,
first frame only.
"""

from __future__ import annotations

import errno
import io
import re
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from fer.errors import FerError

Pixels8 = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
"""What is tried when a file is opened, whatever its name ends in."""

MAX_PIXELS = 64_000_000
MAX_SIDE = 32_767
"""What OpenCV takes; a line of 64 million pixels is a small file and much work."""
MAX_SCANS = 100
"""Of a JPEG: a progressive one has about ten, its thumbnail as many."""
_LONGEST_JPEG = 100_000_000
"""Bytes of it that are looked at."""
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)
"""The start of a segment, in pixels or behind another segment; 00 and D0 to D7 are parts of pixels."""
_SCAN, _END = 0xDA, 0xD9
TILEWIDTH, TILELENGTH, PHOTOMETRIC = 322, 323, 262
"""Tags of TIFF 6.0."""

BACKGROUND = (128, 128, 128)
"""Shown through transparent parts: mid-grey is next to zero after normalisation, black or white would be an edge."""


OF_THE_MACHINE = (errno.EACCES, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT)
"""Errors in which the file has no part."""


class BadImage(FerError):
    """A file that can't be used as a picture; the message is `<file>: <what is wrong>`.

    Attributes:
        passing: whether the machine failed and not the picture (no permission, a network drive that is away, no memory).
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


def decode(source: Path | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Pixels8:
    """The first frame of a picture, turned upright by its EXIF orientation, as RGB.

    16-bit greys are scaled by the full range of the format (65535 -> 255), not by the range in use, so that equal
    values look equal in every picture of a data set. Transparent parts show `BACKGROUND`.

    Args:
        source: A file, its content, or an open binary stream.
        max_pixels: Larger pictures are refused by their header. Pillow itself warns above 89 million and refuses twice
            that.

    Returns:
        [H, W, 3] uint8, 0-255, writable.

    Raises:
        BadImage: missing, not an image, truncated, too large, or of a kind without a fixed range (32-bit integer or
            float).
    """
    try:
        if isinstance(source, Path) and source.exists() and not (source.is_file() or source.is_dir()):
            raise BadImage("not a file")  # a pipe would be waited for
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            _refuse_costly(image, max_pixels)
            inverted = _is_inverted(image)
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image, inverted)
    # Pillow's decoders answer hostile bytes with nearly every built-in error, so no shorter list is complete.
    except Exception as error:
        passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in OF_THE_MACHINE)
        raise BadImage(f"{_name(source)}: {_reason(error)}", passing=passing) from error


def _refuse_costly(image: Image.Image, max_pixels: int) -> None:
    """Refuses by its header a file that would take more memory or time than any picture."""
    sizes = [image.size]
    if isinstance(image, TiffImageFile):  # a tile is decoded whole, however little of it the picture shows
        sizes += [(int(image.tag_v2.get(TILEWIDTH, 1)), int(image.tag_v2.get(TILELENGTH, 1)))]
    for width, height in sizes:
        if width * height > max_pixels:
            raise BadImage(f"{width} x {height} pixels are more than the limit of {max_pixels:,}")
        if max(width, height) > MAX_SIDE:
            raise BadImage(f"{width} x {height} pixels: no side may be longer than {MAX_SIDE:,}")
    if isinstance(image, JpegImageFile) and image.fp is not None:
        at = image.fp.tell()
        image.fp.seek(0)
        if (
            _n_scans(image.fp.read(_LONGEST_JPEG)) > MAX_SCANS
        ):  # each goes over the whole picture, and a hundred bytes make one
            raise BadImage(f"more than {MAX_SCANS} scans")
        image.fp.seek(at)


def _n_scans(jpeg: bytes) -> int:
    """Scans of a JPEG up to its end: not those of a thumbnail in a segment, and nothing of what phones put behind the picture."""
    n, at = 0, 2
    while found := _MARKER.search(jpeg, at):
        kind, at = jpeg[found.start() + 1], found.end()
        if kind == _END:
            break
        n += kind == _SCAN
        at += int.from_bytes(jpeg[at : at + 2])
    return n


def from_pillow(image: Image.Image) -> Pixels8:
    """An opened Pillow image as `decode` would give it: upright, RGB, [H, W, 3] uint8.

    Raises:
        BadImage: its file is truncated or was closed, it has no pixels, or it is of a kind without a fixed range.
    """
    if 0 in image.size:
        raise BadImage("image: it has no pixels")
    try:
        return _rgb(ImageOps.exif_transpose(image), _is_inverted(image))
    except Exception as error:  # as of `decode`; of a picture whose file was closed Pillow says nothing
        raise BadImage(f"image: {_reason(error) or 'its file was closed before it was read'}") from error


def luminance(rgb: Pixels8) -> Pixels8:
    """[H, W] uint8 brightness of an [H, W, 3] picture by ITU-R BT.601; exact for pictures that are grey already."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _is_inverted(image: Image.Image) -> bool:
    """Whether 0 is white and Pillow leaves it so, which it does with 16 bits."""
    return isinstance(image, TiffImageFile) and image.mode.startswith("I;16") and image.tag_v2.get(PHOTOMETRIC) == 0


def _rgb(image: Image.Image, inverted: bool) -> Pixels8:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = 65535 - np.asarray(image) if inverted else np.asarray(image)
        grey = np.repeat(_from_16_bits(values)[..., None], 3, axis=2)
        grey[values == image.info.get("transparency", -1)] = BACKGROUND
        return grey
    if image.mode == "F":
        raise BadImage("floating-point pixels have no fixed range; save it as 8 or 16 bit")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        canvas = Image.new("RGB", picture.size, BACKGROUND)
        canvas.paste(picture, mask=picture.getchannel("A"))
        return np.array(canvas)
    return np.array(image.convert("RGB"))


def _from_16_bits(values: npt.NDArray[np.integer]) -> Pixels8:
    # Pillow gives some 16-bit files (PGM) as 32-bit integers: the values decide.
    if values.min() < 0 or values.max() > 65535:
        raise BadImage("32-bit integer pixels have no fixed range; save it as 8 or 16 bit")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _name(source: Path | bytes | BinaryIO) -> str:
    if isinstance(source, bytes):
        return "image"
    return str(source if isinstance(source, Path) else getattr(source, "name", "image"))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of a format that is read here ({', '.join(FORMATS)})"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "more pixels than any picture has (decompression bomb)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, BadImage) else f"damaged image ({text})"
