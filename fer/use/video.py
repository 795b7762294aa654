"""Frames of a video file or a camera, read one at a time: memory does not grow with the length."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer.data.images import MAX_PIXELS, Pixels8
from fer.errors import FerError
from fer.use.items import Item, Source

log = logging.getLogger(__name__)

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".mts", ".3gp")


def open_video(path: Path, every: int) -> Source:
    """Every `every`-th frame of a video file.

    Raises:
        FerError: it can't be opened, holds no frame, or its frames are larger than pictures may be.
    """
    if not path.is_file():
        raise FerError(f"input={path}: there is no such file")
    capture = _opened(str(path), f"input={path}: not a video that can be read here")
    n_frames = max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    return Source(_file_frames(capture, path, every, n_frames), -(-n_frames // every) or None, video=True)


def open_camera(number: int, every: int) -> Source:
    """Every `every`-th frame of a camera, until it is stopped.

    Raises:
        FerError: there is no such camera.
    """
    capture = _opened(number, f"input={number}: no camera of this number can be opened")
    return Source(_camera_frames(capture, number, every), None, video=True, live=True)


def _opened(name: str | int, problem: str) -> cv2.VideoCapture:
    # what it tries in vain is of no use to anybody; the error below says what matters
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(name)
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if not capture.isOpened() or width * height <= 0:
        raise FerError(problem)
    if width * height > MAX_PIXELS:
        raise FerError(f"{problem}: frames of {width:.0f} x {height:.0f} pixels; at most {MAX_PIXELS:,} are allowed")
    return capture


def _file_frames(capture: cv2.VideoCapture, path: Path, every: int, n_frames: int) -> Iterator[Item]:
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    frame = 0
    try:
        while capture.grab():
            if frame % every == 0:
                # files without time stamps say 0 for every frame
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or frame / rate
                read, pixels = capture.retrieve()
                if not read:
                    break
                yield Item(str(path), _rgb(pixels), frame=frame, time=round(seconds, 4))
            frame += 1
    finally:
        capture.release()
    if frame == 0:
        raise FerError(f"input={path}: no frame of this video can be read")
    if frame < 0.9 * n_frames:
        log.warning("%s: only %d of about %d frames could be read: the file is damaged", path, frame, n_frames)


def _camera_frames(capture: cv2.VideoCapture, number: int, every: int) -> Iterator[Item]:
    start, frame = time.monotonic(), 0
    try:
        while capture.grab():
            if frame % every == 0:
                read, pixels = capture.retrieve()
                if not read:
                    break
                yield Item(f"camera {number}", _rgb(pixels), frame=frame, time=round(time.monotonic() - start, 4))
            frame += 1
    finally:
        capture.release()
    raise FerError(f"input={number}: the camera gave no more pictures after {frame} frames")


def _rgb(frame: npt.NDArray[Any]) -> Pixels8:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
