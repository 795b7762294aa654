"""`what=growth`: how time per picture and memory behave from a thousand pictures to a hundred thousand, and a table of a million rows."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer.benchmarking.findings import Findings
from fer.benchmarking.memory import Peak
from fer.config import BenchmarkConfig
from fer.data import csv
from fer.data.cache import build_pixels, cache_folder
from fer.data.datamodule import FaceData
from fer.data.prepare import Prepared, crop_of, prepare
from fer.data.samples import au_columns

LOADED = 20_000
"""Pictures that the loader is timed on, at most."""


def measure(cfg: BenchmarkConfig, scratch: Path, found: Findings) -> None:
    """Adds to `found` a row per number of pictures; those of the data stand in for more, under other names."""
    few = prepare(cfg.data, cache_folder(cfg.cache_dir))
    rows = []
    for n in cfg.sizes:
        rows.append(_size(cfg, few, n, scratch / str(n)))
        shutil.rmtree(scratch / str(n))
    n_rows: int = cfg.table_rows
    table = _repeated(few, n_rows, scratch / "table")
    with Peak() as peak:
        started = time.perf_counter()
        csv.read(table, None, "subject")
        seconds = time.perf_counter() - started
    found.more["growth"] = rows
    found.more["table"] = {"rows": n_rows, "read_s": round(seconds, 2), **peak.as_json()}
    first, last = rows[0], rows[-1]
    for name in ("decode", "read_split_and_check", "load"):
        key = f"{name}_ms_per_image"
        what = f"{name.replace('_', ' ')}: time per picture at {last['images']:,} / at {first['images']:,}"
        found.add(what, last[key] / first[key], f"{last[key]:.3g} of {first[key]:.3g} ms")


def _size(cfg: BenchmarkConfig, few: Prepared, n: int, scratch: Path) -> dict[str, Any]:
    table = _repeated(few, n, scratch / "pictures")
    data_cfg = dataclasses.replace(
        cfg.data, name="csv", table=str(table), root=None, subject="subject", fresh_pictures=0
    )
    cache = scratch / "cache"
    with Peak() as peak:
        clock = [time.perf_counter()]
        samples = csv.read(table, None, "subject")
        clock.append(time.perf_counter())
        build_pixels(
            samples.table, image_size=data_cfg.image_size, crop=crop_of(data_cfg), color=data_cfg.color, cache_dir=cache
        )
        clock.append(time.perf_counter())
        data = FaceData(data_cfg, cfg.augment, cfg.seed, cache)
        data.setup()
        clock.append(time.perf_counter())
        n_loaded = _load(data)
        clock.append(time.perf_counter())
    read, decode, again, load = np.diff(clock)
    return {
        "images": n,
        "read_s": round(float(read), 3),
        "decode_ms_per_image": round(1000 * float(decode) / n, 4),
        "decode_images_per_s": round(n / float(decode), 1),
        "read_split_and_check_ms_per_image": round(1000 * float(again) / n, 4),
        "load_ms_per_image": round(1000 * float(load) / n_loaded, 4),
        "load_images_per_s": round(n_loaded / float(load), 1),
        **peak.as_json(),
    }


def _load(data: FaceData) -> int:
    n = 0
    for batch in data.loader("train", shuffled=True):
        n += len(data.on_after_batch_transfer(batch, 0)["index"])
        if n >= LOADED:
            break
    return n


def _repeated(few: Prepared, n: int, folder: Path) -> Path:
    """A table of n rows over the pictures of `few`, each time by way of another link to them; returns its path."""
    folder.mkdir(parents=True)
    originals = folder / "originals"
    originals.mkdir()
    paths = few.table["path"].tolist()
    names = [f"{k}{Path(path).suffix}" for k, path in enumerate(paths)]
    for name, path in zip(names, paths, strict=True):
        os.symlink(os.path.abspath(path), originals / name)
    n_times = -(-n // len(paths))
    for k in range(n_times):
        os.symlink(originals, folder / f"again{k}", target_is_directory=True)
    labels = few.table[["subject", "emotion", *au_columns(few.table)]]
    boxes = pd.DataFrame(few.pixels.boxes[few.table["pixel"]], columns=list("xywh"), index=labels.index)
    one = pd.concat([labels, boxes], axis=1)
    table = pd.concat([one.assign(path=[f"again{k}/{name}" for name in names]) for k in range(n_times)]).head(n)
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"
