"""What TensorBoard shows while training: train and validation on one chart, and settings with a place for the final score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf

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
FINAL_SCORE = "val/score_of_the_best"
"""The validation score of the checkpoint that is kept, beside the settings."""

EACH_AU = "val_each_au"


class Curves(TensorBoardLogger):
    """Counts in epochs, and puts what is looked at first into the groups `train` and `val`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes under the names that TensorBoard shows."""
        shown = {curve_name(tag): value for tag, value in metrics.items() if tag != "epoch"}
        super().log_metrics(shown, int(metrics["epoch"]) + 1 if "epoch" in metrics else step)


def curve_name(tag: str) -> str:
    """The name in TensorBoard of what is logged: groups are sorted and the first two stand open, which have to be `train` and `val`."""
    return tag.replace("val/au_f1_each/", f"{EACH_AU}/").replace("lr/", "train/lr_")


def start_curves(logger: Curves, cfg: TrainConfig, module: FaceModule) -> None:
    """Lays out the charts and writes the settings, as text and as hyperparameters."""
    layout: dict[str, Any] = {
        group: {title: ["Multiline", [f"train/{tag}$", f"val/{tag}$"]] for title, tag in charts.items()}
        for group, charts in CHARTS.items()
    }
    if module.aus:
        layout["action units"]["F1 per AU (validation, at .5)"] = ["Multiline", [f"{EACH_AU}/AU"]]
    logger.experiment.add_custom_scalars(layout)
    settings = OmegaConf.to_yaml(OmegaConf.create(as_dict(cfg)))
    logger.experiment.add_text("settings", "".join(f"    {line}\n" for line in settings.splitlines()))
    shown = {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in flat(as_dict(cfg))}
    logger.log_hyperparams(shown, {FINAL_SCORE: 0.0})
