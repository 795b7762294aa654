"""`fer.train` that ends after its first step: `python -m fer.benchmarking.first_step [overrides]`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from fer import train
from fer.cli.command import Call, command
from fer.config import TrainConfig

if TYPE_CHECKING:
    import lightning


def run(cfg: TrainConfig, call: Call) -> None:
    """Trains one step in `run_dir` and leaves nothing there."""
    from lightning.pytorch.callbacks import Callback

    class Enough(Exception):
        pass

    class FirstStep(Callback):
        def on_train_batch_end(
            self,
            trainer: lightning.Trainer,
            pl_module: lightning.LightningModule,
            outputs: Any,
            batch: Any,
            batch_idx: int,
        ) -> None:
            raise Enough

    assert cfg.run_dir is not None
    try:
        train.begin(cfg, call, [FirstStep()])
    except Enough:
        shutil.rmtree(cfg.run_dir)


main = command("train", run)

if __name__ == "__main__":
    main()
