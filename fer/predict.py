"""Predict: pictures, a folder, a table, a video or a camera in; action units and emotion of every face out.

Crop, names, thresholds and calibration are the checkpoint's own. One picture gives a table on the terminal; output=FILE.csv or FILE.jsonl
gets a row per face, written as it goes; annotate=FOLDER gets pictures with boxes, emotion and active units. An exported .onnx or .xml
file is used without torch.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, cast

from fer.cli.command import Call, command
from fer.config import PredictConfig

if TYPE_CHECKING:
    from fer.use.crops import Which

log = logging.getLogger("fer.predict")  # not __name__: run with -m it is __main__


def run(cfg: PredictConfig, call: Call) -> None:
    """Looks at everything that `input` means."""
    assert cfg.checkpoint is not None and cfg.input is not None  # config.check
    # what reads pictures and runs networks: only now that the settings are known to be good
    from fer.use.destinations import Destinations, refuse_taken
    from fer.use.predictor import load
    from fer.use.sources import open_source
    from fer.use.stream import look_at

    refuse_taken(cfg.output, cfg.annotate, cfg.overwrite)
    source = open_source(cfg.input, cfg.every)
    predictor = load(cfg.checkpoint, accelerator=cfg.accelerator, batch_size=cfg.batch_size, precision=cfg.precision)
    if not source.video and (cfg.every > 1 or cfg.smoothing):
        log.warning("every and smoothing are for videos: they have no effect on input=%s", cfg.input)
    if cfg.reference is not None:
        predictor.compare_with(cfg.reference)
    predictor.check_reference()
    out = Destinations(cfg, predictor.facts, source)
    found = look_at(
        predictor,
        source,
        faces=cast("Which", cfg.faces),
        smallest=cfg.smallest_face,
        smoothing=cfg.smoothing,
        keep_pictures=cfg.annotate is not None,
    )
    with out, closing(found):
        for seen in found:
            out.take(seen)
    out.summarise()


main = command("predict", run)

if __name__ == "__main__":
    main()
