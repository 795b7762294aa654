"""What TensorBoard shows: train and validation on one chart, settings with the final score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from fer.config import TrainConfig, as_dict, flat
from fer.model.module import FaceModule

CHARTS = {
    "both heads": {"loss": "loss"},
    "action units": {"AU loss": "au_loss", "AU accuracy": "au_accuracy", "AU macro F1 (at .5)": "au_f1"},
    "emotion": {
        "emotion loss": "emotion_loss",
        "emotion accuracy": "emotion_accuracy",
        "emotion macro F1": "emotion_f1",
    },
}
FINAL_SCORE = "hp/score"


def start_curves(logger: TensorBoardLogger, cfg: TrainConfig, module: FaceModule) -> None:
    """Lays out the charts and writes the settings as hyperparameters, with a place for the final score."""
    layout: dict[str, Any] = {
        group: {title: ["Multiline", [f"train/{tag}", f"val/{tag}"]] for title, tag in charts.items()}
        for group, charts in CHARTS.items()
    }
    if module.aus:
        layout["action units"]["F1 per AU (validation, at .5)"] = [
            "Multiline",
            [f"val/au_f1_each/AU{au}" for au in module.aus],
        ]
    logger.experiment.add_custom_scalars(layout)
    shown = {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in flat(as_dict(cfg))}
    logger.log_hyperparams(shown, {FINAL_SCORE: 0.0})


def log_final_score(folder: Path, cfg: TrainConfig, score: float | None) -> None:
    """Puts the validation score of the best checkpoint in the place that `start_curves` made for it."""
    if score is not None:
        with SummaryWriter(str(folder)) as writer:
            writer.add_scalar(FINAL_SCORE, score, 0)
