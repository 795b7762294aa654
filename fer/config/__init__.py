"""The schema of every command: dataclasses whose fields know their meaning and limits, and the rules between them. Never imports torch."""

from fer.config.commands import (
    FREE,
    HEAD_WEIGHTS,
    NEVER_SWEPT,
    OF_A_RUN,
    SCHEMAS,
    BenchmarkConfig,
    CompareConfig,
    CrossvalConfig,
    EvaluateConfig,
    ExplainConfig,
    ExploreConfig,
    ExportConfig,
    PredictConfig,
    ServeConfig,
    SynthesizeConfig,
    TrainConfig,
    TuneConfig,
)
from fer.config.groups import (
    NAMES_OF_GROUPS,
    OF_THE_MODEL,
    AugmentConfig,
    DataConfig,
    JudgeConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ReportConfig,
    SchedulerConfig,
    TrainerConfig,
)
from fer.config.idle import idle
from fer.config.of_commands import bad_source, export_format, export_output
from fer.config.outvoted import outvoted
from fer.config.rules import absolute, bad_name, check, conf_dir, is_file_name, resolve
from fer.config.setting import (
    allowed,
    as_dict,
    bad_value,
    flat,
    from_dict,
    nested,
    settings_of,
)
