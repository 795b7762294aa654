"""Mistakes at the command line: one clear line, exit status 2, nothing left behind, no heavy import."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import composed
from started import run_command

from fer.cli.messages import show_messages
from fer.cli.quoting import with_paths_quoted
from fer.cli.typed import refuse_bad_overrides
from fer.config import NAMES_OF_GROUPS, SCHEMAS, TrainConfig, conf_dir, idle, outvoted, settings_of


def fer(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_command(*words, cwd=cwd, env={**os.environ, **environment})


BAD = {
    "mistyped key": (("model.dens=3",), "model.dens: no such key; did you mean model.dense?"),
    "mistyped key with plus": (("+model.dens=3",), "model.dens: no such key; did you mean model.dense?"),
    "mistyped group": (("modle.dense=3",), "modle.dense: no such key; did you mean model.dense?"),
    "text for a number": (
        ("model.dense=many",),
        "model.dense must be a whole number, at least 1, at most 65536; got many",
    ),
    "neither true nor false": (("test=maybe",), "test must be true or false, or null; got maybe"),
    "null": (("model.finetune=null",), "model.finetune must be one of frozen, gradual, full; got null"),
    "no units": (("data.aus=null",), "data.aus must be auto or a list of FACS numbers such as [1,2,4]; got null"),
    "text for a list": (("data.root=[1]",), "data.root must be text, or null; got [1]"),
    "a sweep that goes on": (("-m", "resume=x", "seed=1,2"), "a sweep goes on when its own line is typed again"),
    "too small": (("model.dense=0",), "model.dense must be at least 1, got 0"),
    "rate of zero": (("optimizer.lr=0",), "optimizer.lr must be above 0, got 0"),
    "no number": (("optimizer.lr=nan",), "optimizer.lr must be a number, got nan"),
    "unknown choice": (("data.crop=square",), "data.crop must be one of face, full; got square"),
    "unknown option": (
        ("optimizer=lion",),
        "optimizer=lion: there is no such choice (known: adam, adamw, rmsprop, sgd)",
    ),
    "seed is required": (("seed=null",), "seed must be a whole number, at least 0, at most 2147483647; got null"),
    "no such unit": (
        ("data.aus=[1,99]",),
        "data.aus must be auto or a list of FACS numbers such as [1,2,4]; got [1, 99]",
    ),
    "fractions": (
        ("data.val_fraction=.6", "data.test_fraction=.5"),
        "data.val_fraction + data.test_fraction must be below 1",
    ),
    "fold": (("data.folds=5", "data.fold=5"), "data.fold must be below data.folds=5, got 5"),
    "root missing": (("data=ckplus",), "data.root is missing"),
    "table missing": (("data=csv",), "data.table is missing"),
    "nothing to learn": (("loss.au_weight=0", "loss.emotion_weight=0"), "both 0"),
    "several devices": (
        ("trainer.devices=2", "seed=1"),
        "; type: torchrun --nproc-per-node=2 -m fer.train trainer.devices=2 seed=1\n",
    ),
    "several devices in a sweep": (("-m", "trainer.devices=2", "seed=1,2"), "a sweep"),
    "a sweep with one bad value": (("-m", "model.dense=8,-4"), "model.dense must be at least 1, got -4"),
    "several values without -m": (("optimizer=adam,sgd",), "several values; a run for each of them: type -m, too"),
    "a group by its name key": (
        ("optimizer.name=sgd",),
        "type optimizer=sgd, which brings the settings that go with it",
    ),
    "a word that reads as a number": (("name=2024_01",), "name=2024_01 reads as 202401"),
    "a fold of no folds": (("data.fold=3",), "data.fold=3 needs data.folds=N"),
    "a backbone that has no file": (("model=densenet121",), "or model.backbone=NAME"),
    "several at once": (
        ("model.dense=-1", "optimizer.lrr=1"),
        "model.dense must be at least 1, got -1; optimizer.lrr: no such key; did you mean optimizer.lr?",
    ),
    "a glob": (("-m", "optimizer=glob(ad*)"), "optimizer=glob(ad*): type the choices out"),
    "a group taken away": (("~model",), "~model: no setting can be taken away"),
    "a name for what is not there": (("optimizer.lr=${foo}",), "optimizer.lr: Interpolation key 'foo' not found\n"),
    "other folders in a sweep": (("-m", "seed=1,2", "hydra.sweep.subdir=x"), "name=NAME chooses outputs/sweeps/NAME"),
    "not an override": (("model.dense",), "model.dense: settings are typed as key=value"),
    "an option that is none": (("--model.dense=8",), "--model.dense=8: settings have no dashes: model.dense=8"),
    "a table without its reader": (("data.table=x.csv",), "data.table=x.csv is for data=csv, and data is synthetic"),
    "a name of augmentations": (("augment.name=none",), "augment.name: type augment=none"),
    "no such backbone": (
        ("model.backbone=resnet5",),
        "model.backbone=resnet5: torchvision has no such classifier; near it are resnet50",
    ),
    "no such processor": (("trainer.accelerator=mps",), "trainer.accelerator=mps: torch finds none on this machine"),
    "weights file missing": (("model.weights=w.pth",), "w.pth: there is no such file"),
    "name that leads away": (("name=../x",), "name must be letters, digits, spaces"),
    "empty value": (("data=ckplus", "data.root="), "data.root must not be empty; null means: not given"),
    "folder that is no tree": (("data=ckplus", "data.root=."), "no folder cohn-kanade-images"),
    "sweep into one folder": (("-m", "run_dir=x", "seed=1,2"), "run_dir names one folder"),
    "folder missing": (("data=ckplus", "data.root=nowhere"), "nowhere does not exist"),
    "nobody's folder": (("data=ckplus", "data.root='~nobody-here/x'"), "data.root: ~nobody-here/x: there is no user"),
    "no group": (("experiment=null",), "experiment=null: leave it out"),
    "a range of nothing": (("-m", "model.dense=range(5,1)"), "holds no value to try"),
    "a sweep that leaves a head out": (("-m", "loss.au_weight=0,1"), "loss.au_weight=0,1: 0 leaves a head out"),
    "an interval": (("-m", "optimizer.lr=interval(1,2)"), "type the choices out"),
    "a sweep that leads away": (("-m", "name=../x", "seed=1,2"), "name must be letters, digits, spaces"),
    "Hydra's own sweep": (("hydra.mode=MULTIRUN", "seed=1,2"), "hydra.mode: type -m"),
    "Hydra's own folder": (("hydra.run.dir=x",), "run_dir=FOLDER chooses"),
    "several folders": (("data.root=a,b",), "one value with a comma: \"data.root='a,b'\""),
    "no such recipes": (("-m", "--config-dir", "nowhere", "seed=1,2"), "--config-dir nowhere: there is no such folder"),
    "hardly any mixing": (("augment.mixup=0.001",), "augment.mixup must be 0 or at least 0.01"),
    "a package of nothing": (("-p", "foo"), "they are nothing without it"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistake_is_one_line_with_status_2_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    words, expected = BAD[case]
    done = fer("fer.train", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("fer train: ") and expected in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("fer.evaluate", (), "checkpoint is missing"),
        ("fer.evaluate", ("checkpoint=nowhere",), "checkpoint=nowhere: there is no such run folder or file"),
        ("fer.evaluate", ("checkpoint=x", "split=tset"), "split must be one of train, val, test, all; got tset"),
        ("fer.synthesize", (), "root is missing"),
        ("fer.benchmark", ("sizes=[a]",), "sizes must be a list of whole numbers such as [1,2]; got ['a']"),
        ("fer.crossval", ("-m", "seed=1,2"), "-m is not for fer.crossval"),
        ("fer.compare", ("~nobody-here/a", "b"), "~nobody-here/a: there is no user of that name"),
        ("fer.predict", ("checkpoint=x", "input=99999999999"), "input=99999999999: there is no such file or folder"),
        ("fer.crossval", ("data.fold=3",), "a cross-validation takes all of them"),
        ("fer.predict", ("checkpoint=x", "input=y", "data=csv"), "no such group of settings"),
        ("fer.synthesize", ("root=x", "subjects=1"), "subjects must be at least 3, got 1"),
        ("fer", ("trian",), f"there is no command trian; commands: {', '.join(SCHEMAS)}"),
    ],
)
def test_other_commands_answer_likewise(command: str, words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    done = fer(command, *words, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and expected in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [("fer.train", "--help"), ("fer.train", "model.dens=3"), ("fer", "train", "seed=null")]
)
def test_help_and_refusals_never_import_torch(words: tuple[str, ...], tmp_path: Path) -> None:
    # a module of that name that fails stands before the real one
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")
    line = [sys.executable, "-m", *words]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode in (0, 2) and "torch was imported" not in done.stderr, done.stderr


@pytest.mark.parametrize("command", SCHEMAS)
def test_help_names_every_key_with_its_meaning(command: str, tmp_path: Path) -> None:
    done = fer(f"fer.{command}", "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    for key, limits in settings_of(SCHEMAS[command]):
        if key not in NAMES_OF_GROUPS:
            assert f"  {key}=" in done.stdout and limits["help"] in done.stdout


@pytest.mark.parametrize("terminal", [True, False])
def test_paths_can_be_clicked_on_a_terminal_and_are_plain_elsewhere(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    logger = logging.getLogger("fer")
    monkeypatch.setattr(logger, "handlers", [])
    show_messages()
    logger.info("run folder: %s (%d)", tmp_path, 3)
    said = stream.getvalue()
    assert (f";{tmp_path.as_uri()}\x1b\\{tmp_path}\x1b]8;;" in said) == terminal
    assert terminal or said == f"run folder: {tmp_path} (3)\n"


def test_every_setting_of_every_file_is_checked_and_has_a_help_text() -> None:
    for group in sorted(p for p in conf_dir().iterdir() if p.is_dir()):
        for file in group.glob("*.yaml"):
            needed = {"ckplus": ["data.root=x"], "csv": ["data.table=x"]}.get(file.stem, [])
            composed("tune" if group.name == "search" else "train", f"{group.name}={file.stem}", *needed)
    assert all(limits["help"] for _, limits in settings_of(TrainConfig))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ("experiment=best", "scheduler=step"),
            ["scheduler.warmup_epochs=1 has no effect with scheduler=step"],
        ),
        (
            ("experiment=best", "model.finetune=frozen", "augment.mixup=0"),
            ["optimizer.backbone_lr=0.0002 has no effect with model.finetune=frozen"],
        ),
        (
            ("loss.balance=uncertainty", "loss.au_weight=2"),
            ["loss.au_weight=2.0 has no effect with loss.balance=uncertainty"],
        ),
        (
            ("loss.balance=uncertainty", "loss.consistency_weight=3"),
            [
                "loss.consistency_weight=3.0 counts as 1 with loss.balance=uncertainty, which learns how much a task weighs"
            ],
        ),
        (("data.folds=5", "data.test_fraction=0.4"), ["data.test_fraction=0.4 has no effect with data.folds=5"]),
        (("data.aus=[1,2]", "data.min_au_count=50"), ["data.min_au_count=50 has no effect with data.aus=[1, 2]"]),
        (("optimizer=adamw", "optimizer.momentum=0.5"), ["optimizer.momentum=0.5 has no effect with optimizer=adamw"]),
        (("data.cache_features=false",), ["data.cache_features=False has no effect with model.finetune=full"]),
        *[((f"optimizer={name}", "scheduler=none"), []) for name in ("adam", "adamw", "rmsprop", "sgd")],
        *[((f"experiment={file.stem}",), []) for file in sorted((conf_dir() / "experiment").glob("*.yaml"))],
    ],
)
def test_settings_that_do_nothing_are_named(typed: tuple[str, ...], said: list[str]) -> None:
    assert list(idle(composed("train", *typed, "data=synthetic"))) == said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("experiment=best", "augment=none"), []),
        (("experiment=best", "optimizer=adamw", "optimizer.lr=1e-3"), [("weight_decay=0.05", "0.01")]),
        (("experiment=best", "optimizer=sgd", "optimizer.weight_decay=0"), [("lr=0.0006", "0.01")]),
        (("optimizer=sgd", "optimizer.lr=1"), []),
    ],
)
def test_an_experiment_that_outvotes_a_choice_is_named(typed: tuple[str, ...], said: list[tuple[str, str]]) -> None:
    lines = list(outvoted(composed("train", *typed, "data=synthetic"), typed))
    group = typed[1].split("=")
    wanted = [
        f"{group[0]}={group[1]}: experiment=best sets optimizer.{kept} (not {not_this}); type"
        for kept, not_this in said
    ]
    assert len(lines) == len(wanted) and all(line.startswith(want) for line, want in zip(lines, wanted, strict=True))


def test_paths_that_are_there_need_no_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["model.dense-64,optimizer-sgd", "my faces", "a=b", "it's", "müller", "a&b", "c d\\", "plain"]
    for name in names:
        Path(name).mkdir()
    words = [
        *(f"checkpoint={name}" for name in names),
        "checkpoint='my faces'",
        "checkpoint=not,there",
        "run_dir=null",
        "input=[a,b]",
        "data.root=${oc.env:HOME}/faces",
        "model.dense=1,2",
    ]
    typed = with_paths_quoted(words)
    assert typed[len(names) - 1 :] == words[len(names) - 1 :]
    for name, word in zip(names, typed, strict=False):
        (override,) = refuse_bad_overrides([word], SCHEMAS["evaluate"])
        assert override.value() == name and not override.is_sweep_override()


@pytest.mark.parametrize(
    "name", ["antwörten.csv", "a (1).csv", "日本.jsonl", "my answers", "x&y.csv", "it's.csv", "*ü [ab].png"]
)
def test_paths_that_are_yet_to_be_need_no_quotes_either(name: str) -> None:
    (override,) = refuse_bad_overrides(with_paths_quoted([f"output={name}"]), SCHEMAS["predict"])
    assert override.value() == name and not override.is_sweep_override()


def test_an_option_may_name_a_folder_with_an_equals_sign(tmp_path: Path) -> None:
    (tmp_path / "lr=1" / "experiment").mkdir(parents=True)
    (tmp_path / "lr=1" / "experiment" / "tuned.yaml").write_text("# @package _global_\nmodel:\n  dense: 77\n")
    done = fer("fer.train", "--config-dir", "lr=1", "experiment=tuned", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0 and "dense: 77" in done.stdout, done.stderr
    shown = fer("fer.compare", "--cfg", "job", "run1", cwd=tmp_path)
    assert shown.returncode == 0 and "- run1" in shown.stdout, shown.stderr
