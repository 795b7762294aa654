"""Which reader `data.name` means. Settings in, a sample table out."""

from __future__ import annotations

from pathlib import Path

from fer.config import DataConfig
from fer.data import ckplus, csv, synthetic
from fer.data.samples import Samples

SYNTHETIC_SEED = 0
"""The drawn set is one data set, the same for every run: the seed of a run draws its split and its weights, not its faces."""


def read_samples(cfg: DataConfig, cache_dir: Path) -> Samples:
    """The sample table of the chosen data.

    Raises:
        FerError: from the reader: the folder or table is missing, empty or not what it should be.
    """
    root = None if cfg.root is None else Path(cfg.root)
    if cfg.name == "csv":
        assert cfg.table is not None  # config.check
        return csv.read(Path(cfg.table), root, cfg.subject)
    if cfg.name == "ckplus":
        assert root is not None  # config.check
        return ckplus.read(root, cfg.frames)
    return ckplus.read(root or synthetic.cached_tree(cache_dir, cfg.subjects, SYNTHETIC_SEED), cfg.frames)
