"""Small pictures for the pages: in, pixels; out, `data:` addresses of a few kilobytes."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import numpy.typing as npt

from fer.data.images import Pixels8

SIDE = 96
"""Of a face on a page, in pixels."""

QUALITY = 75


def thumbnail(pixels: Pixels8) -> str:
    """[H, W, 3 or 1] uint8 RGB or grey as a WebP in a `data:` address."""
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    done, content = cv2.imencode(
        ".webp", small[..., ::-1] if small.ndim == 3 else small, [cv2.IMWRITE_WEBP_QUALITY, QUALITY]
    )
    assert done
    return f"data:image/webp;base64,{base64.b64encode(content.tobytes()).decode()}"


def overlay(view: Pixels8, heat: npt.NDArray[np.float32], size: int) -> Pixels8:
    """The heat over the face, [size, size, 3]: the face alone where there is none, through red to yellow where there is most."""
    face = np.asarray(cv2.resize(view, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    face = face.reshape(size, size, -1)  # OpenCV drops the axis of a single channel
    colours, strength = _colours(heat, size)
    return np.asarray(((1 - strength) * face + strength * colours).round().clip(0, 255), dtype=np.uint8)


def layer(heat: npt.NDArray[np.float32], size: int) -> Pixels8:
    """The heat of `overlay` without the face, [size, size, 4] RGBA, to be laid over it."""
    colours, strength = _colours(heat, size)
    return np.dstack([colours, (255 * strength).round().astype(np.uint8)])


def _colours(heat: npt.NDArray[np.float32], size: int) -> tuple[Pixels8, npt.NDArray[np.float32]]:
    """[size, size, 3] colours, and how much of them is to be seen, [size, size, 1]."""
    fine = np.clip(cv2.resize(heat, (size, size), interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)
    colours = cv2.applyColorMap((fine * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.asarray(colours, np.uint8), 0.6 * fine[..., None]
