"""A picture on its way: where it came from, and the picture or where to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer.data.faces import Box, read_landmarks
from fer.use.crops import Picture


@dataclass(frozen=True)
class Item:
    """One picture to look at.

    Attributes:
        path: what its rows are called by: the file as it was named, or `camera 0`.
        picture: the file to read, or the pixels of a frame.
        boxes: faces that are known already; None: to be found.
        frame: number of the frame, from 0; None for a picture.
        time: of the frame, seconds from the start.
        landmarks: a file of the 68 points of the one face to look at.
    """

    path: str
    picture: Picture
    boxes: tuple[Box, ...] | None = None
    frame: int | None = None
    time: float | None = None
    landmarks: Path | None = None

    def points(self) -> npt.NDArray[np.float64] | None:
        """The landmarks, [n, 2]; None where there are none or the file is damaged."""
        return None if self.landmarks is None else read_landmarks(self.landmarks)


@dataclass(frozen=True)
class Source:
    """Pictures one after the other.

    Attributes:
        items: read once.
        total: how many there will be, as far as that is known.
        video: whether they are frames, with number and time.
        live: whether they come from a camera: the end is when the user stops it.
        single: whether `input` named one picture.
        root: the folder below which the pictures lie, as in the items' paths, if there is one.
        folders: in which there are pictures: as in the items' paths -> where that is, and where links in it lead.
    """

    items: Iterator[Item]
    total: int | None
    video: bool = False
    live: bool = False
    single: bool = False
    root: Path | None = None
    folders: Mapping[str, Set[Path]] = field(default_factory=dict)
