"""What can be refused before torch or pandas are imported: names of files, folders and networks that are not there."""

from __future__ import annotations

from pathlib import Path

from fer.cli.processes import started
from fer.config import TrainConfig
from fer.data.there import check_there
from fer.model.names import check_weights
from fer.runs.folder import check_place


def check_names(cfg: TrainConfig, run_dir: Path | None) -> None:
    """Refuses what is not there, and a run folder that is taken.

    Args:
        run_dir: None: it will be named by the time.

    Raises:
        FerError: no such data, backbone or weights, or the folder holds something or can't be made.
    """
    check_there(cfg.data)
    check_weights(cfg.model.backbone, cfg.model.weights or "none")
    if run_dir and started().rank == 0:  # another process of the run may have begun it
        check_place(run_dir)
