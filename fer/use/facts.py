"""What a model file says of itself beside its weights: names, thresholds, preprocessing, temperature. Never imports torch."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from fer.data.faces import PIXELS_VERSION, Crop
from fer.errors import FerError, first_line, printable
from fer.labels import au_number

LARGEST_INPUT = 1024
"""Pixels; as `data.image_size`. A file that asks for more asks for memory."""

METADATA_KEY = "fer"
"""Under this key an exported file holds `Facts.as_json`."""


UNDECIDED = (
    "thresholds and calibration were never chosen for this checkpoint: every unit counts as active from .5; use best.ckpt of a "
    "finished run"
)


def undecided(card: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is of a training that went on or was stopped (`last.ckpt`): its card says what stands for nothing chosen."""
    chosen = [card["thresholds"], card.get("temperature") or {}]
    return all(
        value == nothing for values, nothing in zip(chosen, (0.5, 1.0), strict=True) for value in values.values()
    )


@dataclass(frozen=True)
class Facts:
    """All that stands between pixels and decisions.

    Attributes:
        name: of the run.
        aus: the AU head's units in tensor order, as columns are called: `AU12`.
        emotions: the emotion head's classes in tensor order. Either may be empty.
        thresholds: AU -> probability from which it counts as active.
        temperature: `au` and `emotion`: what the logits are divided by before sigmoid and softmax.
        image_size: side of the network's input, pixels.
        crop: `face` or `full`, as in training.
        color: three channels, else one of brightness.
        reference: whether each face is compared with a neutral picture of the same person.
        precision: `f32`, or what an exported file computes in.
        fer_version: of the program that trained it.
        warning: why its answers are worth nothing or little, if its run says so.
    """

    name: str
    aus: tuple[str, ...]
    emotions: tuple[str, ...]
    thresholds: Mapping[str, float]
    temperature: Mapping[str, float]
    image_size: int
    crop: Crop
    color: bool
    reference: bool = False
    precision: str = "f32"
    fer_version: str = ""
    warning: str = ""

    def __post_init__(self) -> None:
        wrong = list(self._wrong())
        if wrong:
            raise ValueError("; ".join(wrong))

    def _wrong(self) -> Iterator[str]:
        for head, labels in (("aus", self.aus), ("emotions", self.emotions)):
            if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
                yield f"{head} must be different names"
            elif any(printable(label) != label for label in labels):
                yield f"{head} must be names that can be printed"
        for text in (self.name, self.warning, self.precision, self.fer_version):
            if not isinstance(text, str) or printable(text) != text:
                yield "name, warning, precision and fer_version must be text that can be printed"
        if not all(isinstance(flag, bool) for flag in (self.color, self.reference)):
            yield "color and reference must be true or false"
        if any(au_number(au) is None for au in self.aus if isinstance(au, str)):
            yield "aus must be called as AU12 is"
        if set(self.thresholds) != set(self.aus) or not all(0 <= t <= 1 for t in self.thresholds.values()):
            yield "thresholds must be a probability for each of aus"
        if not all(0 < self.temperature.get(head, 0) < math.inf for head in ("au", "emotion")):
            yield "temperature must be two numbers above 0"
        if type(self.image_size) is not int or not 1 <= self.image_size <= LARGEST_INPUT:
            yield f"image_size must be a number of pixels up to {LARGEST_INPUT}"
        if self.crop not in get_args(Crop):
            yield f"crop must be {' or '.join(get_args(Crop))}"

    @classmethod
    def of_checkpoint(cls, hyper_parameters: Mapping[str, Any], card: Mapping[str, Any], source: object) -> Facts:
        """From a checkpoint's hyperparameters and card.

        Raises:
            FerError: the file, `source`, is damaged.
        """
        try:
            return cls._of_checkpoint(hyper_parameters, card)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FerError(f"{source} is damaged: {first_line(error)[:200]}") from error

    @classmethod
    def _of_checkpoint(cls, hyper_parameters: Mapping[str, Any], card: Mapping[str, Any]) -> Facts:
        labels, pixels = hyper_parameters["labels"], hyper_parameters["preprocessing"]
        aus = tuple(f"AU{number}" for number in labels["aus"])
        return cls(
            name=str(card["name"]),
            aus=aus,
            emotions=tuple(labels["emotions"]),
            thresholds={au: float(card["thresholds"][au]) for au in aus},
            temperature={"au": 1.0, "emotion": 1.0, **(card.get("temperature") or {})},
            image_size=int(pixels["image_size"]),
            crop="full" if pixels["crop"] == "full" else "face",
            color=bool(pixels["color"]),
            reference=bool(pixels.get("reference", False)),
            fer_version=str(card.get("fer_version", "")),
            warning=UNDECIDED if undecided(card) else str(card.get("dead") or ""),
        )

    def as_json(self, **more: Any) -> str:
        """For the metadata of an exported file; `more` is for people and other programs, and not read back."""
        content = {
            **dataclasses.asdict(self),
            "pixels_version": PIXELS_VERSION,
            "input": self._input_in_words(),
            **more,
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str, source: str) -> Facts:
        """The opposite of `as_json`.

        Raises:
            FerError: `text` (read from `source`) was written by another version or another program.
        """
        try:
            found = json.loads(text)
            if found is None:
                raise FerError(
                    f"{source} holds no names and preprocessing: no file of fer.export (weights go to model.weights=)"
                )
            if found["pixels_version"] != PIXELS_VERSION:
                raise FerError(
                    f"{source} takes faces cropped in another way (version {found['pixels_version']}, here {PIXELS_VERSION}): "
                    "export it again"
                )
            known = {field.name: found[field.name] for field in dataclasses.fields(cls) if field.name in found}
            return cls(**{**known, "aus": tuple(known["aus"]), "emotions": tuple(known["emotions"])})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FerError(
                f"{source} does not hold the names and preprocessing of a model of fer ({first_line(error)})"
            ) from error

    def refuse_pairs(self, command: str) -> None:
        """Refuses a model that needs a neutral picture, where there is no place for one.

        Raises:
            FerError: says which commands take one.
        """
        if self.reference:
            raise FerError(
                f"{command}: this model compares each face with a neutral picture of the same person (data.reference=neutral); "
                "fer.predict reference=PICTURE and the Python API take one"
            )

    def _input_in_words(self) -> str:
        pixels = "RGB" if self.color else "luminance (ITU-R BT.601) in all three channels"
        return (
            f"image: float32 [N, 3, {self.image_size}, {self.image_size}] in [0, 1], {pixels}; not normalised further"
        )
