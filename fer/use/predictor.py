"""A finished model, whatever file it lies in, and pictures in; named answers about every face out. Imports torch for checkpoints only."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, get_args, overload

import numpy as np
import numpy.typing as npt

from fer.data.faces import Box
from fer.data.images import Pixels8
from fer.errors import FerError
from fer.runs.folder import find_checkpoint
from fer.use.answers import Answers, Face, name_answers
from fer.use.crops import FaceCrop, Picture, Which, cut_faces, read_picture
from fer.use.facts import Facts

log = logging.getLogger(__name__)

BATCH_SIZE = 32
PRECISIONS = ("f32", "bf16")
"""Of a checkpoint."""


class Runtime(Protocol):
    """What runs the network: torch, onnxruntime or OpenVINO."""

    facts: Facts
    has_gradients: bool
    """Whether `fer.use.heat` can explain it."""

    def ready(self, pixels: Pixels8) -> Any:
        """Stored pixels [N, S, S, C] to the network's input."""
        ...

    def run(self, images: Any) -> Answers:
        """The network's input to calibrated probabilities."""
        ...


class Predictor:
    """A model ready for use. `load` makes one.

    Attributes:
        facts: names, thresholds and preprocessing, as stored with the model.
        runtime: what runs the network.
        batch_size: faces that go through the network at once.
    """

    def __init__(self, runtime: Runtime, batch_size: int = BATCH_SIZE) -> None:
        self.runtime, self.facts, self.batch_size = runtime, runtime.facts, batch_size
        self.neutral: Pixels8 | None = None

    @overload
    def predict(  # type: ignore[overload-overlap]  # to a type checker a path is a sequence of paths
        self, what: Picture, *, boxes: Sequence[Box] | None = None, faces: Which = "all"
    ) -> list[Face]: ...

    @overload
    def predict(
        self, what: Sequence[Picture], *, boxes: Sequence[Sequence[Box] | None] | None = None, faces: Which = "all"
    ) -> list[list[Face]]: ...

    def predict(self, what: Any, *, boxes: Any = None, faces: Which = "all") -> Any:
        """What the model says of every face in a picture, the largest face first; where none is found, of the whole picture.

        Args:
            what: a path, the bytes of a file, a Pillow image, an array [H, W] or [H, W, 3] of uint8 in RGB; or a list of these,
                or an array [N, H, W, 3].
            boxes: the faces as (x, y, w, h) in pixels of the upright picture; a list of these lists for a list of pictures.
            faces: `all` or `largest`.

        Returns:
            A list of faces; for a list of pictures a list of such lists.

        Raises:
            FerError: a picture can't be read.
        """
        if isinstance(what, (list, tuple)) or (isinstance(what, np.ndarray) and what.ndim == 4):
            given = [None] * len(what) if boxes is None else list(boxes)
            if len(given) != len(what):
                raise FerError(f"boxes for {len(given)} pictures, and {len(what)} pictures")
            return self._all([self.cut(picture, box, faces) for picture, box in zip(what, given, strict=True)])
        return self._all([self.cut(what, boxes, faces)])[0]

    def cut(
        self,
        picture: Picture,
        boxes: Sequence[Box] | None = None,
        faces: Which = "all",
        smallest: float | None = None,
        landmarks: npt.NDArray[np.floating] | None = None,
    ) -> list[FaceCrop]:
        """The faces of a picture as the network wants them (see `cut_faces`); safe to call from several threads.

        Raises:
            FerError: the picture can't be read, or `boxes` are none.
        """
        f = self.facts
        if faces not in get_args(Which):
            raise FerError(f"faces must be {' or '.join(get_args(Which))}, got {faces}")
        try:
            known = None if boxes is None else [Box(*map(float, box)) for box in boxes]
        except (TypeError, ValueError) as error:
            raise FerError(f"boxes must be a list of x, y, w, h in pixels, one for each face; got {boxes}") from error
        return cut_faces(
            read_picture(picture),
            f.image_size,
            f.crop,
            f.color,
            boxes=known,
            which=faces,
            smallest=smallest,
            landmarks=landmarks,
        )

    def name(self, crops: Sequence[FaceCrop]) -> list[Face]:
        """Crops through the network, a `Face` each."""
        if not crops:
            return []
        answers = self.answers(np.stack([crop.pixels for crop in crops]))
        return list(name_answers(self.facts, [(crop.box, crop.how) for crop in crops], answers))

    def compare_with(self, picture: Picture) -> None:
        """Takes a neutral picture of the person whose faces come next; a model trained with data.reference=neutral needs one.

        Raises:
            FerError: the picture can't be read, or the model has no use for it.
        """
        if not self.facts.reference:
            raise FerError("this model looks at each picture by itself: it takes no reference")
        self.neutral = self.cut(picture, faces="largest")[0].pixels

    def check_reference(self) -> None:
        """Refuses to go on without the neutral picture that the model wants.

        Raises:
            FerError: says how to give it.
        """
        if self.facts.reference and self.neutral is None:
            raise FerError(
                "this model compares each face with a neutral picture of the same person: say which with reference=PICTURE"
            )

    def answers(self, pixels: Pixels8) -> Answers:
        """The probabilities behind everything here.

        Args:
            pixels: [N, S, S, C] uint8 as `fer.data.faces.face_pixels` makes them.

        Raises:
            FerError: the model wants a neutral picture, and has none; or its answers are no probabilities of its labels.
        """
        if self.facts.reference:
            self.check_reference()
            assert self.neutral is not None
            pixels = np.concatenate((pixels, np.broadcast_to(self.neutral, pixels.shape)), axis=3)
        parts = [self.runtime.run(self.runtime.ready(part)) for part in self._batches(pixels)]
        answers = Answers(*(np.concatenate(head) for head in zip(*parts, strict=True)))
        sizes = tuple(head.shape for head in answers)
        if sizes != tuple((len(pixels), len(labels)) for labels in (self.facts.aus, self.facts.emotions)):
            raise FerError(f"{self.facts.name}: the network has not the labels that the file names: it is damaged")
        if not all(np.isfinite(head).all() for head in answers):
            raise FerError(f"{self.facts.name}: the network's answers are no numbers: its weights are damaged")
        return answers

    def _batches(self, pixels: Pixels8) -> Iterator[Pixels8]:
        for start in range(0, len(pixels), self.batch_size):
            yield pixels[start : start + self.batch_size]

    def _all(self, pictures: list[list[FaceCrop]]) -> list[list[Face]]:
        named = iter(self.name([crop for crops in pictures for crop in crops]))
        return [[next(named) for _ in crops] for crops in pictures]


def load(
    path: str | Path, *, accelerator: str = "auto", batch_size: int = BATCH_SIZE, precision: str = "f32"
) -> Predictor:
    """A finished model, ready for use.

    Args:
        path: a run folder, a checkpoint (`.ckpt`), or an exported `.safetensors`, `.onnx` or OpenVINO `.xml`; the last two are run
            without torch.
        accelerator: the processor of a checkpoint: `auto`, `cpu`, `gpu` or `mps`.
        batch_size: faces that go through the network at once.
        precision: a checkpoint computes in: `f32`, as it was judged, or `bf16`, faster where the processor has it. Exported
            files have their own.

    Raises:
        FerError: there is no model at `path`, it is damaged, or a package that it needs is not installed.
    """
    if precision not in PRECISIONS:
        raise FerError(f"precision must be {' or '.join(PRECISIONS)}, got {precision}")
    if batch_size < 1:
        raise FerError(f"batch_size must be at least 1, got {batch_size}")
    runtime = _runtime(path, accelerator, precision)
    if runtime.facts.warning:
        log.warning("%s", runtime.facts.warning)
    return Predictor(runtime, batch_size)


def _runtime(path: str | Path, accelerator: str, precision: str) -> Runtime:
    where = Path(path).expanduser()
    if where.suffix in (".onnx", ".xml"):
        if not where.is_file():
            raise FerError(f"checkpoint={path}: there is no such file")
        if precision != "f32" or accelerator not in ("auto", "cpu"):
            raise FerError(f"{path}: an exported file has a precision of its own, and is run on the CPU")
        return _exported(where)
    found = find_checkpoint(str(path))
    from fer.use.runtime_torch import TorchRuntime

    read = TorchRuntime.of_safetensors if found.suffix == ".safetensors" else TorchRuntime.of_checkpoint
    return read(found, accelerator, precision)


def _exported(path: Path) -> Runtime:
    if path.suffix == ".onnx":
        from fer.use.runtime_onnx import OnnxRuntime

        return OnnxRuntime(path)
    from fer.use.runtime_openvino import OpenVinoRuntime

    return OpenVinoRuntime(path)
