"""One figure of one picture: each face, and beside it where the network looked for each label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer.data.images import Pixels8
from fer.results.thumbnails import overlay
from fer.use.explaining.regions import Mask
from fer.use.heat import Heat

TILE, GAP, HEAD, TEXT = 240, 12, 48, 15
"""Pixels: side of a face, space between them, height of the text above one, size of the text."""

PER_LINE = 6
MOST_FACES = 8
PAPER, INK, FAINT = "#ffffff", "#20252b", "#6b747e"


@dataclass(frozen=True)
class Panel:
    """One heat map: two lines of text, the map [H, W] in [0, 1], and the outlined region [H, W] of the unit, if it has one."""

    title: str
    note: str
    heat: Heat
    region: Mask | None = None


@dataclass(frozen=True)
class FacePanels:
    """One face: its view [H, W, 3], two lines of text, and the maps."""

    view: Pixels8
    title: str
    note: str
    panels: list[Panel]


def draw_figure(faces: list[FacePanels]) -> Image.Image:
    """A row for each face, the face first; of many faces the last are only counted."""
    shown = faces[:MOST_FACES]
    lines = [_lines(face) for face in shown]
    width = max(len(line) for row in lines for line in row)
    height = sum(len(row) for row in lines)
    left_out = len(faces) - len(shown)
    step = TILE + HEAD + GAP
    note = 2 * TEXT if left_out else 0
    canvas = Image.new("RGB", (width * (TILE + GAP) + GAP, height * step + GAP + note), PAPER)
    for k, line in enumerate(line for row in lines for line in row):
        for column, tile in enumerate(line):
            if tile is not None:
                canvas.paste(tile, (GAP + column * (TILE + GAP), GAP + k * step))
    if left_out:
        ImageDraw.Draw(canvas).text((GAP, height * step + GAP / 2), f"and {left_out} more faces", FAINT, _font(TEXT))
    return canvas


def _lines(face: FacePanels) -> list[list[Image.Image | None]]:
    """The tiles of a face in lines; later lines leave the place below the face free."""
    maps = [_tile(overlay(face.view, p.heat, TILE), p.title, p.note, p.region) for p in face.panels]
    plain = np.asarray(cv2.resize(face.view, (TILE, TILE), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    chunks = [maps[k : k + PER_LINE - 1] for k in range(0, len(maps), PER_LINE - 1)] or [[]]
    first = _tile(plain, face.title, face.note, None)
    return [[first if k == 0 else None, *chunk] for k, chunk in enumerate(chunks)]


def _tile(picture: Pixels8, title: str, note: str, region: Mask | None) -> Image.Image:
    outlined = picture.copy()
    if region is not None:
        fine = (cv2.resize(region.astype(np.float32), (TILE, TILE), interpolation=cv2.INTER_LINEAR) > 0.5).astype(
            np.uint8
        )
        contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.drawContours(outlined, contours, -1, (255, 255, 255), 1, cv2.LINE_AA)
    tile = Image.new("RGB", (TILE, TILE + HEAD), PAPER)
    tile.paste(Image.fromarray(outlined), (0, HEAD))
    pen = ImageDraw.Draw(tile)
    pen.text((0, 4), _fitting(title), INK, _font(TEXT))
    pen.text((0, 4 + 1.4 * TEXT), _fitting(note), FAINT, _font(TEXT - 2))
    return tile


def _fitting(text: str) -> str:
    """The text, its end cut off where it would reach into the next tile."""
    if _font(TEXT).getlength(text) <= TILE:
        return text
    while _font(TEXT).getlength(f"{text}…") > TILE:
        text = text[:-1]
    return f"{text}…"


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
