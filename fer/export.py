"""Export: a checkpoint as one file for another runtime: ONNX, OpenVINO, or its weights as safetensors.

Preprocessing, names, thresholds and calibration go into the file. It is written beside its place, run on the same pictures as the
checkpoint, and kept only if both give the same answers. `fer.predict checkpoint=FILE` uses it; .onnx and .xml without torch.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from fer.cli.command import Call, command
from fer.config import ExportConfig, export_format, export_output
from fer.errors import FerError
from fer.runs.folder import find_checkpoint

log = logging.getLogger("fer.export")  # not __name__: run with -m it is __main__


def run(cfg: ExportConfig, call: Call) -> None:
    """Writes, compares, keeps."""
    assert cfg.checkpoint is not None  # config.check
    output = export_output(cfg)
    target = output.absolute()
    refuse_taken(target, cfg.overwrite)
    find_checkpoint(cfg.checkpoint)
    from fer.use.exporting import agreement, export  # torch and all: only now that the settings are known to be good

    form = export_format(cfg)
    export.check_packages(form, cfg.precision)
    model = export.read_model(cfg.checkpoint, cfg.precision)
    pixels, calibration = export.read_pictures(model.facts, cfg.input, cfg.max_images)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        path = Path(folder) / target.name
        log.info("writing %s (%s)", target.name, cfg.precision)
        export.write(model, form, path, calibration)
        found = export.compare_answers(model, path, pixels)
        log.info("compared with the checkpoint: %s", found.in_words())
        agreement.refuse_beyond(found, cfg.precision)
        export.move_files(path, target)
    log.info("exported: %s, %.1f MB; use it with: python -m fer.predict checkpoint=%s input=...",
             target, export.megabytes(target), output)  # fmt: skip


def refuse_taken(target: Path, overwrite: bool) -> None:
    """Refuses a place that can't be written to.

    Raises:
        FerError: the file is there, or its folder is not.
    """
    if target.is_dir() or not target.parent.is_dir():
        raise FerError(f"output={target}: {'is a folder' if target.is_dir() else 'its folder does not exist'}")
    parts = (target, target.with_suffix(".bin")) if target.suffix == ".xml" else (target,)
    taken = next((part for part in parts if part.exists()), None)
    if taken is not None and not overwrite:
        raise FerError(f"output={target}: {taken} is there already: choose another name, or overwrite=true")


main = command("export", run)

if __name__ == "__main__":
    main()
