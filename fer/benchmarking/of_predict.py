"""`what=predict`: each runtime that is installed, on the frames of the data, with boxes given and with faces to find."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from fer.benchmarking.bench import Bench
from fer.benchmarking.clock import Stage, alternate, timed
from fer.benchmarking.findings import Findings, of
from fer.benchmarking.memory import Peak
from fer.config import PredictConfig
from fer.data.faces import Box
from fer.errors import FerError
from fer.runs.surroundings import usable_cores
from fer.use.background import in_background
from fer.use.destinations import Destinations
from fer.use.exporting import export
from fer.use.exporting.export import Model
from fer.use.facts import Facts
from fer.use.items import Item, Source
from fer.use.predictor import Predictor, load
from fer.use.runtime_torch import TorchRuntime
from fer.use.stream import look_at

GOAL = ">= 0.85"

FILES = (
    ("onnx f32", "onnx", "f32", ".onnx"),
    ("onnx int8", "onnx", "int8", ".onnx"),
    ("openvino f32", "openvino", "f32", ".xml"),
    ("openvino bf16", "openvino", "bf16", ".xml"),
    ("openvino int8", "openvino", "int8", ".xml"),
)
"""Name, format, precision and ending of what is exported."""

N_CALIBRATE = 64


def measure(bench: Bench, budget: float, found: Findings) -> None:
    """Adds everything of `fer.predict` to `found`: one runtime after the other, as they would share memory and threads otherwise."""
    with Peak() as peak:
        for name, predictor in runtimes(bench, found):
            each = stages(bench, name, predictor)
            rates = alternate(each, budget)
            found.stages |= rates.as_json()
            for kind, cut in (("boxes given", "decode + crop"), ("faces to find", "decode + find + crop")):
                own, parts = f"predict, {name}, {kind}", (f"{cut}, {name}", f"bare forward, {name}")
                measured = of(rates.images_per_s(own), rates.images_per_s(*parts))
                found.add(f"{own} / its parts", rates.ratio(own, *parts), measured, GOAL, rates.core_ratio(own, *parts))
    found.memory["predict"] = peak.as_json()


def runtimes(bench: Bench, found: Findings) -> Iterator[tuple[str, Predictor]]:
    """Torch in each precision, then what can be exported here; what can't stands in `found.left_out`."""
    module = bench.module().cpu().eval()
    facts = dataclasses.replace(Facts.of_checkpoint(module.hparams, module.card, "the module"), warning="")
    accelerator = bench.cfg.trainer.accelerator
    for precision in ("f32", "bf16"):
        runtime = TorchRuntime(module, facts, accelerator, precision)
        yield f"torch {precision}", Predictor(runtime, bench.batch_size)
    module.cpu()
    for name, form, precision, ending in FILES:
        path = bench.scratch / f"{bench.label}{form}-{precision}{ending}"
        try:
            export.check_packages(form, precision)
            pixels = bench.data.prepared.pixels.array[:N_CALIBRATE] if precision == "int8" else None
            facts_of = Facts(**{**vars(facts), "precision": precision})
            export.write(Model(module, facts_of), form, path, pixels)
        except FerError as missing:
            found.left_out[f"predict, {name}"] = str(missing)
            continue
        yield name, load(path, batch_size=bench.batch_size)


def stages(bench: Bench, name: str, predictor: Predictor) -> list[Stage]:
    """With boxes and without: decoding and cropping alone, the network alone, and `fer.predict` as a whole."""
    pictures = _Pictures(bench)
    pixels = np.array(bench.data.prepared.pixels.array[: bench.batch_size])
    pixels = pixels[np.arange(bench.batch_size) % len(pixels)]
    ready = predictor.runtime.ready(pixels)

    def forward(n: int) -> int:
        for _ in range(n):
            predictor.runtime.run(ready)
        return n * bench.batch_size

    def cut(given: bool, n: int) -> int:
        def work(item: Item) -> object:
            return predictor.cut(item.picture, item.boxes, "largest")

        source = pictures.source(n * bench.batch_size, given)
        with closing(in_background(source.items, work, usable_cores(), bench.batch_size)) as done:
            return len(list(done))

    def whole(given: bool, n: int) -> int:
        source = pictures.source(n * bench.batch_size, given)
        cfg = PredictConfig(output=str(bench.scratch / "answers.csv"), overwrite=True, progress=False)
        found = look_at(predictor, source, faces="largest")
        with Destinations(cfg, predictor.facts, source) as out, closing(found):
            for seen in found:
                out.take(seen)
        return n * bench.batch_size

    return [
        timed(f"{bench.label}decode + crop, {name}", lambda n: cut(True, n)),
        timed(f"{bench.label}decode + find + crop, {name}", lambda n: cut(False, n)),
        timed(f"{bench.label}bare forward, {name}", forward),
        timed(f"{bench.label}predict, {name}, boxes given", lambda n: whole(True, n)),
        timed(f"{bench.label}predict, {name}, faces to find", lambda n: whole(False, n)),
    ]


class _Pictures:
    """The files of the data with the boxes that were found in them, as often as wanted."""

    def __init__(self, bench: Bench) -> None:
        table, boxes = bench.data.prepared.table, bench.data.prepared.pixels.boxes
        self._known = [
            (str(path), Box(*boxes[pixel].tolist())) for path, pixel in zip(table["path"], table["pixel"], strict=True)
        ]

    def source(self, n: int, given: bool) -> Source:
        chosen = islice(cycle(self._known), n)
        return Source((Item(path, Path(path), (box,) if given else None) for path, box in chosen), n)
