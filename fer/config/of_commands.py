"""The rules of each command beside those of a training run. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer.config.commands import (
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
    TuneConfig,
)
from fer.config.groups import DataConfig

EXPORT_ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "safetensors": ".safetensors"}


def export_format(cfg: ExportConfig) -> str:
    """`format`, or what the ending of `output` means; empty if it means nothing."""
    ending = Path(cfg.output or "").suffix
    return cfg.format or next((form for form, end in EXPORT_ENDINGS.items() if end == ending), "")


def export_output(cfg: ExportConfig) -> Path:
    """`output`, or a file called `model` in this folder."""
    return Path(cfg.output).expanduser() if cfg.output else Path(f"model{EXPORT_ENDINGS[export_format(cfg)]}")


def of_command(cfg: Any) -> list[str]:
    """What is wrong with the settings that only this command has."""
    found: list[str] = []
    if isinstance(cfg, CrossvalConfig) and not cfg.resume and not cfg.data.folds and not cfg.leave_one_out:
        found.append("data.folds must be at least 2, or leave_one_out=true")
    if isinstance(cfg, CrossvalConfig) and cfg.data.fold:
        found.append("data.fold is for fer.train: a cross-validation takes all of them")
    if isinstance(cfg, TuneConfig):
        found += _bad_search(cfg)
    if isinstance(cfg, BenchmarkConfig):
        found += _bad_benchmark(cfg)
    if isinstance(cfg, EvaluateConfig | ServeConfig) and cfg.checkpoint is None:
        found.append("checkpoint is missing: checkpoint=RUN_FOLDER or checkpoint=FILE")
    if isinstance(cfg, PredictConfig | ServeConfig):
        found += _bad_processor(cfg)
    if isinstance(cfg, PredictConfig):
        found += _bad_prediction(cfg)
    if isinstance(cfg, ExportConfig):
        found += _bad_export(cfg)
    if isinstance(cfg, ExplainConfig):
        found += _bad_explanation(cfg)
    if isinstance(cfg, ExploreConfig):
        found += bad_source(cfg.data) + bad_split(cfg.data)
        if cfg.data.reference != "none":
            found.append("data.reference is for training and judging: explore looks at each picture by itself")
    if isinstance(cfg, CompareConfig) and not cfg.runs:
        found.append("runs is missing: python -m fer.compare RUN_OR_SWEEP...")
    if isinstance(cfg, SynthesizeConfig) and cfg.root is None:
        found.append("root is missing: root=FOLDER")
    return found


def bad_source(data: DataConfig) -> list[str]:
    """What the chosen reader lacks."""
    if data.name == "ckplus" and data.root is None:
        return ["data.root is missing: data.root=FOLDER of the CK+ tree"]
    if data.name == "csv" and data.table is None:
        return ["data.table is missing: data.table=FILE, a table with a row per picture"]
    if data.name != "csv":
        typed = {
            "data.table": data.table,
            "data.subject": data.subject if data.subject != DataConfig().subject else None,
        }
        return [
            f"{key}={value} is for data=csv, and data is {data.name}"
            for key, value in typed.items()
            if value is not None
        ]
    return []


def bad_split(data: DataConfig) -> list[str]:
    """Folds and shares that can't be."""
    found = []
    if data.folds == 1:
        found.append("data.folds must be 0 (no folds) or at least 2, got 1")
    if data.fold and not data.folds:
        found.append(f"data.fold={data.fold} needs data.folds=N")
    if data.folds > 1 and data.fold >= data.folds:
        found.append(f"data.fold must be below data.folds={data.folds}, got {data.fold}")
    if not data.folds and data.val_fraction + data.test_fraction >= 1:
        found.append(
            f"data.val_fraction + data.test_fraction must be below 1, got {data.val_fraction + data.test_fraction:g}"
        )
    return found


def _bad_search(cfg: TuneConfig) -> list[str]:
    found = []
    if cfg.test:
        found.append(
            "test must be false: a search never looks at the test people; its best settings are tested by fer.train"
        )
    if cfg.resume is not None:
        found.append("resume is for a single run: the same line again goes on with a search")
    return found


def _bad_benchmark(cfg: BenchmarkConfig) -> list[str]:
    found = []
    if cfg.resume is not None:
        found.append("resume is for fer.train: a benchmark starts anew")
    if cfg.data.reference != "none":
        found.append("data.reference is for training and judging: a benchmark shows each picture by itself")
    if cfg.against is not None and cfg.what not in ("train", "predict"):
        found.append(f"against compares two settings of what=train or what=predict, not of what={cfg.what}")
    if cfg.what == "choices" and cfg.model.finetune != "full":
        found.append(
            f"what=choices is about training a backbone, which model.finetune={cfg.model.finetune} begins without: type full"
        )
    if cfg.what == "choices" and cfg.trainer.compile:
        found.append("what=choices compiles by itself, to compare: trainer.compile must be false")
    if not cfg.sizes or min(cfg.sizes) < 1:
        found.append(f"sizes must be a list of numbers of pictures such as [1000,10000]; got {cfg.sizes}")
    return found


def _bad_prediction(cfg: PredictConfig) -> list[str]:
    found = []
    if cfg.checkpoint is None:
        found.append("checkpoint is missing: checkpoint=RUN_FOLDER or checkpoint=FILE")
    if cfg.input is None:
        found.append("input is missing: input=PICTURE, FOLDER, 'GLOB', FILE.csv, VIDEO, or 0 for a camera")
    if cfg.precision != "f32" and Path(cfg.checkpoint or "").suffix in (".onnx", ".xml"):
        found.append(f"precision={cfg.precision}: an exported file has its own; see precision= of fer.export")
    if cfg.output is not None and Path(cfg.output).suffix not in (".csv", ".jsonl"):
        found.append(f"output must end in .csv or .jsonl, got {cfg.output}")
    return found


def _bad_processor(cfg: PredictConfig | ServeConfig) -> list[str]:
    if cfg.accelerator in ("auto", "cpu") or Path(cfg.checkpoint or "").suffix not in (".onnx", ".xml"):
        return []
    return [f"accelerator={cfg.accelerator}: an exported .onnx or .xml file is run on the CPU"]


def _bad_explanation(cfg: ExplainConfig) -> list[str]:
    if cfg.checkpoint is None:
        return ["checkpoint is missing: checkpoint=RUN_FOLDER or checkpoint=FILE"]
    ending = Path(cfg.checkpoint).suffix
    if ending in (".onnx", ".xml"):
        return [
            f"checkpoint={cfg.checkpoint}: an exported {ending} has no gradients; give its run folder or checkpoint"
        ]
    if ending == ".safetensors" and cfg.input is None:
        return ["input is missing: a .safetensors file knows no data"]
    return []


def _bad_export(cfg: ExportConfig) -> list[str]:
    found = []
    if cfg.checkpoint is None:
        found.append("checkpoint is missing: checkpoint=RUN_FOLDER or checkpoint=FILE")
    if cfg.output is None and cfg.format is None:
        found.append(
            "output is missing: output=FILE.onnx, FILE.xml or FILE.safetensors; or format=, for a file called model here"
        )
        return found
    form = export_format(cfg)
    if not form or EXPORT_ENDINGS[form] != export_output(cfg).suffix:
        wanted = EXPORT_ENDINGS[form] if form else ", ".join(EXPORT_ENDINGS.values())
        found.append(f"output must end in {wanted}{f' for format={form}' if form else ''}, got {cfg.output}")
    elif (form, cfg.precision) in (("onnx", "bf16"), ("safetensors", "int8")):
        found.append(f"precision={cfg.precision} is not made for format={form}: see --help")
    elif cfg.precision == "int8" and cfg.input is None:
        found.append("precision=int8 needs input=FOLDER: real pictures to calibrate on")
    return found
