"""Data read, split and cached: to train on, or to judge a finished model on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import Progress

from fer.config import AugmentConfig, DataConfig, TrainConfig, as_dict
from fer.data import duplicates
from fer.data.cache import cache_folder
from fer.data.datamodule import FaceData
from fer.data.seen import of_known_people
from fer.errors import FerError
from fer.model.checkpoints import all_seen
from fer.model.module import FaceModule
from fer.runs.jobs import Kept

log = logging.getLogger(__name__)

OF_BATCHES: dict[str, Any] = {"batch_size": 1, "workers": 0, "views": 0, "cache_features": False}
"""Settings of `data` that say how it is drawn from, not what it is."""


def set_up(data: FaceData, show: bool) -> FaceData:
    """Sets the data up behind a progress bar for what takes long: drawing and decoding."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("reading pictures", total=None)
        data.progress = lambda n, total: bar.update(task, completed=n, total=total)
        data.setup()
    return data


def opened(cfg: TrainConfig, kept: Kept) -> FaceData:
    """The data of a run, whatever is in it; that of an earlier job, if it is the same."""
    data = FaceData(cfg.data, cfg.augment, cfg.seed, cache_folder(cfg.cache_dir))
    data.landmarks = cfg.loss.landmark_weight > 0
    settings = as_dict(dataclasses.replace(cfg.data, **OF_BATCHES)), cfg.cache_dir
    data.prepared = kept.get("data", settings, lambda: set_up(data, cfg.trainer.progress).prepared)
    data.setup()
    return data


def _leave_out_heads(cfg: TrainConfig, data: FaceData) -> None:
    """Takes away heads that would learn nothing: their answers would choose the checkpoint and be judged.

    Raises:
        FerError: none is left.
    """
    if not cfg.loss.au_weight and data.aus:
        if not data.emotions:
            raise FerError("loss.au_weight=0, and there is no emotion label to learn from: nothing would be learned")
        data.aus = []
    if not cfg.loss.emotion_weight and data.emotions:
        if not data.aus:
            raise FerError("loss.emotion_weight=0, and there is no AU label to learn from: nothing would be learned")
        data.emotions = ()


def read_data(cfg: TrainConfig, kept: Kept | None = None) -> FaceData:
    """The data, read, split and cached; that of an earlier job of the sweep, if it is the same.

    Raises:
        FerError: see `fer.data.prepare.prepare`; or no label is left for either head.
    """
    data = opened(cfg, kept or Kept())
    prepared = data.prepared
    if not data.aus and not data.emotions:
        raise FerError(
            f"the training split has no emotion label and no AU with data.min_au_count={cfg.data.min_au_count} positives: "
            "nothing can be learned"
        )
    if cfg.loss.balance == "fixed":
        _leave_out_heads(cfg, data)
    _refuse_empty(data)
    if data.landmarks and not cfg.data.fresh_pictures and not _has_landmarks(prepared.part("train")):
        raise FerError(
            "loss.landmark_weight: no picture of the training split has landmarks to learn from; set it to 0"
        )
    if cfg.loss.consistency_weight and not (data.aus and data.emotions and data.aus_by_emotion().any()):
        raise FerError(
            "loss.consistency_weight: no picture of the training split has both AU labels and an emotion; set it to 0"
        )
    if not data.aus:
        log.info("no AU labels to learn from: the emotion head is trained alone")
    if not data.emotions:
        log.info("no emotion labels to learn from: the AU head is trained alone")
    sizes = {part: (len(rows), rows["subject"].nunique()) for part, rows in prepared.table.groupby("split")}
    log.info(
        "data: %s",
        ", ".join(
            f"{part} {sizes[part][0]} pictures of {sizes[part][1]} people"
            for part in ("train", "val", "test")
            if part in sizes
        ),
    )
    log.info("faces found by: %s", ", ".join(f"{how} {n}" for how, n in prepared.crops().items()))
    log.info("AUs: %s; emotions: %s", ", ".join(map(str, data.aus)) or "none", ", ".join(data.emotions) or "none")
    return data


def _has_landmarks(rows: pd.DataFrame) -> bool:
    return "landmarks" in rows and bool(rows["landmarks"].notna().any())


def _refuse_empty(data: FaceData) -> None:
    for part in ("train", "val"):
        rows = data.prepared.part(part)
        labelled = [f"AU{au}" for au in data.aus if rows.get(f"AU{au}", pd.Series(dtype="Int8")).nunique() == 2]
        if not labelled and (not data.emotions or rows["emotion"].isna().all()):
            raise FerError(
                f"the {part} split has {len(rows)} pictures and no label that could be judged: more people or labels are needed, "
                "or another data.val_fraction or data.split_seed"
            )


def _tell_of_shared_names(judged: pd.Series[str], split: Mapping[str, str]) -> None:
    """A name proves nothing, as S005 is somebody in many sets; but pictures that were saved anew can't be told by their hashes."""
    people = set(judged.astype(str))
    shared = people & {name for name, part in split.items() if part != "test"}
    if shared:
        log.warning(
            "%d of %d people bear names of people that the model was trained or tuned on: if they are the same, the scores are too good",
            len(shared),
            len(people),
        )


def read_to_judge(
    cfg: DataConfig,
    module: FaceModule,
    card: dict[str, Any],
    part: str | None,
    cache_dir: str | None,
    *,
    progress: bool,
) -> tuple[FaceData, str]:
    """Data to judge a finished model on, and the part of it that is judged.

    The people of the run's own data keep the split that the checkpoint remembers. Of other data everything counts as `all`.

    Args:
        part: `train`, `val`, `test`, `all`, or None: `test` for the run's own data, else `all`.

    Raises:
        FerError: see `fer.data.prepare.prepare`; or there is nothing of `part` in this data.
    """
    data = FaceData(
        cfg, AugmentConfig(name="none"), 0, cache_folder(cache_dir), labels=(module.aus, tuple(module.emotions))
    )
    data.only = card["data_fingerprint"] if part in ("train", "val", "test") else None
    prepared = set_up(data, progress).prepared
    own = prepared.fingerprint == card["data_fingerprint"]
    part = part or ("test" if own else "all")
    shared = _with_splits(prepared.shared, card["split"]) if own else prepared.shared
    duplicates.warn(shared)
    if part == "all":
        known = of_known_people(prepared, **all_seen(card))
        if own:
            known |= prepared.table["subject"].astype(str).map(card["split"]).isin(("train", "val"))
        _tell_of_shared_names(prepared.table.loc[~known, "subject"], card["split"])
        if known.any():
            log.info("left out: %d pictures of people that the model was trained or tuned on", int(known.sum()))
        table = prepared.table[~known].assign(split="all")
    else:
        table = prepared.table.assign(split=prepared.table["subject"].astype(str).map(card["split"]))
    if not (table["split"] == part).any():
        raise FerError(f"split={part}: there is no picture of it in this data")
    data.prepared = dataclasses.replace(prepared, table=table.reset_index(drop=True), shared=shared)
    return data, part


def _with_splits(shared: pd.DataFrame, split: dict[str, str]) -> pd.DataFrame:
    """Pairs of `fer.data.duplicates.shared_pictures`, with the splits of their people."""
    people = {"split": "subject", "other_split": "other_subject"}
    return shared.assign(**{part: shared[person].astype(str).map(split) for part, person in people.items()})
