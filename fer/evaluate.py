"""Evaluate: the full table for any checkpoint on any data.

With the run's own data it repeats the numbers of its run folder; with other data it judges every picture that the model never saw.
Crop, size, names and thresholds are the checkpoint's own. An exported file is judged in the place of the checkpoint that it was made from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
import time
from pathlib import Path

from fer.cli.command import Call, command
from fer.config import OF_THE_MODEL, DataConfig, EvaluateConfig, absolute, as_dict, bad_source, from_dict
from fer.data.there import check_there
from fer.errors import FerError
from fer.runs.folder import RunFolder, check_free, find_checkpoint, folder_of

OF_THE_SPLIT = ("split_seed", "val_fraction", "test_fraction", "folds", "fold", "min_au_count")
"""Settings of `data` that an evaluation has no use for: people and units are the checkpoint's, and of other data everybody is judged."""

log = logging.getLogger("fer.evaluate")  # not __name__: run with -m it is __main__


def run(cfg: EvaluateConfig, call: Call) -> float | None:
    """One evaluation; returns its score."""
    if cfg.run_dir:
        check_free(folder_of(cfg.run_dir))
    assert cfg.checkpoint is not None  # config.check
    path = find_checkpoint(cfg.checkpoint)
    if "data" in call.keys:
        check_there(cfg.data)
    import pandas as pd

    from fer.data.splits import split_hash
    from fer.model.finished import load_module
    from fer.steps import (  # torch and all: only now that the settings are known to be good
        checks,
        deciding,
        describing,
        judging,
        reading,
    )
    from fer.steps.picturing import gallery
    from fer.steps.predicting import predict
    from fer.use.exporting.formats import EXPORTED
    from fer.use.exporting.judging_files import answered_by, open_exported
    from fer.use.facts import Facts
    from fer.use.runtime_torch import torch_device

    started = time.monotonic()
    if path.suffix in EXPORTED:
        raise FerError(
            f"checkpoint={cfg.checkpoint} was exported: name the run that it is of, and exported={cfg.checkpoint}"
        )
    module, card = load_module(path)
    own = from_dict(DataConfig, card["data"], str(path))
    data_cfg = chosen_data(own, cfg.data, call.keys)
    checks.check_accelerator(cfg.trainer.accelerator)
    facts = Facts.of_checkpoint(module.hparams, card, path)
    if facts.warning:
        log.warning("%s", facts.warning)
    exported = None if cfg.exported is None else open_exported(cfg.exported, facts)
    data, part = reading.read_to_judge(data_cfg, module, card, cfg.split, cfg.cache_dir, progress=cfg.trainer.progress)
    predictions, features = predict(module, data, [part], cfg.trainer.accelerator)
    if exported is not None:
        predictions = answered_by(exported, predictions, data.prepared, part, exported.facts.temperature)
    decided, metrics = judging.judge_all(deciding.as_of_others(predictions, module), card)
    judging.add_probes(metrics, decided, features, data.prepared, call.kept)
    # the card's name is what some file says: it must not lead out of outputs/
    name = cfg.name or re.sub(r"[^\w+=,@-]", "-", str(card["name"]))
    where = call.folder("evaluate", cfg.run_dir, name)
    folder = RunFolder.create(
        where,
        {**as_dict(cfg), "name": name, "data": as_dict(data_cfg)},
        call.line,
        numbered=cfg.run_dir is None and call.sweep_dir is None,
    )
    folder.log_to_file("evaluate.log")
    judged = decided[["subject", "split"]].drop_duplicates()
    # of the run's own data everybody's, as the run itself has it: whom the model has learned from counts as well
    own_data = data.prepared.fingerprint == card["data_fingerprint"]
    people = pd.DataFrame(card["split"].items(), columns=["subject", "split"]) if own_data else judged
    folder.note(
        checkpoint=str(path),
        exported=cfg.exported,
        split=part,
        data={**describing.about_data(data_cfg, data.prepared), "split_hash": split_hash(people.astype(str))},
        checkpoint_sha256=_sha256(path),
        weights=describing.about_weights(
            card["weights"], card.get("weights_sha256"), data.prepared, [part], card.get("seen_in_weights")
        ),
        device=str(torch_device(cfg.trainer.accelerator if exported is None else "cpu")),
        precision=(exported.facts if exported else facts).precision,
    )
    data.prepared.skipped.table().to_csv(folder.path / "skipped.csv", index=False)
    judged.to_csv(folder.path / "split.csv", index=False)
    pictures = card.get("pictures", True) if cfg.report.pictures is None else cfg.report.pictures
    pictures = pictures and not exported  # heat is the checkpoint's, and an exported file has none
    judging.write_scores(folder, decided, metrics)
    judging.write_results(folder, metrics, gallery=gallery(module, data, decided, part) if pictures else None)
    folder.note(timings={"total_s": round(time.monotonic() - started, 1)})
    score: float | None = metrics[part]["score"]
    return score


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def chosen_data(own: DataConfig, typed: DataConfig, keys: list[str]) -> DataConfig:
    """The run's own data, changed by what was typed; anew from `data=NAME`, if that was.

    Raises:
        FerError: a setting was typed that is the model's to make, or the reader lacks its folder or table.
    """
    changed = {key.removeprefix("data.") for key in keys if key.startswith("data.")}
    fixed = sorted(changed & set(OF_THE_MODEL))
    if fixed:
        raise FerError(
            f"data.{fixed[0]} is stored in the checkpoint ({getattr(own, fixed[0])}) and can't be changed here"
        )
    settled = sorted(changed & set(OF_THE_SPLIT))
    if settled:
        raise FerError(
            f"data.{settled[0]} has no effect on an evaluation: who is where, and which units count, stands in the checkpoint, and of "
            "other data everybody is judged"
        )
    if "data" in keys:
        chosen = dataclasses.replace(typed, **{k: getattr(own, k) for k in OF_THE_MODEL})
    else:
        chosen = dataclasses.replace(own, **{k: getattr(typed, k) for k in changed})
        if (
            "table" in changed and "root" not in changed
        ):  # that of the old table may hold other pictures of the same names
            chosen = dataclasses.replace(chosen, root=None)
    problems = bad_source(chosen)
    if problems:
        raise FerError(problems[0])
    return absolute(chosen)


main = command("evaluate", run)

if __name__ == "__main__":
    main()
