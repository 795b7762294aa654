"""The steps of `fer.export`, each a function. What they share is passed in plain sight."""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from fer.data.images import Pixels8
from fer.errors import FerError
from fer.model.finished import load_module
from fer.model.module import FaceModule
from fer.runs.folder import find_checkpoint
from fer.use.exporting.agreement import Agreement, compare
from fer.use.exporting.formats import EXPORTED, WRITERS
from fer.use.exporting.trial import trial_pixels
from fer.use.facts import UNDECIDED, Facts, undecided
from fer.use.packages import needed
from fer.use.predictor import Predictor, load
from fer.use.runtime_onnx import network_input
from fer.use.runtime_torch import TorchRuntime

log = logging.getLogger(__name__)

FEW_TO_CALIBRATE = 50
"""Faces below which steps of int8 are fitted to few people's."""

FORMATS_NEED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


@dataclass(frozen=True)
class Model:
    """A checkpoint, and the facts that the exported file will hold."""

    module: FaceModule
    facts: Facts


def check_packages(form: str, precision: str) -> None:
    """Refuses what could not be finished.

    Raises:
        FerError: names the package that is missing, and how to get it.
    """
    for package in (*FORMATS_NEED.get(form, ()), *(("nncf",) if (form, precision) == ("openvino", "int8") else ())):
        needed(package, f"for format={form} precision={precision}")


def read_model(checkpoint: str, precision: str) -> Model:
    """The model to export.

    Raises:
        FerError: there is none, or it is damaged.
    """
    path = find_checkpoint(checkpoint)
    if path.suffix in EXPORTED:
        raise FerError(
            f"checkpoint={checkpoint} is exported already: name the run folder or .ckpt that it was made from"
        )
    module, card = load_module(path)
    facts = Facts.of_checkpoint(module.hparams, card, path)
    facts.refuse_pairs("fer.export")
    if undecided(card):
        raise FerError(f"checkpoint={checkpoint}: {UNDECIDED}")
    return Model(module, dataclasses.replace(facts, precision=precision))


def read_pictures(facts: Facts, word: str | None, most: int) -> tuple[Pixels8, Pixels8 | None]:
    """Stored pixels of the faces to compare answers on, and of others to calibrate on (None unless the precision is int8).

    Raises:
        FerError: there are no pictures, or too few for both.
    """
    pixels = trial_pixels(facts, word, most)
    if facts.precision != "int8":
        return pixels, None
    if len(pixels) < 2:
        raise FerError(f"input={word}: one face; precision=int8 needs some to calibrate on and others to compare on")
    if len(pixels) < 2 * FEW_TO_CALIBRATE:
        log.warning(
            "precision=int8 is calibrated on %d faces and compared on %d: take %d at least, or the next ones may be answered otherwise",
            len(pixels[::2]), len(pixels[1::2]), 2 * FEW_TO_CALIBRATE,
        )  # fmt: skip
    return pixels[1::2], pixels[::2]


def write(model: Model, form: str, path: Path, calibration: Pixels8 | None) -> None:
    """Writes the file.

    Args:
        model: what to write.
        form: a key of `WRITERS`.
        path: where to; OpenVINO puts a `.bin` beside it.
        calibration: see `read_pictures`.
    """
    images = None if calibration is None else network_input(calibration, model.facts.image_size)
    WRITERS[form](model.module, model.facts, path, images)


def compare_answers(model: Model, path: Path, pixels: Pixels8) -> Agreement:
    """How far the written file's answers are from the checkpoint's, both on the CPU."""
    before = Predictor(TorchRuntime(model.module, model.facts, "cpu")).answers(pixels)
    return compare(model.facts, before, load(path, accelerator="cpu").answers(pixels))


def move_files(path: Path, target: Path) -> None:
    """Puts the finished file, and the `.bin` that belongs to an `.xml`, in its place."""
    for ending in (".bin", path.suffix):  # the one that is asked for last: it is never there without the other
        if path.with_suffix(ending).is_file():
            os.replace(path.with_suffix(ending), target.with_suffix(ending))


def megabytes(target: Path) -> float:
    """Of a file and its `.bin`, 10^6 bytes."""
    parts = {target, target.with_suffix(".bin")} if target.suffix == ".xml" else {target}
    return sum(part.stat().st_size for part in parts) / 1e6
