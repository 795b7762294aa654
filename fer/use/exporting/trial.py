"""The pictures that an exported model is tried on: those of `input=`, or faces drawn for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice

import numpy as np

from fer.data.images import Pixels8
from fer.data.synthetic import SUPPORTED_AUS, draw_face
from fer.errors import FerError
from fer.runs.surroundings import usable_cores
from fer.use.background import in_background
from fer.use.crops import FaceCrop, cut_faces, read_picture
from fer.use.facts import Facts
from fer.use.items import Item
from fer.use.sources import open_source

N_DRAWN = 24
DRAWN_SIZE = (240, 320)


def trial_pixels(facts: Facts, word: str | None, most: int) -> Pixels8:
    """The faces of pictures as stored pixels [N, S, S, C].

    Args:
        facts: of the model: its preprocessing.
        word: pictures as `input=<word>` means them; None: drawn faces.
        most: pictures to take, spread evenly over those there are.

    Raises:
        FerError: there is no picture, or none can be read.
    """
    items = _drawn() if word is None else _spread(word, most)
    with closing(in_background(items, partial(_cut, facts), usable_cores(), 16)) as found:
        pixels = [crop.pixels for crops in found for crop in crops]
    if not pixels:
        raise FerError(f"input={word}: not one of these pictures can be read")
    return np.stack(pixels)


def _cut(facts: Facts, item: Item) -> list[FaceCrop]:
    try:
        image = read_picture(item.picture)
    except FerError:
        return []
    return cut_faces(
        image, facts.image_size, facts.crop, facts.color, boxes=item.boxes, which="largest", landmarks=item.points()
    )


def _spread(word: str, most: int) -> Iterator[Item]:
    source = open_source(word)
    if source.live:
        raise FerError(f"input={word}: name a folder, a glob, a table or a video; a camera has no end")
    total = max(source.total or 0, most)  # unknown: the first ones
    taken = (item for k, item in enumerate(source.items) if k * most % total < most)
    yield from islice(taken, most)


def _drawn() -> Iterator[Item]:
    """Faces of different people, each with a few action units; the same ones every time."""
    rng = np.random.default_rng(0)
    for number in range(N_DRAWN):
        units = rng.choice(sorted(SUPPORTED_AUS), size=3, replace=False)
        drawing = draw_face(rng, {int(au): float(rng.uniform(0.4, 1)) for au in units}, size=DRAWN_SIZE)
        yield Item(f"drawn face {number}", drawing.image)
