"""The settings of every command: one dataclass per config group, a help text and the allowed values beside each field.

`check` is called once, after composition, and finds every bad value by the name that the user typed. Never imports torch.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer.errors import FerError, first_line
from fer.labels import AU_NAMES, EMOTION_SETS

_LIMITS = {
    "least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | str = (),
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field that knows what it means and what it may be. `None` is always judged by the field's type, not here."""
    limits = {"help": help, "choices": choices, "least": least, "above": above, "most": most, "below": below}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=limits)
    return field(default=default, metadata=limits)


@dataclass
class DataConfig:
    name: str = setting("synthetic", "where the pictures come from", choices=("synthetic", "ckplus", "csv"))
    root: str | None = setting(
        None, "folder of the pictures; for synthetic: where to keep the drawn set (null: the cache)"
    )
    table: str | None = setting(None, "csv only: the table, a row per picture")
    subject: str = setting(
        "subject", "csv only: the column that names the person; `path` makes every picture its own person"
    )
    subjects: int = setting(123, "synthetic only: number of people to draw", least=3, most=5000)
    frames: str = setting("peak", "which frames of a sequence", choices=("peak", "peak3", "neutral+peak3"))
    crop: str = setting("face", "what the network sees of a picture", choices=("face", "full"))
    color: bool = setting(False, "keep colour; off: luminance in all channels, so that colour can't tell people apart")
    image_size: int = setting(224, "side of the network's input, pixels", least=32, most=1024)
    batch_size: int = setting(32, "pictures per training step", least=1, most=65536)
    emotions: str = setting("high_level", "classes of the emotion head", choices=tuple(EMOTION_SETS))
    aus: Any = setting(
        "auto", "action units of the AU head: a list such as [1,2,4], or auto (see data.min_au_count)", choices="aus"
    )
    min_au_count: int = setting(10, "auto: positives that an AU needs in the training split", least=1)
    val_fraction: float = setting(0.15, "share of the people for validation", above=0, below=1)
    test_fraction: float = setting(0.15, "share of the people for the test", least=0, below=1)
    split_seed: int = setting(0, "seed of the split (train: follows seed)", least=0)
    folds: int = setting(0, "number of subject-grouped folds; 0: one split by fractions", least=0)
    fold: int = setting(0, "with folds: the fold whose people are the test", least=0)
    workers: int = setting(
        0, "loader processes; pixels are cached and augmented in batches, so 0 is rarely slow", least=0, most=64
    )
    max_skipped: float = setting(
        0.05, "share of broken or missing pictures above which nothing starts", least=0, most=1
    )


@dataclass
class AugmentConfig:
    name: str = setting("default", "name of this set of augmentations")
    flip: float = setting(0.5, "probability of a left-right flip", least=0, most=1)
    shift: float = setting(0.06, "largest shift, as a share of the picture's side", least=0, most=0.5)
    rotate: float = setting(10.0, "largest rotation, degrees", least=0, most=180)
    zoom: float = setting(0.1, "largest change of size, 0.1: factors 0.9 to 1.1", least=0, below=1)
    stretch: float = setting(0.0, "largest change of height over width, likewise", least=0, below=1)
    brightness: float = setting(0.15, "largest added brightness, 1: the whole range", least=0, most=1)
    contrast: float = setting(0.25, "largest change of contrast, 0.25: factors 0.75 to 1.25", least=0, below=1)
    erase: float = setting(0.0, "probability that a rectangle of the picture is blanked", least=0, most=1)
    mixup: float = setting(
        0.0, "alpha of mixing pictures and labels in pairs; 0: none, .2 to .4 usual", least=0, most=10
    )
    padding: str = setting("border", "what stands outside the stored picture", choices=("border", "zeros"))


@dataclass
class ModelConfig:
    backbone: str = setting(
        "resnet50", "any torchvision classifier: resnet50, resnet18, vgg16, mobilenet_v3_large, inception_v3, ..."
    )
    weights: str | None = setting(
        None,
        "a torchvision name (IMAGENET1K_V2), a .safetensors or .pth file, none, or auto; null: DEFAULT, synthetic: auto",
    )
    dense: int = setting(256, "units of the layer before the heads", least=1, most=65536)
    dropout: float = setting(0.3, "dropout before and after the dense layer", least=0, below=1)
    finetune: str = setting(
        "full", "backbone: frozen, gradual (frozen at first), or full", choices=("frozen", "gradual", "full")
    )
    flip_average: bool = setting(
        False, "answers are the mean over a picture and its mirror image; twice the time of use"
    )
    freeze_epochs: int = setting(3, "gradual: epochs before the backbone is set free", least=1)


@dataclass
class LossConfig:
    name: str = setting("bce", "AU loss: binary cross-entropy", choices=("bce",))
    class_weights: str = setting("balanced", "weights per class from the training split", choices=("balanced", "none"))
    max_weight: float = setting(10.0, "balanced: no class weighs more than this", least=1)
    label_smoothing: float = setting(0.0, "emotion: share of the target spread over all classes", least=0, below=1)
    balance: str = setting("fixed", "how the two tasks are weighed", choices=("fixed", "uncertainty"))
    au_weight: float = setting(1.0, "fixed: weight of the AU loss", least=0)
    emotion_weight: float = setting(1.0, "fixed: weight of the emotion loss", least=0)


@dataclass
class OptimizerConfig:
    name: str = setting("adamw", "which optimizer", choices=("adam", "adamw", "sgd", "rmsprop"))
    lr: float = setting(3e-4, "learning rate of the dense layer and the heads", above=0, most=10)
    backbone_lr: float | None = setting(
        None, "of the backbone; null: lr/10 with pretrained weights, lr with random ones", above=0, most=10
    )
    weight_decay: float = setting(0.0, "weight decay (not on biases and norms)", least=0, most=10)
    momentum: float = setting(0.9, "sgd and rmsprop only", least=0, below=1)


@dataclass
class SchedulerConfig:
    name: str = setting("cosine", "how the learning rate falls", choices=("none", "plateau", "cosine", "step"))
    warmup_epochs: int = setting(0, "cosine: epochs of linear rise at the start", least=0)
    factor: float = setting(0.1, "plateau and step: what a step multiplies the rate with", above=0, below=1)
    step_epochs: int = setting(10, "step: epochs between steps", least=1)
    patience: int = setting(3, "plateau: epochs without a better validation loss before a step", least=0)


@dataclass
class TrainerConfig:
    max_epochs: int = setting(25, "epochs at most", least=1, most=100_000)
    patience: int = setting(10, "early stopping: epochs without a better validation loss", least=1)
    monitor: str = setting(
        "val/loss", "what chooses the best checkpoint and stops early", choices=("val/loss", "val/score")
    )
    gradient_clip: float = setting(1.0, "largest gradient norm; 0: no limit", least=0)
    precision: str = setting("auto", "auto: bf16 where this machine gains from it", choices=("auto", "32", "bf16"))
    accelerator: str = setting("auto", "processor to train on", choices=("auto", "cpu", "gpu", "mps"))
    devices: int = setting(1, "number of processors", least=1)
    num_nodes: int = setting(1, "number of machines", least=1)
    progress: bool = setting(True, "progress bar (on a terminal)")


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
class JudgeConfig:
    accelerator: str = setting("auto", "processor to judge on", choices=("auto", "cpu", "gpu", "mps"))
    progress: bool = setting(True, "progress bar (on a terminal)")


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


def conf_dir() -> Path:
    """The folder of the YAML files: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise FerError(f"conf/train.yaml was found neither in {package} nor beside it: the installation is not complete")


def settings_of(schema: type, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key below a schema as it is typed (`model.dense`), with its help and limits."""
    for f in dataclasses.fields(schema):
        group = group_of(f)
        if group:
            yield from settings_of(group, f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", f.metadata


def group_of(f: dataclasses.Field[Any]) -> type | None:
    """The schema of a field that is a config group, None for a single setting."""
    factory: Any = f.default_factory
    return factory if isinstance(factory, type) and dataclasses.is_dataclass(factory) else None


def check(cfg: Any) -> None:
    """Looks at every value and at the rules between values.

    Raises:
        FerError: names every bad value by its key, with what is allowed.
    """
    problems = list(_bad_values(cfg, "")) + bad_name(getattr(cfg, "name", None))
    if isinstance(cfg, TrainConfig):
        problems += _bad_combinations(cfg)
    if isinstance(cfg, EvaluateConfig) and cfg.checkpoint is None:
        problems.append("checkpoint is missing: checkpoint=RUN_FOLDER or checkpoint=FILE")
    if isinstance(cfg, SynthesizeConfig) and cfg.root is None:
        problems.append("root is missing: root=FOLDER")
    if problems:
        raise FerError("; ".join(problems))


def _bad_values(cfg: Any, prefix: str) -> Iterator[str]:
    for f in dataclasses.fields(cfg):
        value, key = getattr(cfg, f.name), f"{prefix}{f.name}"
        if dataclasses.is_dataclass(value):
            yield from _bad_values(value, f"{key}.")
        else:
            yield from bad_value(value, key, f.metadata)


def bad_value(value: Any, key: str, limits: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one value, by the limits of its `setting`; nothing for a good one."""
    if value is None:
        return
    if limits["choices"] == "aus":
        yield from _bad_aus(value, key)
    elif limits["choices"] and value not in limits["choices"]:
        yield f"{key} must be one of {', '.join(limits['choices'])}; got {value}"
    if value == "":
        yield f"{key} must not be empty; null means: not given"
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{key} must be a number, got {value}"
    for limit, (words, holds) in _LIMITS.items():
        if limits[limit] is not None and not holds(value, limits[limit]):
            yield f"{key} must be {words} {limits[limit]}, got {value}"


def _bad_aus(value: Any, key: str) -> Iterator[str]:
    if value == "auto":
        return
    if not isinstance(value, list) or not value or not all(type(v) is int and v in AU_NAMES for v in value):
        yield f"{key} must be auto or a list of FACS numbers such as [1,2,4]; got {value}"
    elif len(set(value)) != len(value):
        yield f"{key} names a unit twice: {value}"


def _bad_combinations(cfg: TrainConfig) -> list[str]:
    data, found = cfg.data, bad_source(cfg.data)
    if data.folds == 1:
        found.append("data.folds must be 0 (no folds) or at least 2, got 1")
    if data.folds > 1 and data.fold >= data.folds:
        found.append(f"data.fold must be below data.folds={data.folds}, got {data.fold}")
    if not data.folds and data.val_fraction + data.test_fraction >= 1:
        found.append(
            f"data.val_fraction + data.test_fraction must be below 1, got {data.val_fraction + data.test_fraction:g}"
        )
    if cfg.model.weights == "auto" and data.name != "synthetic":
        found.append("model.weights=auto is for data=synthetic only: name the weights, a file, or none")
    if cfg.model.finetune == "gradual" and cfg.model.freeze_epochs >= cfg.trainer.max_epochs:
        found.append(
            f"model.freeze_epochs must be below trainer.max_epochs={cfg.trainer.max_epochs}, got {cfg.model.freeze_epochs}"
        )
    if cfg.loss.au_weight == 0 and cfg.loss.emotion_weight == 0:
        found.append("loss.au_weight and loss.emotion_weight are both 0: nothing would be learned")
    if cfg.trainer.devices > 1 or cfg.trainer.num_nodes > 1:
        found.append(
            "trainer.devices and trainer.num_nodes must be 1: training on several processors is not supported yet"
        )
    return found


def resolve(cfg: TrainConfig) -> TrainConfig:
    """Fills in what depends on other settings and makes folders absolute, so that the saved settings mean the same anywhere."""
    weights = cfg.model.weights or ("auto" if cfg.data.name == "synthetic" else "DEFAULT")
    if is_file_name(weights):
        weights = str(Path(weights).expanduser().absolute())
    return dataclasses.replace(cfg, data=absolute(cfg.data), model=dataclasses.replace(cfg.model, weights=weights))


def is_file_name(weights: str) -> bool:
    """Whether `model.weights` names a file rather than weights of torchvision."""
    return "/" in weights or bool(Path(weights).suffix)


def absolute(data: DataConfig) -> DataConfig:
    """The same settings with folders that do not depend on where the command was typed."""

    def full(path: str | None) -> str | None:
        return None if path is None else str(Path(path).expanduser().absolute())

    return dataclasses.replace(data, root=full(data.root), table=full(data.table))


def bad_name(name: str | None) -> list[str]:
    """What is wrong with a name that becomes a folder: it must not lead anywhere else."""
    if name is None or re.fullmatch(r"[\w+=,@-][\w+=,@ .-]*", name):
        return []
    return [f"name must be letters, digits, spaces and +=,@.-_ without a slash; got {name}"]


def bad_source(data: DataConfig) -> list[str]:
    """What the chosen reader lacks."""
    if data.name == "ckplus" and data.root is None:
        return ["data.root is missing: data.root=FOLDER of the CK+ tree"]
    if data.name == "csv" and data.table is None:
        return ["data.table is missing: data.table=FILE, a table with a row per picture"]
    return []


def as_dict(cfg: Any) -> dict[str, Any]:
    """The settings as plain nested dictionaries, fit for YAML, JSON and a checkpoint."""
    return dataclasses.asdict(cfg)


def from_dict(schema: type, values: Any, source: str) -> Any:
    """The opposite of `as_dict`: typed and with limits; missing keys take their default.

    Raises:
        FerError: `values` (read from `source`) does not fit the schema: damaged, or written by another version.
    """
    try:
        cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise FerError(f"{source} does not hold settings of this version of fer: {first_line(error)}") from error
    problems = list(_bad_values(cfg, ""))
    if problems:
        raise FerError(f"{source}: {problems[0]}")
    return cfg
