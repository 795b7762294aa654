"""Lightning's part of a training run: a module and data in, checkpoints and curves in the run folder out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console

from fer.config import TrainConfig
from fer.data.datamodule import FaceData
from fer.errors import FerError, Interrupted
from fer.model import allocator, threads
from fer.model.callbacks import CompileTime, StopSafely, make_callbacks, stopped_early
from fer.model.checkpoints import AtomicCheckpointIO, load_checkpoint
from fer.model.curves import Curves, start_curves
from fer.model.module import FaceModule
from fer.runs.folder import RunFolder
from fer.runs.jobs import Kept
from fer.runs.surroundings import usable_cores
from fer.steps import frozen
from fer.steps.predicting import quiet_lightning, unfilled_memory
from fer.steps.team import Team, lost_another

log = logging.getLogger(__name__)


def fit(
    cfg: TrainConfig,
    folder: RunFolder,
    module: FaceModule,
    data: FaceData,
    callbacks: Sequence[Callback] = (),
    kept: Kept | None = None,
    together: Team | None = None,
) -> None:
    """Trains, or trains on from `last.ckpt`, until early stopping or the last epoch; `callbacks` come after the run's own.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
        FerError: the loss became nan, a checkpoint can't be written, or another process of the run has ended.
    """
    if _is_fitted(cfg, folder):
        return
    together, kept = together or Team(), kept or Kept()
    allocator.keep_memory()
    if cfg.trainer.compile:
        compile_backbone(module)
        callbacks = [*callbacks, CompileTime()]
    logger = Curves(folder.path, name=None, version="tensorboard", default_hp_metric=False)
    start_curves(logger, cfg, module)
    with quiet_lightning(), unfilled_memory():
        trainer = make_trainer(cfg, folder, logger, callbacks, together)
        device, precision = trainer.strategy.root_device, folder.about["precision"]
        folder.note(device=str(device), processes=trainer.world_size)
        together.first(lambda: frozen.use_features(cfg, module, data, precision, device, kept))
        last = str(folder.path / "checkpoints" / "last.ckpt") if cfg.resume else None
        started = (
            time.monotonic()
        )  # not before: features are made by the first run that needs them, and all others find them
        try:
            n_threads = threads_of(cfg, precision)
            folder.note(threads=threads.every() if frozen.is_frozen(cfg) else n_threads)  # a backbone's
            with threads.limited(n_threads), frozen.set_aside(module, data):
                trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
        except (Interrupted, SystemExit) as stopped:  # Lightning's answer to an interrupt out of turn is to exit
            folder.note(timings=_timings(folder, started))
            raise Interrupted from stopped
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise FerError(
                    "a batch of one picture is too few for BatchNorm here: raise data.batch_size or data.image_size"
                ) from error
            raise
        except RuntimeError as error:
            if lost_another(error):
                raise FerError(
                    f"another process of the run has ended; last checkpoint: {folder.path}/checkpoints/last.ckpt"
                ) from error
            raise
    folder.note(timings=_timings(folder, started), epochs=trainer.current_epoch, fitted_epochs=cfg.trainer.max_epochs)
    if cfg.model.finetune == "gradual" and trainer.current_epoch <= cfg.model.freeze_epochs:
        log.warning(
            "early stopping ended the run after %d epochs, before the backbone was set free (model.freeze_epochs=%d): "
            "raise trainer.patience",
            trainer.current_epoch,
            cfg.model.freeze_epochs,
        )
    # in the final epoch, after which there is no next step to stop before
    asked = any(c.asked for c in trainer.callbacks if isinstance(c, StopSafely))  # type: ignore[attr-defined]
    if trainer.strategy.reduce_boolean_decision(asked, all=False):
        raise Interrupted


def threads_of(cfg: TrainConfig, precision: str) -> int:
    """How many threads the steps of training take: see `fer.model.threads`; in bf16 beside drawing half of the cores.

    There a face costs about as much to draw as to learn from, and one thread of the network that has to share its core holds up all
    the others. In 32 bits learning costs so much more that it is worth it. However many processes draw, for the bits of a convolution
    depend on the number of threads.

    Args:
        precision: Lightning's name of it.
    """
    if frozen.is_frozen(cfg):
        return 1
    beside_drawing = cfg.data.fresh_pictures and precision == "bf16-mixed"
    return min(threads.every(), max(1, usable_cores() // 2)) if beside_drawing else threads.every()


def _timings(folder: RunFolder, started: float) -> dict[str, float]:
    """The run's, with what was trained since `started` added to the time of training before an interruption."""
    before: dict[str, float] = folder.about.get("timings", {})
    return {**before, "fit_s": round(before.get("fit_s", 0) + time.monotonic() - started, 1)}


def _is_fitted(cfg: TrainConfig, folder: RunFolder) -> bool:
    """Whether the run was stopped after its last epoch, by early stopping too: one more would make it another run."""
    if folder.about.get("fitted_epochs") == cfg.trainer.max_epochs:
        return True
    last = load_checkpoint(folder.path / "checkpoints" / "last.ckpt") if cfg.resume else None
    if last is None or not stopped_early(last):
        return False
    folder.note(epochs=last["epoch"] + 1, fitted_epochs=cfg.trainer.max_epochs)
    log.info("nothing is left to train: epoch %d was the last, by trainer.patience", last["epoch"] + 1)
    return True


def compile_backbone(module: FaceModule) -> None:
    """Lets torch compile the backbone when it is first called: in place, so that tensors keep their names in checkpoints."""
    module.network.backbone.compile()


def make_trainer(
    cfg: TrainConfig, folder: RunFolder, logger: Curves, callbacks: Sequence[Callback], together: Team
) -> lightning.Trainer:
    """Lightning's trainer: as many devices as there are processes, atomic checkpoints, the same result twice."""
    if not torch.cuda.is_available():
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # else torch's build for GPUs looks for one at every step
    shown = cfg.trainer.progress and together.leads and Console(stderr=True).is_terminal
    # a backbone that is set free later is in the group from the start, and unused until then
    several = DDPStrategy(find_unused_parameters=cfg.model.finetune == "gradual")
    return lightning.Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy=several if together.environment else "auto",
        precision=folder.about["precision"],
        max_epochs=cfg.trainer.max_epochs,
        gradient_clip_val=cfg.trainer.gradient_clip or None,
        logger=logger,
        callbacks=[*make_callbacks(cfg.trainer, folder.path, shown), *callbacks],
        # one process is one, also under Slurm: there Lightning would requeue it, as another run
        plugins=[AtomicCheckpointIO(), together.environment or LightningEnvironment()],
        deterministic="warn",
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
