"""A trained network and data in; predictions, thresholds and scores out. What `fer.train` and `fer.evaluate` share."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from fer.config import AugmentConfig, DataConfig
from fer.data.cache import default_cache_dir
from fer.data.datamodule import FaceData
from fer.data.faces import PIXELS_VERSION
from fer.data.prepare import Prepared
from fer.errors import FerError, first_line
from fer.model.checkpoints import CARD, load_checkpoint, write_atomically
from fer.model.module import FaceModule
from fer.results.predictions import au_columns
from fer.results.report import write_report
from fer.results.scores import judge
from fer.results.tables import print_scores
from fer.results.thresholds import choose_thresholds
from fer.runs import RunFolder, write_text

log = logging.getLogger(__name__)


def load_module(path: Path) -> tuple[FaceModule, dict[str, Any]]:
    """The module of a checkpoint, in eval mode, and its card (`checkpoints.CARD`).

    Raises:
        FerError: the file is not a checkpoint of this program, or does not fit this version of it.
    """
    checkpoint = load_checkpoint(path)
    try:
        module = FaceModule(**checkpoint["hyper_parameters"])
        module.load_state_dict(checkpoint["state_dict"])
        pixels_version = checkpoint["hyper_parameters"]["preprocessing"]["pixels_version"]
    except (TypeError, KeyError, RuntimeError) as error:
        written_by = checkpoint[CARD].get("fer_version", "another version")
        raise FerError(
            f"{path} was written by fer {written_by} and does not fit this one: {first_line(error)}"
        ) from error
    if pixels_version != PIXELS_VERSION:
        raise FerError(
            f"{path} was trained on faces cropped in another way (version {pixels_version}, here {PIXELS_VERSION})"
        )
    return module.eval(), checkpoint[CARD]


def set_up(data: FaceData, show: bool) -> FaceData:
    """Sets the data up behind a progress bar for what takes long: drawing and decoding."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("reading pictures", total=None)
        data.progress = lambda n, total: bar.update(task, completed=n, total=total)
        data.setup()
    return data


def check_accelerator(name: str) -> None:
    """Refuses a processor that is not there.

    Raises:
        FerError: `trainer.accelerator` names a GPU, and torch finds none.
    """
    found = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found.get(name, True):
        raise FerError(f"trainer.accelerator={name}: torch finds none on this machine; use auto or cpu")


def cache_folder(cache_dir: str | None) -> Path:
    """The folder that `cache_dir=` means."""
    return Path(cache_dir).expanduser().absolute() if cache_dir else default_cache_dir()


def read_data(
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
    prepared = set_up(data, progress).prepared
    own = prepared.fingerprint == card["data_fingerprint"]
    part = part or ("test" if own else "all")
    if part == "all":
        people = prepared.table["subject"]
        seen = np.isin(picture_hashes(prepared, prepared.table), card["seen"].numpy())
        seen |= np.isin(name_hashes(prepared.table), card["seen_names"].numpy())
        known = people.isin(people[seen])  # all of a person of whom the model has seen one picture
        if own:
            known |= people.astype(str).map(card["split"]).isin(("train", "val"))
        if known.any():
            log.info("left out: %d pictures of people that the model was trained or tuned on", int(known.sum()))
        table = prepared.table[~known].assign(split="all")
    elif own:
        table = prepared.table.assign(split=prepared.table["subject"].astype(str).map(card["split"]))
    else:
        raise FerError(
            f"split={part}: this is not the data that the model was trained on, so nobody in it has a split: use split=all"
        )
    if not (table["split"] == part).any():
        raise FerError(f"split={part}: there is no picture of it in this data")
    data.prepared = dataclasses.replace(prepared, table=table.reset_index(drop=True))
    return data, part


def picture_hashes(prepared: Prepared, table: pd.DataFrame) -> np.ndarray:
    """[n] int64: a hash of each row's stored pixels, by which a checkpoint knows the pictures that it has seen."""
    return _hashes(prepared.pixels.array[row].tobytes() for row in table["pixel"])


def name_hashes(table: pd.DataFrame) -> np.ndarray:
    """[n] int64: a hash of each row's person, folder and file name, which stay the same when pictures are cropped in another way."""
    parts = (Path(path).parts[-2:] for path in table["path"])
    return _hashes("/".join((str(who), *part)).encode() for who, part in zip(table["subject"], parts, strict=True))


def _hashes(contents: Iterable[bytes]) -> np.ndarray:
    digests = (hashlib.blake2b(content, digest_size=8).digest() for content in contents)
    return np.frombuffer(b"".join(digests), dtype="<i8")


def predict(module: FaceModule, data: FaceData, parts: list[str], accelerator: str) -> pd.DataFrame:
    """The predictions table of the given splits, without decisions for the AUs yet.

    In full precision whatever the training was in, so that the numbers are the checkpoint's and not the machine's.
    """
    data.predicted = parts
    with quiet_lightning():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=1,
            logger=False,
            deterministic="warn",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        outputs = trainer.predict(module, datamodule=data)
    assert outputs is not None
    per_part = [outputs] if len(parts) == 1 else outputs
    tables = [_table(part, data, module, list(batches)) for part, batches in zip(parts, per_part, strict=True)]
    return pd.concat(tables, ignore_index=True)


def _table(part: str, data: FaceData, module: FaceModule, batches: list[Any]) -> pd.DataFrame:
    rows = data.prepared.part(part)
    found: dict[str, Tensor] = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    if found["index"].tolist() != list(range(len(rows))):
        raise AssertionError(f"{part}: {len(found['index'])} predictions for {len(rows)} pictures, or in another order")
    columns: dict[str, Any] = {"path": rows["path"], "subject": rows["subject"], "split": part}
    for k, au in enumerate(module.aus):
        columns[f"AU{au}"] = rows.get(f"AU{au}", pd.Series(pd.NA, rows.index, dtype="Int8"))
        columns[f"AU{au}_prob"] = found["au"][:, k].numpy()
    if module.emotions:
        columns["emotion"] = rows["emotion"]
        columns["emotion_pred"] = [module.emotions[k] for k in found["emotion"].argmax(1).tolist()]
        columns |= {f"emotion_prob_{name}": found["emotion"][:, k].numpy() for k, name in enumerate(module.emotions)}
    return pd.DataFrame(columns)


def keep_thresholds(path: Path, predictions: pd.DataFrame) -> dict[str, float]:
    """Chooses a threshold per AU on the validation rows, keeps it in the checkpoint's card, and returns it."""
    validation = predictions[predictions["split"] == "val"]
    thresholds = choose_thresholds(validation, au_columns(validation)) if au_columns(validation) else {}
    checkpoint = load_checkpoint(path)
    checkpoint[CARD]["thresholds"] = thresholds
    write_atomically(checkpoint, path)
    return thresholds


def judge_all(predictions: pd.DataFrame, card: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Decides by the card's thresholds and judges each split.

    Returns:
        The table with decisions, and the content of `metrics.json`.

    Raises:
        FerError: no row has a label that the model has an answer for.
    """
    decided = _with_decisions(predictions, card["thresholds"])
    metrics = {
        str(part): judge(rows, card["thresholds"], base_rates=card["au_rates"], emotion_rates=card["emotion_rates"])
        for part, rows in decided.groupby("split", sort=False)
    }
    if not any(head in scores for scores in metrics.values() for head in ("au", "emotion")):
        raise FerError(
            "none of these pictures has a label that the model gives an answer for: there is nothing to judge"
        )
    return decided, metrics


def write_results(folder: RunFolder, decided: pd.DataFrame, metrics: dict[str, Any]) -> None:
    """Leaves `predictions.csv`, `metrics.json` and `report.html`, prints the table, and marks the run finished, in this order."""
    write_text(folder.path / "predictions.csv", decided.to_csv(index=False))
    folder.write_json("metrics.json", metrics)
    report = write_report(folder.path)
    folder.note(finished=True, timings={**folder.about.get("timings", {}), "total_s": folder.seconds()})
    print_scores(metrics, Console())
    log.info("report: %s", report)


def _with_decisions(predictions: pd.DataFrame, thresholds: dict[str, float]) -> pd.DataFrame:
    decided = predictions.copy()
    for name in au_columns(predictions):
        place = decided.columns.get_loc(f"{name}_prob")
        assert isinstance(place, int)
        decided.insert(place + 1, f"{name}_pred", (decided[f"{name}_prob"] >= thresholds[name]).astype("int8"))
    return decided


def about_data(cfg: DataConfig, prepared: Prepared) -> dict[str, Any]:
    """What `run.json` says of the data."""
    return {
        "name": cfg.name,
        "root": cfg.root or cfg.table,
        "fingerprint": prepared.fingerprint,
        "n_images": len(prepared.table),
        "n_subjects": int(prepared.table["subject"].nunique()),
        "skipped": prepared.skipped.counts(),
        "crops": prepared.crops(),
    }


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps Lightning's tips and device lines off the terminal: `run.json` and our own lines say what matters."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated")  # Lightning 2.6 on torch 2.15
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings(
            "ignore", message=".*custom batch sampler"
        )  # ours gives every picture, which is checked
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        yield
