"""The settings of each command: `conf/<command>.yaml` is checked against its dataclass here."""

from __future__ import annotations

from dataclasses import dataclass, field

from fer.config.groups import (
    AugmentConfig,
    DataConfig,
    JudgeConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    SchedulerConfig,
    TrainerConfig,
)
from fer.config.setting import setting


@dataclass
class TrainConfig:
    name: str = setting("run", "name of the run: its folder and its curve in TensorBoard")
    seed: int = setting(0, "seed of the split, the weights, the order, the augmentation", least=0, most=2**31 - 1)
    run_dir: str | None = setting(None, "the run folder; null: outputs/train/<name>/<date_time>")
    resume: str | None = setting(None, "run folder to go on with")
    test: bool | None = setting(None, "judge on the test people at the end; null: in single runs yes, in sweeps no")
    cache_dir: str | None = setting(None, "pixels and drawn faces; null: the user's cache folder. Safe to delete")
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass
class EvaluateConfig:
    checkpoint: str | None = setting(None, "run folder or checkpoint file (required)")
    split: str | None = setting(
        None,
        "which people; all: every picture that the model never saw; null: test, for other data all",
        choices=("train", "val", "test", "all"),
    )
    name: str | None = setting(None, "name of the evaluation: its folder; null: the name of the run")
    run_dir: str | None = setting(None, "where to write; null: outputs/evaluate/<name>/<date_time>")
    cache_dir: str | None = setting(None, "pixels and drawn faces; null: the user's cache folder. Safe to delete")
    data: DataConfig = field(default_factory=DataConfig)
    trainer: JudgeConfig = field(default_factory=JudgeConfig)


@dataclass
class SynthesizeConfig:
    root: str | None = setting(None, "folder to write (required); must not exist or be empty")
    subjects: int = setting(123, "number of people", least=3, most=5000)
    seed: int = setting(0, "seed of everything that is drawn", least=0, most=2**31 - 1)


SCHEMAS: dict[str, type] = {"train": TrainConfig, "evaluate": EvaluateConfig, "synthesize": SynthesizeConfig}
"""Command name -> the schema of its `conf/<command>.yaml`."""
