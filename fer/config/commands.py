"""The settings of each command: `conf/<command>.yaml` is checked against its dataclass here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fer.config.groups import (
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
    report: ReportConfig = field(default_factory=ReportConfig)


@dataclass
class EvaluateConfig:
    checkpoint: str | None = setting(None, "run folder or checkpoint file (required)")
    exported: str | None = setting(
        None, "a file that fer.export made from the checkpoint, to judge in its place: .onnx, .xml or .safetensors"
    )
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
    report: ReportConfig = field(default_factory=ReportConfig)


@dataclass
class CrossvalConfig(TrainConfig):
    run_dir: str | None = setting(None, "where to write; null: outputs/crossval/<name>/<date_time>")
    resume: str | None = setting(None, "folder of a cross-validation that was stopped, to go on with")
    test: bool | None = setting(None, "has no meaning here: each fold is judged on its test people")
    repeats: int = setting(1, "times that the people are cut into folds anew", least=1, most=100)
    leave_one_out: bool = setting(False, "a fold for each person, instead of data.folds")
    soup: bool = setting(
        False,
        "leave soup.ckpt, too: one network for new people, its weights the mean of the folds'; for folds tuned from one pretrained file",
    )


@dataclass
class CompareConfig:
    runs: list[str] = setting(
        [], "run folders, or folders that hold some; words without = are taken for these (required)"
    )
    split: str | None = setting(
        None, "judged on which people; null: val, for cross-validations all", choices=("val", "test", "all")
    )
    reference: str | None = setting(
        None, "run to hold the others against: its folder, name or label in the table; null: the best"
    )
    different_splits: bool = setting(False, "compare runs with other splits on the people that all were judged on")
    n_draws: int = setting(2000, "bootstrap draws", least=100, most=100_000)
    seed: int = setting(0, "seed of the draws", least=0, most=2**31 - 1)
    name: str | None = setting(None, "name of the comparison: its folder; null: the name of the folder given, or runs")
    run_dir: str | None = setting(None, "where to write; null: outputs/compare/<name>/<date_time>")


@dataclass
class ExploreConfig:
    name: str = setting("data", "name of the exploration: its folder")
    seed: int = setting(0, "seed of the split, of the faces shown and of their augmentation", least=0, most=2**31 - 1)
    run_dir: str | None = setting(None, "where to write; null: outputs/explore/<name>/<date_time>")
    cache_dir: str | None = setting(None, "pixels and drawn faces; null: the user's cache folder. Safe to delete")
    pictures: bool = setting(True, "faces on the page; false: licensed pictures stay out of a file that travels")
    faces: int = setting(12, "faces shown of each label", least=1, most=100)
    progress: bool = setting(True, "progress bar (on a terminal)")
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class SynthesizeConfig:
    root: str | None = setting(None, "folder to write (required); must not exist or be empty")
    subjects: int = setting(123, "number of people", least=3, most=999)
    seed: int = setting(0, "seed of everything that is drawn", least=0, most=2**31 - 1)


@dataclass
class TuneConfig(TrainConfig):
    name: str = setting("run", "name of the study and of its folder")
    run_dir: str | None = setting(None, "the folder of the study; null: outputs/tune/<name>")
    resume: str | None = setting(None, "not here: the same line again goes on with a study")
    test: bool | None = setting(None, "never true here: nobody looks at the test people")
    n_trials: int = setting(50, "finished trials in all, of every worker and every start", least=1, most=1_000_000)
    timeout: float | None = setting(None, "seconds after which this worker starts no new trial", above=0)
    storage: str | None = setting(
        None, "where all workers keep the study: a database URL or a journal file; null: study.journal in its folder"
    )
    pruning: bool = setting(True, "end a run whose validation score stays below the median of the others")
    checkpoints: str = setting("best", "whose checkpoints are kept: the best trial's or all", choices=("best", "all"))
    search: Any = setting(None, "the space: a file of conf/search, or of a search/ folder beside --config-dir")


@dataclass
class BenchmarkConfig(TrainConfig):
    name: str = setting("run", "name of the benchmark: its folder")
    run_dir: str | None = setting(None, "where to write; null: outputs/benchmark/<name>/<date_time>")
    resume: str | None = setting(None, "not here: a benchmark starts anew")
    test: bool | None = setting(None, "of no meaning here")
    what: str = setting(
        "all",
        "which part; not in all: choices (what precision, order in memory, compiling and so on are worth) and growth (images/s and "
        "memory by the number of pictures; minutes)",
        choices=("all", "train", "predict", "sweep", "startup", "choices", "growth"),
    )
    against: str | None = setting(
        None, "train and predict: settings 'key=value ...' to run in turn with those typed, block by block"
    )
    budget: float = setting(3.0, "seconds that each stage is measured for", above=0, most=3600)
    sizes: list[int] = setting([1000, 10_000, 100_000], "growth: numbers of pictures; files are repeated by links")
    table_rows: int = setting(
        1_000_000, "growth: rows of a table that is read and not decoded", least=1, most=100_000_000
    )


@dataclass
class PredictConfig:
    checkpoint: str | None = setting(
        None, "run folder, checkpoint, or exported .onnx, .xml or .safetensors file (required)"
    )
    input: str | None = setting(
        None,
        "picture, folder (with what is below it), 'glob', .csv with a path column, video, or 0 for a camera (required)",
    )
    reference: str | None = setting(
        None, "neutral picture of the person, for models trained with data.reference=neutral"
    )
    output: str | None = setting(None, "FILE.csv or FILE.jsonl, written as it goes; null: the terminal")
    annotate: str | None = setting(None, "folder for pictures with boxes, emotion and active AUs drawn in")
    overwrite: bool = setting(False, "write over an output file and into an annotate folder that are there")
    faces: str = setting("all", "which faces of a picture", choices=("all", "largest"))
    smallest_face: float | None = setting(
        None,
        "share of the picture's short side from which faces are looked for; null: 0.05, in video or with faces=largest 0.166",
        above=0,
        most=0.5,
    )
    every: int = setting(1, "video: every how many frames", least=1)
    smoothing: float = setting(0.0, "video: seconds over which a face's probabilities are averaged; 0: not", least=0)
    batch_size: int = setting(32, "faces that go through the network at once", least=1, most=65536)
    accelerator: str = setting("auto", "processor of a checkpoint", choices=("auto", "cpu", "gpu", "mps"))
    precision: str = setting(
        "f32",
        "of a checkpoint; f32: as it was judged, bf16: faster where the processor has it",
        choices=("f32", "bf16"),
    )
    progress: bool = setting(True, "progress bar (on a terminal)")


@dataclass
class ServeConfig:
    checkpoint: str | None = setting(
        None, "run folder, checkpoint, or exported .safetensors, .onnx or .xml file (required)"
    )
    host: str = setting("127.0.0.1", "name or address to answer at; 0.0.0.0: to whoever reaches this machine")
    port: int = setting(8000, "port; 0: a free one", least=0, most=65535)
    max_mb: float = setting(20.0, "largest upload, millions of bytes", above=0, most=1000)
    timeout: float = setting(30.0, "seconds that one request may take, its upload included", above=0, most=3600)
    max_waiting: int = setting(8, "requests that may be under way at once; one is worked on", least=1, most=1000)
    accelerator: str = setting("auto", "processor of a checkpoint", choices=("auto", "cpu", "gpu", "mps"))


@dataclass
class ExplainConfig:
    checkpoint: str | None = setting(None, "run folder, checkpoint or .safetensors file (required)")
    input: str | None = setting(
        None, "picture, folder, 'glob', or .csv with a path column; null: the run's own data, or data=..."
    )
    split: str | None = setting(
        None,
        "of data, which people; all: every picture that the model never saw; null: test, for other data all",
        choices=("train", "val", "test", "all"),
    )
    top: int | None = setting(
        None, "so many most probable AUs and emotions; null: the active AUs and the emotion", least=1
    )
    max_figures: int = setting(50, "figures drawn; the score takes every picture", least=0, most=100_000)
    name: str | None = setting(None, "name of the explanation: its folder; null: the name of the run")
    run_dir: str | None = setting(None, "where to write; null: outputs/explain/<name>/<date_time>")
    cache_dir: str | None = setting(None, "pixels and drawn faces; null: the user's cache folder. Safe to delete")
    accelerator: str = setting("auto", "processor", choices=("auto", "cpu", "gpu", "mps"))
    progress: bool = setting(True, "progress bar (on a terminal)")
    data: DataConfig = field(default_factory=DataConfig)


@dataclass
class ExportConfig:
    checkpoint: str | None = setting(None, "run folder or checkpoint file (required)")
    output: str | None = setting(
        None,
        "FILE.onnx, FILE.xml (OpenVINO, with FILE.bin) or FILE.safetensors; null: model with the ending of format, in this folder",
    )
    format: str | None = setting(
        None, "kind of file; null: by the ending of output", choices=("onnx", "openvino", "safetensors")
    )
    precision: str = setting(
        "f32",
        "what it computes in; bf16: openvino and safetensors; int8: onnx and openvino",
        choices=("f32", "bf16", "int8"),
    )
    input: str | None = setting(
        None, "pictures to compare answers on, and to calibrate int8 on: folder, 'glob' or .csv; null: drawn faces"
    )
    max_images: int = setting(300, "pictures that are taken from input", least=1, most=100_000)
    overwrite: bool = setting(False, "write over a file that is there")


SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "crossval": CrossvalConfig,
    "compare": CompareConfig,
    "predict": PredictConfig,
    "explain": ExplainConfig,
    "export": ExportConfig,
    "serve": ServeConfig,
    "explore": ExploreConfig,
    "synthesize": SynthesizeConfig,
    "tune": TuneConfig,
    "benchmark": BenchmarkConfig,
}
"""Command name -> the schema of its `conf/<command>.yaml`."""

NEVER_SWEPT = ("benchmark", "compare", "crossval", "synthesize", "tune")
"""Commands that are many runs, or about many, in one: Hydra's jobs of them would share one folder."""

HEAD_WEIGHTS = ("loss.au_weight", "loss.emotion_weight")
"""Weights that are not tried at 0: without a head the score is that of the other alone, and jobs could not be ranked by it."""

OF_A_RUN = ("name", "run_dir", "resume", "test")
"""Settings that say which run it is and what is done with it, not what it learns."""

FREE = ("trainer.progress", "data.workers", "cache_dir", "report.pictures")
"""Settings of the place and of what is shown, with which a run may be gone on with: other values make no other model."""
