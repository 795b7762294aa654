"""What a run folder and its checkpoints say of the run: data, split, what was seen, first weights, machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fer.config import DataConfig, TrainConfig, as_dict
from fer.data.datamodule import FaceData
from fer.data.duplicates import across_splits
from fer.data.prepare import Prepared, is_judged
from fer.data.seen import file_hashes, of_known_people, picture_hashes
from fer.data.splits import split_hash
from fer.model.weights import Weights
from fer.results.baselines import au_base_rates, emotion_base_rates
from fer.runs.folder import RunFolder
from fer.runs.jobs import Kept
from fer.version import __version__

log = logging.getLogger(__name__)


def seen_of(data: FaceData, kept: Kept) -> dict[str, torch.Tensor]:
    """Hashes of the training and validation pictures (`fer.data.seen`): `seen`, `seen_files`."""

    def make() -> dict[str, torch.Tensor]:
        prepared = data.prepared
        split = prepared.table["split"]
        # pictures that are drawn anew take the place of the training split's own
        rows = prepared.table[split == "val" if data.cfg.fresh_pictures else split != "test"]
        hashes = {"seen": picture_hashes(prepared, rows), "seen_files": file_hashes(prepared, rows)}
        return {name: torch.from_numpy(values.copy()) for name, values in hashes.items()}

    return kept.get("seen", data.prepared, make)


def make_card(cfg: TrainConfig, data: FaceData, weights: Weights, kept: Kept) -> dict[str, Any]:
    """What a checkpoint says of itself (`checkpoints.CARD`), before anything is judged."""
    train = data.prepared.part("train")
    like_judged = train[
        is_judged(train, data.cfg.judged_frames)
    ]  # baselines know what kind of pictures they are judged on
    return {
        "fer_version": __version__,
        "data": as_dict(cfg.data),
        "data_fingerprint": data.prepared.fingerprint,
        "split": dict(split_of(data).itertuples(index=False)),
        "weights": weights.source,
        "weights_sha256": weights.sha256,
        "name": cfg.name,
        "pictures": bool(cfg.report.pictures),
        **seen_of(data, kept),
        "seen_in_weights": weights.seen or {},
        "temperature": {"au": 1.0, "emotion": 1.0},
        "thresholds": {f"AU{au}": 0.5 for au in data.aus},
        "au_rates": au_base_rates(like_judged, [f"AU{au}" for au in data.aus]),
        "emotion_rates": emotion_base_rates(like_judged, list(data.emotions)) if data.emotions else {},
    }


def split_of(data: FaceData) -> pd.DataFrame:
    """`subject` and `split` as text."""
    assert data.prepared.split is not None
    return data.prepared.split.astype(str)


def about_data(cfg: DataConfig, prepared: Prepared) -> dict[str, Any]:
    """What `run.json` says of the data."""
    return {
        "name": cfg.name,
        "root": cfg.root,
        "table": cfg.table,
        "fingerprint": prepared.fingerprint,
        "n_images": len(prepared.table),
        "n_subjects": int(prepared.table["subject"].nunique()),
        "skipped": prepared.skipped.counts(),
        "crops": prepared.crops(),
        "near_identical": {"pairs": len(prepared.shared), "across_splits": len(across_splits(prepared.shared))},
    }


def describe(folder: RunFolder, cfg: TrainConfig, data: FaceData, weights: Weights) -> None:
    """Writes `split.csv` and what `run.json` says of data, weights and machine."""
    prepared = data.prepared
    split_of(data).to_csv(folder.path / "split.csv", index=False)
    prepared.skipped.table().to_csv(folder.path / "skipped.csv", index=False)
    if len(prepared.shared):
        prepared.shared.to_csv(folder.path / "near_duplicates.csv", index=False)
    folder.note(
        data={**about_data(cfg.data, prepared), "split_hash": split_hash(split_of(data))},
        weights=about_weights(
            weights.source, weights.sha256, prepared, ("val", "test"), weights.seen, warning=weights.warning
        ),
        precision=_precision(cfg),
    )


def about_weights(
    source: str,
    sha256: str | None,
    prepared: Prepared,
    parts: Sequence[str],
    seen: Mapping[str, Tensor] | None,
    *,
    warning: str | None = None,
) -> dict[str, Any]:
    """The block `weights` of `run.json`; logs what must be said of the first weights wherever scores are shown.

    Args:
        parts: the splits that are judged.
        seen: whom the weights have learned from, by hashes (`fer.data.seen`).
        warning: what else there is to say of them.
    """
    table = prepared.table
    known = table["split"].isin(parts) & of_known_people(prepared, **seen) if seen else pd.Series(False, table.index)
    n = int(table.loc[known, "subject"].nunique())
    if n:
        warning = f"model.weights={source} has learned from {n} of the people whom this run is judged on: its scores are too good"
        log.warning(warning)
    return {"source": source, "sha256": sha256, "warning": warning, "judged_people_known": n}


def _precision(cfg: TrainConfig) -> str:
    chosen = {"32": "32-true", "bf16": "bf16-mixed"}
    return chosen.get(cfg.trainer.precision) or best_precision(cfg.trainer.accelerator)


def best_precision(accelerator: str) -> str:
    """Lightning's name for the precision of `trainer.precision=auto`: bf16 where the processor multiplies it natively, else 32.

    On two cores with AVX512_BF16 a training step of resnet50 (224 pixels, channels last) then takes half the time; AMX gains more.
    """
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    native = torch.cpu.get_capabilities()
    return (
        "bf16-mixed"
        if accelerator in ("auto", "cpu") and (native.get("amx_bf16") or native.get("avx512_bf16"))
        else "32-true"
    )
