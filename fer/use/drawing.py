"""A picture with what was seen in it: boxes on the faces, and beside the picture emotion and active action units of each."""

from __future__ import annotations

import textwrap
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from fer.labels import au_meaning
from fer.use.answers import Face
from fer.use.stream import Shown

COLOURS = ("#2f7ed8", "#e0702c", "#2e9e5b", "#b5479d", "#b8860b", "#c0392b", "#1a9ba1", "#7d5bd0")
"""One per face, over and over."""

PAPER, INK, FAINT = "#ffffff", "#20252b", "#7b848e"
SMALLEST_HEIGHT = 360
"""Lower pictures get room below: the text beside them needs it."""

SMALLEST_SIDE = 320
"""Smaller pictures are enlarged to this longer side: a box of few pixels shows nothing."""

LONGEST_LISTS = (99, 12)
"""Units that are written out, the first number that there is room for."""

NAMES_AT = 4.2
"""Where the plain names of units begin, in sizes of their text after the codes."""

LEADING = 1.45
"""Distance of lines over the size of their text."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(shown: Shown, faces: list[Face]) -> Image.Image:
    """The picture with a numbered box on each face, and a panel on its right that says what was seen there."""
    picture = Image.fromarray(shown.pixels)
    enlarged = max(1.0, SMALLEST_SIDE / max(picture.size))
    if enlarged > 1:
        picture = picture.resize([max(1, round(side * enlarged)) for side in picture.size], Image.Resampling.BICUBIC)
    _draw_boxes(picture, faces, shown.scale * enlarged)
    unit = max(12, round(min(max(picture.size), 1280) / 50))
    panel = _panel(faces, unit, max(picture.height, SMALLEST_HEIGHT))
    canvas = Image.new("RGB", (picture.width + panel.width, panel.height), PAPER)
    canvas.paste(picture, (0, 0))
    canvas.paste(panel, (picture.width, 0))
    return canvas


def _draw_boxes(picture: Image.Image, faces: list[Face], scale: float) -> None:
    pen = ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / 250))
    font = _font(max(12, round(max(picture.size) / 45)))
    found = [(k, [scale * v for v in face.box]) for k, face in enumerate(faces) if face.how != "whole"]
    for k, (x, y, w, h) in found:
        pen.rounded_rectangle((x, y, x + w, y + h), radius=4 * width, outline=_colour(k), width=width)
    for k, (x, y, _, _) in found:  # over all boxes
        _chip(pen, (x, y), _title(faces[k], k, len(faces)), font, _colour(k))


def _chip(pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, font: Font, colour: str) -> None:
    """White text on a patch of colour, above a corner if there is room, else below it."""
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    pad = (y1 - y0) * 0.4
    height = y1 - y0 + 2 * pad
    left = max(0.0, corner[0])
    top = corner[1] - height if corner[1] >= height else max(0.0, corner[1])
    pen.rounded_rectangle((left, top, left + x1 - x0 + 2 * pad, top + height), radius=pad, fill=colour)
    pen.text((left + pad - x0, top + pad - y0), text, font=font, fill=PAPER)


def _title(face: Face, k: int, n: int) -> str:
    words = [str(k + 1)] if n > 1 else []
    if face.emotion is not None:
        words.append(f"{face.emotion} {face.emotion_prob[face.emotion]:.0%}")
    return "  ".join(words) or "face"


def _panel(faces: list[Face], unit: int, height: int) -> Image.Image:
    """What was seen in each face, one below the other: with names in plain words if there is room, else in brief."""
    panel = Image.new("RGB", (22 * unit, height), PAPER)
    pen = ImageDraw.Draw(panel)
    numbers = [f"{k + 1}  " if len(faces) > 1 else "" for k in range(len(faces))]
    for most in LONGEST_LISTS:
        paragraphs = [_in_words(face, number, unit, most) for face, number in zip(faces, numbers, strict=True)]
        if sum(_height(lines) + unit for lines in paragraphs) <= height:
            break
    else:
        paragraphs = [_in_brief(face, number, unit) for face, number in zip(faces, numbers, strict=True)]
    y = float(unit)
    for k, lines in enumerate(paragraphs):
        if k and y + _height(lines) + (1.6 * unit if k + 1 < len(faces) else 0) > height:
            pen.text((unit, y), f"and {len(faces) - k} more", font=_font(unit), fill=FAINT)
            break
        pen.rounded_rectangle((unit * 0.4, y, unit * 0.65, y + 1.5 * unit), radius=2, fill=_colour(k))
        y = _write(pen, lines, y, unit) + unit
    return panel


_Line = tuple[str, float, str, float | None]
"""Text (the code of a unit and its name with a tab between), size, colour, and a probability."""


def _in_words(face: Face, number: str, unit: int, most: int) -> list[_Line]:
    lines = _emotion(face, number, unit)
    lines += [(f"{au}\t{au_meaning(au)}", unit, INK, face.au_prob[au]) for au in face.active_aus[:most]]
    left_out = len(face.active_aus) - most
    if left_out > 0:
        lines.append((f"and {left_out} more", unit, FAINT, None))
    if face.au_prob and not face.active_aus:
        lines.append(("no action unit active", unit, FAINT, None))
    return lines


def _in_brief(face: Face, number: str, unit: int) -> list[_Line]:
    units = " ".join(face.active_aus) or ("no action unit active" if face.au_prob else "")
    return _emotion(face, number, unit) + [(text, unit, INK, None) for text in textwrap.wrap(units, 34)]


def _emotion(face: Face, number: str, unit: int) -> list[_Line]:
    lines: list[_Line] = []
    if face.missed:
        lines.append((f"{number}no face found: whole picture", unit, FAINT, None))
    if face.emotion is not None:
        lines.append((f"{number}{face.emotion}", 1.5 * unit, INK, face.emotion_prob[face.emotion]))
    return lines


def _height(lines: list[_Line]) -> float:
    return LEADING * sum(size for _, size, _, _ in lines)


def _write(pen: ImageDraw.ImageDraw, lines: list[_Line], y: float, unit: int) -> float:
    for text, size, colour, probability in lines:
        code, _, name = text.partition("\t")
        pen.text((unit, y), code, font=_font(round(size)), fill=FAINT if name else colour)
        pen.text((unit + NAMES_AT * size, y), name, font=_font(round(size)), fill=colour)
        if probability is not None:
            share = f"{probability:.0%}"
            pen.text((21 * unit, y), share, font=_font(round(size)), fill=FAINT, anchor="ra")
        y += LEADING * size
    return y


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


@lru_cache(maxsize=16)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)
