"""Pictures in, one after the other; for each its faces with heat maps, the rows of the score and the figure out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer.data.faces import Box, read_landmarks
from fer.data.prepare import Prepared
from fer.errors import FerError
from fer.labels import au_meaning, au_number
from fer.use.answers import Face
from fer.use.crops import FaceCrop
from fer.use.explaining.figure import FacePanels, Panel, draw_figure
from fer.use.explaining.regions import Mask, Points, au_mask, view_landmarks
from fer.use.explaining.score import HeatRow, shares
from fer.use.heat import Heat, HeatMaps, face_view, told
from fer.use.items import Source
from fer.use.predictor import Predictor


@dataclass(frozen=True)
class Subject:
    """A picture before it is explained.

    Attributes:
        path: of the picture.
        crops: its faces.
        person: who it is, if that is known.
        landmarks: [68, 2] in pixels of the picture, of the only face.
        problem: why the picture could not be read.
    """

    path: str
    crops: list[FaceCrop] = field(default_factory=list)
    person: str | None = None
    landmarks: Points | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Explained:
    """A picture with its maps: the rows of `heat.csv`, and what its figure shows."""

    rows: list[HeatRow]
    faces: list[FacePanels]


def of_source(predictor: Predictor, source: Source) -> Iterator[Subject]:
    """The pictures that `input=` means."""
    for item in source.items:
        try:
            points = item.points()
            yield Subject(item.path, predictor.cut(item.picture, item.boxes, landmarks=points), landmarks=points)
        except FerError as error:
            yield Subject(item.path, problem=str(error))


def of_data(prepared: Prepared, part: str) -> Iterator[Subject]:
    """The pictures of a data set, as they were prepared."""
    pixels = prepared.pixels
    for row in prepared.part(part).to_dict("records"):
        k, landmarks = int(row["pixel"]), row.get("landmarks")
        crop = FaceCrop(pixels.array[k], Box(*pixels.boxes[k].tolist()), pixels.how[k].item())
        points = read_landmarks(Path(landmarks)) if isinstance(landmarks, str) else None
        yield Subject(str(row["path"]), [crop], str(row["subject"]), points)


def explain(predictor: Predictor, maps: HeatMaps, subject: Subject, top: int | None) -> Explained:
    """The maps of the labels that `fer.use.heat.told` chooses, of every face."""
    faces = predictor.name(subject.crops)
    chosen = [told(face, top) for face in faces]
    wanted = [(row, label) for row, labels in enumerate(chosen) for label in labels]
    heat: Iterator[Heat] = iter(maps.of(np.stack([crop.pixels for crop in subject.crops]), wanted) if wanted else ())
    rows, panels = [], []
    for number, (crop, face, labels) in enumerate(zip(subject.crops, faces, chosen, strict=True), start=1):
        points = view_landmarks(crop.box, crop.how, predictor.facts.image_size, subject.landmarks)
        own = {label: next(heat) for label in labels}
        masks = {label: _region(label, points, predictor.facts.image_size) for label in labels}
        scored = shares(own, masks)
        found = [_one(subject, number, face, label, own[label], masks[label], scored[label]) for label in labels]
        rows += [row for row, _ in found]
        view = face_view(crop.pixels, predictor.facts.image_size)
        title = Path(subject.path).name if number == 1 else f"face {number}"
        panels.append(FacePanels(view, title, _said(face), [panel for _, panel in found]))
    return Explained(rows, panels)


def save_figure(explained: Explained, path: Path) -> None:
    """Writes the figure of a picture, whole or not at all."""
    unfinished = path.with_name(f".tmp{os.getpid()}")
    draw_figure(explained.faces).save(unfinished, format="PNG")
    os.replace(unfinished, path)


def _region(label: str, points: Points | None, size: int) -> Mask | None:
    unit = au_number(label)
    return None if unit is None or points is None else au_mask(unit, points, size)


def _one(
    subject: Subject,
    number: int,
    face: Face,
    label: str,
    heat: Heat,
    region: Mask | None,
    scored: tuple[float | None, ...],
) -> tuple[HeatRow, Panel]:
    unit = au_number(label)
    probability = face.emotion_prob[label] if unit is None else face.au_prob[label]
    decided = label == face.emotion if unit is None else face.au_active[label]
    inside, random, others = scored
    row = HeatRow(subject.path, subject.person, number, label, probability, decided, inside, random, others)
    words = [f"{probability:.0%}{'' if decided else ', not active' if unit else ''}"]
    if not heat.any():
        words.append("nothing speaks for it")
    elif random is not None:
        words.append(f"heat inside {inside:.0%}, random {random:.0%}")
    title = label if unit is None else f"{label} {au_meaning(label)}"
    return row, Panel(title, " · ".join(words), heat, region)


def _said(face: Face) -> str:
    words = ["no face found: whole picture"] if face.missed else []
    if face.emotion is not None:
        words.append(f"{face.emotion} {face.emotion_prob[face.emotion]:.0%}")
    if face.au_prob and not face.active_aus:
        words.append("no unit active")
    return " · ".join(words)
