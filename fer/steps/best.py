"""The last step of `fer.train`: the best checkpoint is decided, judged and reported."""

from __future__ import annotations

import logging
from functools import partial

from fer.config import TrainConfig
from fer.data.datamodule import FaceData
from fer.model.carried import heads_of
from fer.model.checkpoints import all_seen, load_checkpoint
from fer.model.finished import module_of
from fer.model.module import FaceModule
from fer.model.weight_files import save_backbone
from fer.results.report import shown_split
from fer.runs.folder import RunFolder
from fer.runs.jobs import Kept
from fer.steps import deciding, frozen, judging
from fer.steps.best_curves import log_best
from fer.steps.picturing import gallery, views
from fer.steps.predicting import predict

log = logging.getLogger(__name__)


def judge_best(
    cfg: TrainConfig,
    folder: RunFolder,
    data: FaceData,
    trained: FaceModule,
    kept: Kept | None = None,
    brief: bool = False,
) -> float | None:
    """Fits temperatures and thresholds on validation, then judges the best checkpoint; test people here alone, if `cfg.test` says so.

    Args:
        trained: the module after `fit`.
        brief: if it learned from features, without a report and a backbone of its own, which take longer than that.

    Returns:
        The validation score.
    """
    path = folder.path / "checkpoints" / "best.ckpt"
    checkpoint = load_checkpoint(path)
    folder.note(best_epoch=int(checkpoint["epoch"]))
    deciding.undo_class_weights(checkpoint)
    module, _ = module_of(checkpoint, path, frozen.backbone_of(trained))
    deciding.set_upright(checkpoint, module, lambda: predict(module, data, ["val"], cfg.trainer.accelerator)[0])
    parts = ["val", "test"] if cfg.test and len(data.prepared.part("test")) else ["val"]
    predictions, features = predict(module, data, parts, cfg.trainer.accelerator)
    predictions = deciding.as_of_others(predictions, module)
    brief = brief and data.features is not None
    card, decided, metrics = deciding.keep_decisions(
        checkpoint, path, predictions, module, apart=brief, pictures=bool(cfg.report.pictures)
    )
    if cfg.trainer.save_backbone:
        heads = heads_of(module.network, module.aus, module.emotions)
        save_backbone(module.network, folder.path / "backbone.safetensors", heads, all_seen(card))
    judging.add_probes(metrics, decided, features, data.prepared, kept or Kept())
    score: float | None = metrics["val"]["score"]
    pictures = cfg.report.pictures and not brief
    judging.write_scores(folder, decided, metrics)  # before anything is drawn: it must not cost the scores
    log_best(folder, decided, metrics["val"], partial(views, data) if pictures else None, brief)
    shown = gallery(module, data, decided, shown_split(metrics)) if pictures else None
    judging.write_results(folder, metrics, brief=brief, gallery=shown)
    log.info("validation score: %s", "undefined" if score is None else f"{score:.3f}")
    log.info("curves: tensorboard --logdir %s", folder.path.parent)
    return score
