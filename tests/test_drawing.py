"""Pictures with what was seen in them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from fer.data.faces import Box, How
from fer.labels import au_meaning
from fer.use.answers import Face
from fer.use.drawing import COLOURS, PAPER, draw
from fer.use.items import Item
from fer.use.stream import Seen, Shown
from fer.use.terminal import line


def face(
    x: float, n_active: int = 3, how: How = "detector", emotion: str | None = "happy", missed: bool = False
) -> Face:
    units = {f"AU{number}": 0.9 for number in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17)}
    active = {au: k < n_active for k, au in enumerate(units)}
    shares = {"happy": 0.75, "sadness": 0.25} if emotion else {}
    return Face(Box(x, 60, 80, 80), how, units, active, emotion, shares, missed)


def shown(height: int = 300, width: int = 400, scale: float = 1.0) -> Shown:
    return Shown(np.full((height, width, 3), 90, np.uint8), scale)


def pixel(picture: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    return tuple(picture[round(y), round(x)].tolist())


def test_each_box_stands_where_the_face_is_in_the_colour_of_its_paragraph() -> None:
    picture = np.asarray(draw(shown(), [face(20), face(200)]))
    for k, x in enumerate((20, 200)):
        colour = ImageColor.getrgb(COLOURS[k])
        assert pixel(picture, x, 100) == pixel(picture, x + 80, 100) == colour
        assert (picture[:, 400:] == colour).all(axis=2).any()
    assert pixel(picture, 60, 100) == (90, 90, 90)  # the face itself is left alone


def test_boxes_follow_the_size_of_a_shrunk_picture() -> None:
    picture = np.asarray(draw(shown(scale=0.5), [face(200)]))
    assert pixel(picture, 100, 50) == ImageColor.getrgb(COLOURS[0])


@pytest.mark.parametrize("n_faces", [0, 1, 9, 40])
@pytest.mark.parametrize("n_active", [0, 15])
def test_any_number_of_faces_and_units_fits(n_faces: int, n_active: int) -> None:
    image = draw(shown(90, 120), [face(5, n_active)] * n_faces)
    bottom = np.asarray(image)[-3:, 130:]
    assert image.height >= 90 and (bottom == ImageColor.getrgb(PAPER)).all()  # nothing runs out of the picture


def test_a_whole_picture_has_no_box_and_a_model_without_emotions_no_emotion() -> None:
    picture = np.asarray(draw(shown(), [face(20, how="whole"), face(200, emotion=None)]))
    assert (picture[:60, :200] == 90).all()


def test_names_and_lines_are_plain() -> None:
    assert au_meaning("AU12") == "lip corner puller"
    seen = Seen(Item("a.png", "a.png"), [face(0, 2), face(1, 0, how="whole", emotion=None, missed=True)], [None, None])
    assert line(seen) == "a.png: happy 0.75, AU1 AU2 · no AU (no face found)"
