"""The schema of every command: dataclasses whose fields know their meaning and limits, and the rules between them. Never imports torch."""

from fer.config.commands import (
    SCHEMAS,
    EvaluateConfig,
    SynthesizeConfig,
    TrainConfig,
)
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
from fer.config.rules import (
    absolute,
    bad_name,
    bad_source,
    check,
    conf_dir,
    is_file_name,
    resolve,
)
from fer.config.setting import (
    as_dict,
    bad_value,
    from_dict,
    group_of,
    setting,
    settings_of,
)

__all__ = [
    "SCHEMAS",
    "AugmentConfig",
    "DataConfig",
    "EvaluateConfig",
    "JudgeConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "SchedulerConfig",
    "SynthesizeConfig",
    "TrainConfig",
    "TrainerConfig",
    "absolute",
    "as_dict",
    "bad_name",
    "bad_source",
    "bad_value",
    "check",
    "conf_dir",
    "from_dict",
    "group_of",
    "is_file_name",
    "resolve",
    "setting",
    "settings_of",
]
