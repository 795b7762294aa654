"""Pictures for the report: a trained network, its data and decisions in; thumbnails of its best and worst answers, with heat maps, out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from fer.config import TrainConfig, from_dict
from fer.data.augment import centre_view
from fer.data.cache import cache_folder
from fer.data.datamodule import FaceData
from fer.data.faces import view_of
from fer.errors import FerError
from fer.model.finished import load_module
from fer.model.heat import GradCam
from fer.model.module import FaceModule
from fer.results.gallery import Examples, Gallery, choose
from fer.results.predictions import read_predictions
from fer.results.report import shown_split
from fer.results.thumbnails import SIDE, overlay, thumbnail
from fer.runs.folder import RunFolder

log = logging.getLogger(__name__)


class _Pictured(NamedTuple):
    """Thumbnails as `data:` addresses: the face, and with heat over it if the backbone can be explained."""

    face: str
    heat: str | None


def gallery(module: FaceModule, data: FaceData, decided: pd.DataFrame, part: str) -> Gallery | None:
    """The best and worst pictures of a split, as the network saw them; None if one of them can't be had any more.

    Args:
        module: in eval mode.
        decided: rows of `predictions.csv`.
    """
    rows = decided[decided["split"] == part]
    examples = choose(rows)
    pictured = _pictured(module, data, rows["path"], _pairs(examples))
    return None if pictured is None else _laid_out(examples, pictured)


def _pairs(examples: Examples) -> list[tuple[int, str]]:
    """(row, label) of each."""
    return [(e.row, label) for label, kinds in examples.items() for pictures in kinds.values() for e in pictures]


def _pictured(
    module: FaceModule, data: FaceData, paths: pd.Series[str], pairs: list[tuple[int, str]]
) -> list[_Pictured] | None:
    """Thumbnails for rows of `paths` and labels, in their order; None if one of the pictures can't be had any more."""
    rows = sorted({row for row, _ in pairs})
    wanted = paths.iloc[rows]
    if gone := set(wanted) - set(data.prepared.table["path"]):
        log.warning("the report goes without pictures: %s can't be read any more", min(gone))
        return None
    stored = dict(zip(rows, _stored(data, wanted), strict=True))
    size = data.cfg.image_size
    heat = {} if module.network.reference else heat_of(module, stored, pairs, size)
    found = []
    for row, label in pairs:
        view, warm = view_of(stored[row], size), heat.get((row, label))
        found.append(_Pictured(thumbnail(view), None if warm is None else thumbnail(overlay(view, warm, SIDE))))
    return found


def _laid_out(examples: Examples, pictured: list[_Pictured]) -> Gallery:
    """The gallery; `pictured` is in the order of `_pairs`."""
    drawn = iter(pictured)
    return {
        label: {
            kind: [
                {"subject": e.subject, "probability": e.probability, "truth": e.truth, **next(drawn)._asdict()}
                for e in pictures
            ]
            for kind, pictures in kinds.items()
        }
        for label, kinds in examples.items()
    }


def _stored(data: FaceData, paths: pd.Series[str]) -> np.ndarray:
    """[n, S, S, 1 or 3]: of pairs with a neutral picture, the pictures themselves."""
    places = data.prepared.table.set_index("path")["pixel"].loc[paths].to_numpy()
    return data.prepared.pixels.array[places, ..., : 3 if data.cfg.color else 1]


def views(data: FaceData, paths: pd.Series[str]) -> list[np.ndarray]:
    """Pictures as the network sees them: [S, S, 1 or 3] each."""
    return [view_of(pixels, data.cfg.image_size) for pixels in _stored(data, paths)]


def heat_of(
    module: FaceModule, stored: Mapping[int, np.ndarray], pairs: list[tuple[int, str]], image_size: int
) -> dict[tuple[int, str], np.ndarray]:
    """(row, label) -> heat map [image_size, image_size]; empty for a backbone that can't be explained."""
    if not pairs:
        return {}
    try:
        maps = GradCam(module.network, image_size)
    except FerError as error:
        log.info("no heat maps in the report: %s", error)
        return {}
    labels = [*(f"AU{au}" for au in module.aus), *module.emotions]
    rows = list(stored)
    pixels = torch.from_numpy(np.stack([stored[row] for row in rows]))
    images = centre_view(pixels.permute(0, 3, 1, 2), image_size).to(module.device)
    places = torch.tensor([(rows.index(row), labels.index(label)) for row, label in pairs], device=module.device)
    heat = maps.maps(images, places[:, 0], places[:, 1]).cpu().numpy()
    return dict(zip(pairs, heat, strict=True))


def gallery_of_run(folder: RunFolder) -> Gallery | None:
    """The gallery of a finished run of `fer.train`, made anew; None if its settings keep pictures out of the report."""
    opened = _opened(folder)
    if opened is None:
        return None
    part = shown_split(folder.read_json("metrics.json"))
    return gallery(*opened, read_predictions(folder.path / "predictions.csv"), part)


def gallery_of_folds(folds: Sequence[Path], decided: pd.DataFrame) -> Gallery | None:
    """The best and worst pictures of a cross-validation, each as the fold saw it that answered.

    Args:
        folds: their run folders.
        decided: the pooled table (`fer.results.pooling`), whose column `fold` counts these.
    """
    examples = choose(decided)
    pairs = _pairs(examples)
    found: dict[tuple[int, str], _Pictured] = {}
    for number, path in enumerate(folds):
        own = [(row, label) for row, label in pairs if decided["fold"].iloc[row] == number]
        if not own:
            continue
        opened = _opened(RunFolder.open(path))
        if opened is None:
            return None
        pictured = _pictured(*opened, decided["path"], own)
        if pictured is None:
            return None
        found |= dict(zip(own, pictured, strict=True))
    return _laid_out(examples, [found[pair] for pair in pairs])


def _opened(folder: RunFolder) -> tuple[FaceModule, FaceData] | None:
    """The best model of a finished run, and its data; None if its settings keep pictures out of reports."""
    cfg: TrainConfig = from_dict(TrainConfig, folder.config(), str(folder.path / "config.yaml"))
    if not cfg.report.pictures:
        return None
    module, _ = load_module(folder.path / "checkpoints" / "best.ckpt")
    data = FaceData(cfg.data, cfg.augment, cfg.seed, cache_folder(cfg.cache_dir))
    data.setup()
    return module, data
