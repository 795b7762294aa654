"""A trained network and data in; the predictions table, thresholds and scores out. The same for every command that judges."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from torch import Tensor

from fer.data.datamodule import FaceData
from fer.model.checkpoints import CARD, load_checkpoint, write_atomically
from fer.model.module import FaceModule
from fer.results.predictions import au_columns
from fer.results.scores import judge
from fer.results.thresholds import choose_thresholds


def load_module(path: Path) -> tuple[FaceModule, dict[str, Any]]:
    """The module of a checkpoint, in eval mode, and its card (`checkpoints.CARD`).

    Raises:
        FerError: the file is not a checkpoint of this program, or does not fit this version of it.
    """
    checkpoint = load_checkpoint(path)
    module = FaceModule(**checkpoint["hyper_parameters"])
    module.load_state_dict(checkpoint["state_dict"])
    return module.eval(), checkpoint[CARD]


def predict(module: FaceModule, data: FaceData, parts: list[str], accelerator: str) -> pd.DataFrame:
    """The predictions table of the given splits, without decisions for the AUs yet.

    In full precision whatever the training was in, so that the numbers are the checkpoint's and not the machine's.
    """
    data.predicted = parts
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
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
    gathered: dict[str, Tensor] = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    if gathered["index"].tolist() != list(range(len(rows))):
        raise AssertionError(
            f"{part}: {len(gathered['index'])} predictions for {len(rows)} pictures, or in another order"
        )
    columns: dict[str, Any] = {"path": rows["path"], "subject": rows["subject"], "split": part}
    for k, au in enumerate(module.aus):
        columns[f"AU{au}"] = rows.get(f"AU{au}", pd.Series(pd.NA, rows.index, dtype="Int8"))
        columns[f"AU{au}_prob"] = gathered["au"][:, k].numpy()
    if module.emotions:
        columns["emotion"] = rows["emotion"]
        columns["emotion_pred"] = [module.emotions[k] for k in gathered["emotion"].argmax(1).tolist()]
        columns |= {f"emotion_prob_{name}": gathered["emotion"][:, k].numpy() for k, name in enumerate(module.emotions)}
    return pd.DataFrame(columns)


def with_decisions(predictions: pd.DataFrame, thresholds: dict[str, float]) -> pd.DataFrame:
    """The table with `AU<n>_pred` (0/1) behind each `AU<n>_prob`."""
    decided = predictions.copy()
    for name in au_columns(predictions):
        place = decided.columns.get_loc(f"{name}_prob")
        assert isinstance(place, int)
        decided.insert(place + 1, f"{name}_pred", (decided[f"{name}_prob"] >= thresholds[name]).astype("int8"))
    return decided


def keep_thresholds(path: Path, predictions: pd.DataFrame) -> dict[str, float]:
    """Chooses a threshold per AU on the validation rows, keeps it in the checkpoint's card, and returns it."""
    validation = predictions[predictions["split"] == "val"]
    thresholds = choose_thresholds(validation, au_columns(validation)) if au_columns(validation) else {}
    checkpoint = load_checkpoint(path)
    checkpoint[CARD]["thresholds"] = thresholds
    write_atomically(checkpoint, path)
    return thresholds


def scores_by_split(predictions: pd.DataFrame, card: dict[str, Any]) -> dict[str, Any]:
    """The content of `metrics.json`: each split of the table judged with the card's thresholds and base rates."""
    return {
        str(part): judge(rows, card["thresholds"], base_rates=card["au_rates"], emotion_rates=card["emotion_rates"])
        for part, rows in predictions.groupby("split", sort=False)
    }


def silence_lightning() -> None:
    """Keeps Lightning's tips and device lines off the terminal: `run.json` and our own lines say what matters."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
