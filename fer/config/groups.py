"""The settings of each config group: a help text and the allowed values beside each field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fer.config.setting import setting
from fer.labels import EMOTION_SETS


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
    subjects: int = setting(123, "synthetic only: number of people to draw", least=3, most=999)
    fresh_pictures: int = setting(
        0,
        "synthetic only: pictures drawn anew for every training epoch, instead of those of the drawn set (0)",
        least=0,
        most=10_000_000,
    )
    frames: str = setting("peak", "which frames of a sequence", choices=("peak", "peak3", "neutral+peak3"))
    judged_frames: str = setting(
        "same",
        "which frames of the validation and test people count: those of data.frames, or the peak alone",
        choices=("same", "peak"),
    )
    reference: str = setting(
        "none",
        "neutral: the person's own neutral frame is a second input, in training and in use (a protocol of its own)",
        choices=("none", "neutral"),
    )
    crop: str = setting("face", "what the network sees of a picture", choices=("face", "full"))
    color: bool = setting(False, "keep colour; off: luminance in all channels, so that colour can't tell people apart")
    image_size: int = setting(224, "side of the network's input, pixels", least=32, most=1024)
    batch_size: int = setting(32, "pictures per training step, of all processes together", least=1, most=65536)
    emotions: str = setting("high_level", "classes of the emotion head", choices=tuple(EMOTION_SETS))
    aus: Any = setting(
        "auto", "action units of the AU head: a list such as [1,2,4], or auto (see data.min_au_count)", choices="aus"
    )
    min_au_count: int = setting(
        10, "auto: sequences (or single pictures) that must show an AU in the training split", least=1
    )
    val_fraction: float = setting(0.15, "share of the people for validation", above=0, below=1)
    test_fraction: float = setting(0.15, "share of the people for the test", least=0, below=1)
    split_seed: int = setting(0, "seed of the split (train: follows seed)", least=0)
    folds: int = setting(0, "number of subject-grouped folds; 0: one split by fractions", least=0)
    fold: int = setting(0, "with folds: the fold whose people are the test", least=0)
    workers: int = setting(
        0, "loader processes; pixels are cached and augmented in batches, so 0 is rarely slow", least=0, most=64
    )
    views: int | None = setting(
        None,
        "augmented views per training picture; 0: a new one each epoch; null: 8 if model.finetune=frozen, else 0",
        least=0,
        most=10_000,
    )
    cache_features: bool = setting(
        True, "model.finetune=frozen: put each view through the backbone once and keep the features in cache_dir"
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
    levels: int = setting(
        1,
        "how many of the backbone's resolutions the heads see, the coarsest first: 3 adds finer maps",
        least=1,
        most=6,
    )
    grid: int = setting(
        1, "rows and columns of cells that each map is averaged over; 1: the heads do not see where", least=1, most=16
    )
    landmarks: bool = setting(
        False, "find the 68 landmarks on the maps: the heads see where they are, too; loss.landmark_weight teaches it"
    )
    dense: int = setting(256, "units of the layer before the heads", least=1, most=65536)
    dropout: float = setting(0.3, "dropout before and after the dense layer", least=0, below=1)
    finetune: str = setting(
        "full", "backbone: frozen, gradual (frozen at first), or full", choices=("frozen", "gradual", "full")
    )
    flip_average: bool = setting(
        False, "answers are the mean over a picture and its mirror image; twice the time of use"
    )
    carry_heads: bool = setting(
        False,
        "start the dense layer and the heads, row by row where names agree, from those in a backbone.safetensors that model.weights names",
    )
    freeze_epochs: int = setting(3, "gradual: epochs before the backbone is set free", least=1)


NAMES_OF_GROUPS = ("data.name", "loss.name", "optimizer.name", "scheduler.name")
"""Keys that files of `conf/` set together with others: alone they would make a recipe that no file has."""

OF_THE_MODEL = ("image_size", "crop", "color", "reference", "emotions", "aus")
"""Data settings that a network is trained with: other values would feed it other pictures, or ask it for other answers."""


@dataclass
class LossConfig:
    name: str = setting(
        "bce",
        "AU loss: binary cross-entropy, or one that turns to what is not yet known",
        choices=("bce", "focal", "asymmetric"),
    )
    class_weights: str = setting(
        "balanced",
        "rare classes, by how frequent they are in the training split: weighed more, or with logits shifted in the loss",
        choices=("balanced", "logit_adjusted", "none"),
    )
    max_weight: float = setting(
        10.0, "largest weight of a class; logit_adjusted: no class counts as rarer than that weight would mean", least=1
    )
    label_smoothing: float = setting(0.0, "emotion: share of the target spread over all classes", least=0, below=1)
    balance: str = setting("fixed", "how the tasks are weighed", choices=("fixed", "uncertainty"))
    au_weight: float = setting(1.0, "fixed: weight of the AU loss", least=0)
    emotion_weight: float = setting(1.0, "fixed: weight of the emotion loss", least=0)
    landmark_weight: float = setting(
        0.0,
        "fixed: weight of finding the 68 landmarks as a further task, in training alone, where pictures have them; 0: not",
        least=0,
    )
    consistency_weight: float = setting(
        0.0,
        "fixed: weight of units that go with the emotion answered, as they do in the training split, on every picture; 0: not",
        least=0,
    )


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
    patience: int = setting(10, "early stopping: epochs without a better trainer.monitor", least=1)
    monitor: str = setting(
        "val/loss", "what chooses the best checkpoint and stops early", choices=("val/loss", "val/score")
    )
    ema: float = setting(
        0.0,
        "decay of the moving average of the weights that is judged and kept, over about 1 / (1 - ema) steps; 0: the weights as they are",
        least=0,
        below=1,
    )
    gradient_clip: float = setting(1.0, "largest gradient norm; 0: no limit", least=0)
    precision: str = setting("auto", "auto: bf16 where this machine gains from it", choices=("auto", "32", "bf16"))
    accelerator: str = setting("auto", "processor to train on", choices=("auto", "cpu", "gpu", "mps"))
    compile: bool = setting(
        False,
        "compile the backbone (torch.compile): a minute or more at the start, then faster steps; needs a C++ compiler",
    )
    devices: int = setting(1, "processors of each machine, a process each: started by torchrun or srun", least=1)
    num_nodes: int = setting(1, "number of machines", least=1)
    progress: bool = setting(True, "progress bar (on a terminal)")
    save_backbone: bool = setting(
        False,
        "leave the best backbone with its dense layer and heads as backbone.safetensors in the run folder, for model.weights=FILE",
    )


@dataclass
class ReportConfig:
    pictures: bool | None = setting(
        True,
        "pictures in report.html and TensorBoard; false: licensed ones stay out of files that travel; null: as in training (fer.evaluate)",
    )


@dataclass
class JudgeConfig:
    accelerator: str = setting("auto", "processor to judge on", choices=("auto", "cpu", "gpu", "mps"))
    progress: bool = setting(True, "progress bar (on a terminal)")
