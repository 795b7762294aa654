"""A trained network and data in; its answers as a table out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from scipy.special import expit, softmax
from torch import Tensor

from fer.data.datamodule import FaceData
from fer.model.module import FaceModule
from fer.model.network import full_precision


def predict(module: FaceModule, data: FaceData, parts: list[str], accelerator: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The network's answers for the given splits.

    In full precision whatever the training was in, so that the numbers are the checkpoint's and not the machine's.

    Returns:
        The predictions table, not calibrated yet and without decisions for the AUs, and the backbone's features, [rows, F] float16.
    """
    data.predicted = parts
    if data.features is not None:
        data.features = data.features.in_full_precision()
    with quiet_lightning(), unfilled_memory(), full_precision():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=1,
            plugins=[LightningEnvironment()],  # by itself, also after training in a team of processes
            logger=False,
            deterministic="warn",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            outputs = trainer.predict(module, datamodule=data)
        except SystemExit as stopped:  # Lightning's answer to Ctrl-C, which says nothing
            raise KeyboardInterrupt from stopped
    assert outputs is not None
    per_part = [outputs] if len(parts) == 1 else outputs
    found = [{name: torch.cat([batch[name] for batch in batches]) for name in batches[0]} for batches in per_part]
    tables = [_table(part, data, module, answers) for part, answers in zip(parts, found, strict=True)]
    return pd.concat(tables, ignore_index=True), torch.cat([answers["features"] for answers in found]).numpy()


def _table(part: str, data: FaceData, module: FaceModule, answers: dict[str, Tensor]) -> pd.DataFrame:
    rows = data.prepared.part(part)
    if answers["index"].tolist() != list(range(len(rows))):
        raise AssertionError(
            f"{part}: {len(answers['index'])} predictions for {len(rows)} pictures, or in another order"
        )
    found = {head: answers[head].double().numpy() for head in ("au", "emotion") if head in answers}
    columns: dict[str, Any] = {"path": rows["path"], "subject": rows["subject"], "split": part}
    for k, au in enumerate(module.aus):
        columns[f"AU{au}"] = rows.get(f"AU{au}", pd.Series(pd.NA, rows.index, dtype="Int8"))
        columns[f"AU{au}_prob"] = expit(found["au"][:, k])
    if module.emotions:
        columns["emotion"] = rows["emotion"]
        columns["emotion_pred"] = [module.emotions[k] for k in found["emotion"].argmax(1)]
        shares = softmax(found["emotion"], axis=1)
        columns |= {f"emotion_prob_{name}": shares[:, k] for k, name in enumerate(module.emotions)}
    return pd.DataFrame(columns)


@contextmanager
def unfilled_memory() -> Iterator[None]:
    """Spares what torch does for programs that read memory before they write it, when it is asked for the same bits twice.

    It would fill every new tensor with NaN: a tenth of a bf16 step of ResNet50 on two cores.
    """
    was = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # of the module's own class
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = was  # type: ignore[attr-defined]


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
        warnings.filterwarnings("ignore", message=".*sync_dist=True")  # our metrics are those of all processes already
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        yield
