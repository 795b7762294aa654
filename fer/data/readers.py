"""Which reader `data.name` means. Settings in, a sample table out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from fer.config import DataConfig
from fer.data import ckplus, csv, synthetic
from fer.data.samples import Samples

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

SYNTHETIC_SEED = 0
"""The drawn set is one data set, the same for every run: the seed of a run draws its split and its weights, not its faces."""


def read_samples(cfg: DataConfig, cache_dir: Path, progress: Progress | None = None) -> Samples:
    """The sample table of the chosen data.

    Args:
        cfg: which reader, and where.
        cache_dir: where drawn faces are kept.
        progress: called with (sequences drawn, of all) while faces are drawn for the first time.

    Raises:
        FerError: from the reader: the folder or table is missing, empty or not what it should be.
    """
    root, reference = None if cfg.root is None else Path(cfg.root), cfg.reference == "neutral"
    if cfg.name == "csv":
        assert cfg.table is not None  # config.check
        return csv.read(Path(cfg.table), root, cfg.subject, cfg.frames, reference)
    if cfg.name == "ckplus":
        assert root is not None  # config.check
        return ckplus.read(root, cfg.frames, reference)
    if root is not None:
        log.info("data=synthetic: %s counts as drawn faces; a tree of your own is data=ckplus", root)
    samples = ckplus.read(_drawn(cfg, root, cache_dir, progress), cfg.frames, reference)
    n_people = samples.table["subject"].nunique()
    if root is not None and n_people != cfg.subjects:
        log.warning(
            "data.subjects=%d, but %s holds %d people already: it is taken as it is", cfg.subjects, root, n_people
        )
    return samples


def _drawn(cfg: DataConfig, root: Path | None, cache_dir: Path, progress: Progress | None) -> Path:
    # the frames just before the peak are only drawn when they are asked for: half of the work
    frames = 2 if cfg.frames == "peak" else 4
    if root is None:
        return synthetic.cached_tree(cache_dir, cfg.subjects, SYNTHETIC_SEED, frames, progress=progress)
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        synthetic.write_tree(root, cfg.subjects, SYNTHETIC_SEED, progress=progress)
    return root
