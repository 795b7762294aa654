"""The JSON that the server answers with, as OpenAPI documents it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from fer.labels import au_meaning
from fer.use.answers import Face
from fer.use.facts import Facts
from fer.use.serving.known_limits import known_limits, known_misuse


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="What is wrong, in one line", examples=["image: not an image"])


class BoxReply(BaseModel):
    """A rectangle in pixels of the upright picture."""

    x: float = Field(description="Left edge")
    y: float = Field(description="Top edge")
    w: float = Field(description="Width")
    h: float = Field(description="Height")


class FaceReply(BaseModel):
    """What the model says of one face."""

    box: BoxReply
    how: Literal["detector", "whole"] = Field(
        description="whole: no face was found, and the answers are about the whole picture"
    )
    emotion: str | None = Field(description="The most probable one; null if the model knows none")
    emotion_prob: dict[str, float] = Field(description="Emotion to probability; they sum to 1")
    au_prob: dict[str, float] = Field(description="AU to the probability that it is active, each for itself")
    au_active: dict[str, bool] = Field(
        description="AU to whether it counts as active, by the threshold stored with the model"
    )
    active_aus: list[str] = Field(description="The active ones, in FACS order", examples=[["AU6", "AU12"]])


class Prediction(BaseModel):
    """What the model says of one picture."""

    model: str = Field(description="Name of its run")
    width: int = Field(description="Of the upright picture, in pixels")
    height: int = Field(description="Of the upright picture, in pixels")
    au_names: dict[str, str] = Field(description="AU to its plain name", examples=[{"AU12": "lip corner puller"}])
    faces: list[FaceReply] = Field(description="The largest first; at least one")


class HeatReply(BaseModel):
    """Where the network looked for one label in one face, as a picture to lay over the face."""

    label: str = Field(examples=["AU12"])
    view: BoxReply = Field(
        description="The square that the network saw, where the layer belongs; may reach beyond the picture"
    )
    empty: bool = Field(description="Whether nothing in the face speaks for the label: there is no heat then")
    png: str = Field(description="The layer: PNG with transparency, in base64")


class UnitReply(BaseModel):
    """An action unit that the model knows."""

    au: str = Field(examples=["AU12"])
    name: str = Field(examples=["lip corner puller"])
    threshold: float = Field(description="Probability from which it counts as active")


class ModelReply(BaseModel):
    """What the model can say, and its limits."""

    name: str
    aus: list[UnitReply]
    emotions: list[str]
    image_size: int = Field(description="Side of the network's input in pixels")
    crop: str = Field(description="face: it looks at faces; full: at whole pictures")
    precision: str
    fer_version: str = Field(description="Of the program that trained it")
    limits: list[str]
    must_not_be_used_for: list[str]
    card: bool = Field(description="Whether /model-card has more")
    warning: str | None = Field(description="Why its answers are worth nothing, if its run says so")
    heat: bool = Field(description="Whether POST /heat answers")
    no_heat_because: str | None = Field(description="Why it does not")
    max_mb: float = Field(description="Largest upload, in millions of bytes")


def prediction(facts: Facts, size: tuple[int, ...], faces: list[Face]) -> Prediction:
    """The answer about one picture; `size` is its height and width."""
    height, width = size
    return Prediction(
        model=facts.name,
        width=width,
        height=height,
        au_names={au: au_meaning(au) for au in facts.aus},
        faces=[_face(face) for face in faces],
    )


def _face(face: Face) -> FaceReply:
    return FaceReply(
        box=BoxReply(**face.box._asdict()),
        how="whole" if face.how == "whole" else "detector",
        emotion=face.emotion,
        emotion_prob=face.emotion_prob,
        au_prob=face.au_prob,
        au_active=face.au_active,
        active_aus=face.active_aus,
    )


def about_model(facts: Facts, card: str | None, max_mb: float, no_heat: str | None) -> ModelReply:
    """The answer about the model itself.

    Args:
        card: its model card, if there is one.
        max_mb: the limit of uploads.
        no_heat: why it can't be explained; None if it can.
    """
    return ModelReply(
        name=facts.name,
        aus=[UnitReply(au=au, name=au_meaning(au), threshold=facts.thresholds[au]) for au in facts.aus],
        emotions=list(facts.emotions),
        image_size=facts.image_size,
        crop=facts.crop,
        precision=facts.precision,
        fer_version=facts.fer_version,
        limits=known_limits(card),
        must_not_be_used_for=known_misuse(card),
        card=card is not None,
        warning=facts.warning or None,
        heat=no_heat is None,
        no_heat_because=no_heat,
        max_mb=max_mb,
    )
