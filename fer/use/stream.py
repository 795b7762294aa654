"""Pictures in, their faces with answers out, as many as there are: threads decode and find faces while the network works."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from fer.data.faces import SMALLEST_FACE
from fer.data.images import Pixels8
from fer.errors import FerError
from fer.runs.surroundings import usable_cores
from fer.use.answers import Answers, Face, name_answers
from fer.use.background import in_background
from fer.use.crops import FaceCrop, Which, read_picture
from fer.use.items import Item, Source
from fer.use.predictor import Predictor
from fer.use.tracks import Tracks

SHOWN_SIDE = 1280
"""Pictures that are kept for drawing are shrunk to this longer side: a few of them wait in memory."""


@dataclass(frozen=True)
class Shown:
    """A picture to draw on: [H, W, 3] uint8 RGB, and its size over that of the original."""

    pixels: Pixels8
    scale: float


@dataclass(frozen=True)
class Seen:
    """What was seen in one picture.

    Attributes:
        item: where it came from.
        faces: the largest first.
        numbers: of a video, per face a number that stays with it from frame to frame; None for a whole picture.
        shown: the picture itself, if it was asked for.
        problem: why the picture could not be read; there are no faces then.
    """

    item: Item
    faces: list[Face] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    shown: Shown | None = None
    problem: str | None = None


@dataclass(frozen=True)
class _Cut:
    item: Item
    crops: list[FaceCrop]
    shown: Shown | None = None
    problem: str | None = None


def look_at(
    predictor: Predictor,
    source: Source,
    *,
    faces: Which = "all",
    smallest: float | None = None,
    smoothing: float = 0.0,
    keep_pictures: bool = False,
) -> Generator[Seen]:
    """What the model sees in each picture of a source, in order. Memory does not grow with their number.

    Args:
        predictor: the model; its `batch_size` faces go through the network at once (a camera's one frame at a time).
        source: the pictures.
        faces: of each picture.
        smallest: see `cut_faces`; of frames of a video None is as in training, where the search for smaller ones costs too much.
        smoothing: of a video, see `Tracks`.
        keep_pictures: whether `Seen.shown` is wanted.
    """
    tracks = Tracks(smoothing, predictor.facts.crop == "full") if source.video else None
    batch_size = 1 if source.live else predictor.batch_size
    if smallest is None and source.video:
        smallest = SMALLEST_FACE
    work = partial(_cut, predictor, faces, smallest, keep_pictures)
    with closing(in_background(source.items, work, usable_cores(), batch_size)) as cuts:
        for batch in _batches(cuts, batch_size):
            yield from _seen(predictor, batch, tracks)


def _cut(predictor: Predictor, faces: Which, smallest: float | None, keep_picture: bool, item: Item) -> _Cut:
    try:
        image = read_picture(item.picture)
        crops = predictor.cut(image, item.boxes, faces, smallest, item.points())
    except FerError as error:
        return _Cut(_light(item), [], problem=str(error))
    return _Cut(_light(item), crops, _shrunk(image) if keep_picture else None)


def _light(item: Item) -> Item:
    """The item without its pixels: results wait, and frames are large."""
    return dataclasses.replace(item, picture=item.path)


def _shrunk(image: Pixels8) -> Shown:
    scale = min(1.0, SHOWN_SIDE / max(image.shape[:2]))
    if scale == 1.0:
        return Shown(image, 1.0)
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return Shown(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale)


def _batches(cuts: Iterable[_Cut], n_faces: int) -> Iterator[list[_Cut]]:
    batch: list[_Cut] = []
    for cut in cuts:
        batch.append(cut)
        if sum(len(c.crops) or 1 for c in batch) >= n_faces:
            yield batch
            batch = []
    if batch:
        yield batch


def _seen(predictor: Predictor, batch: list[_Cut], tracks: Tracks | None) -> Iterator[Seen]:
    crops = [crop for cut in batch for crop in cut.crops]
    answers = predictor.answers(np.stack([crop.pixels for crop in crops])) if crops else None
    start = 0
    for cut in batch:
        if answers is None or not cut.crops:
            yield Seen(cut.item, problem=cut.problem)
            continue
        stop = start + len(cut.crops)
        boxes = [(crop.box, crop.how) for crop in cut.crops]
        own = Answers(answers.au_prob[start:stop], answers.emotion_prob[start:stop])
        numbers: list[int | None] = [None] * len(boxes)
        if tracks is not None:
            numbers, own = tracks.follow(boxes, own, cut.item.time or 0.0)
        yield Seen(cut.item, list(name_answers(predictor.facts, boxes, own)), numbers, cut.shown)
        start = stop
