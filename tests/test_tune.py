"""The search: its space, its total, its resume, its workers, and that only validation people are looked at."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import optuna
import pandas as pd
import pytest
from conftest import SMALL
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from started import run_command, start_command

from fer import train, tune
from fer.cli.command import Call, settings
from fer.config import SCHEMAS, TrainConfig, as_dict, conf_dir, resolve
from fer.errors import FerError, Interrupted, NotWritten
from fer.tuning import summary
from fer.tuning.settings import composed
from fer.tuning.space import as_override, read_space
from fer.tuning.study import n_finished, open_study
from fer.tuning.worker import Worker

DATA = {"data_fingerprint": "f", "split_hash": "s"}
TWO = {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}, "model.dense": {"low": 8, "high": 64, "step": 8}}


@pytest.fixture(autouse=True)
def conf() -> Iterator[None]:
    """What `hydra.main` sets up around a command."""
    for name in ("train", "tune"):
        ConfigStore.instance().store(f"{name}_schema", node=SCHEMAS[name])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def search(where: Path, *typed: str, space: Any = None) -> float | None:
    """`python -m fer.tune run_dir=<where> <typed>` in this process, on another space if one is given."""
    typed = (f"run_dir={where}", *typed)
    cfg = settings(SCHEMAS["tune"], compose("tune", list(typed)))
    if space is not None:
        cfg.search = space
    return tune.run(cfg, Call("python -m fer.tune", typed, None))


Scored = Callable[[Callable[[TrainConfig], float | None]], list[TrainConfig]]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Scored:
    """Puts a function of the settings in the place of training; the list that it returns gets the settings of each run."""

    def install(function: Callable[[TrainConfig], float | None]) -> list[TrainConfig]:
        runs: list[TrainConfig] = []

        def begin(cfg: TrainConfig, call: Call, callbacks: Any) -> float | None:
            runs.append(cfg)
            return function(cfg)

        monkeypatch.setattr(train, "begin", begin)
        monkeypatch.setattr(tune, "look_at_data", lambda cfg, folder, kept: DATA)
        monkeypatch.setattr(summary, "page", lambda *_: "")  # drawn by matplotlib: not for every test
        return runs

    return install


def stored(where: Path) -> optuna.Study:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(where / "study.journal")))
    return optuna.load_study(study_name=None, storage=storage)


# --- the space


BAD = {
    "unknown key": ({"optimizer.lrr": {"low": 1, "high": 2}}, "optimizer.lrr: no such key; did you mean optimizer.lr?"),
    "unknown group": ({"optimiser": {"choices": ["adam"]}}, "optimiser can't be searched"),
    "unknown choice of a group": ({"optimizer": {"choices": ["adam", "lion"]}}, "optimizer=lion: no such file"),
    "unknown choice": ({"data.crop": {"choices": ["square"]}}, "data.crop must be one of face, full; got square"),
    "out of the key's limits": ({"model.dropout": {"low": 0.5, "high": 1.5}}, "model.dropout must be below 1, got 1.5"),
    "wrong type": ({"model.dense": {"low": 8, "high": 12.5}}, "model.dense: high must be a whole number, got 12.5"),
    "text for a bound": ({"optimizer.lr": {"low": "small", "high": 1}}, "low must be a number, got small"),
    "bounds the wrong way": ({"optimizer.lr": {"low": 1.0, "high": 0.1}}, "optimizer.lr: "),
    "log from zero": ({"optimizer.weight_decay": {"low": 0, "high": 1, "log": True}}, "optimizer.weight_decay: "),
    "log and step": ({"optimizer.lr": {"low": 0.1, "high": 1, "log": True, "step": 0.1}}, "optimizer.lr: "),
    "step that does not fit": ({"model.dropout": {"low": 0, "high": 0.5, "step": 0.3}}, "model.dropout: "),
    "no upper bound": ({"optimizer.lr": {"low": 0.1}}, "optimizer.lr: high must be a number, got None"),
    "both kinds": ({"optimizer.lr": {"low": 0.1, "choices": [1]}}, "needs either choices, or low and high"),
    "mistyped word": ({"optimizer.lr": {"low": 0.1, "hihg": 1}}, "no such word hihg"),
    "no mapping": ({"optimizer.lr": [1, 2]}, "optimizer.lr must be"),
    "range of words": ({"model.finetune": {"low": 0, "high": 1}}, "model.finetune is not a number"),
    "choices in lists": ({"loss.max_weight": {"choices": [[1]]}}, "a choice must be a number, a word"),
    "same twice": ({"loss.max_weight": {"choices": [1, 1]}}, "names a choice twice"),
    "other people": ({"data.split_seed": {"low": 0, "high": 9}}, "data.split_seed can't be searched"),
    "lucky seeds": ({"seed": {"low": 0, "high": 9}}, "seed can't be searched"),
    "other labels": ({"data.emotions": {"choices": ["basic"]}}, "data.emotions can't be searched"),
    "other data": ({"data": {"choices": ["ckplus"]}}, "data can't be searched"),
    "where it runs": ({"trainer.accelerator": {"choices": ["cpu"]}}, "trainer.accelerator can't be searched"),
    "a head left out": ({"loss.au_weight": {"choices": [0.0, 1.0]}}, "loss.au_weight=0 leaves a head out"),
    "a head left out at the end": ({"loss.emotion_weight": {"low": 0, "high": 1}}, "loss.emotion_weight=0 leaves a"),
    "nothing": ({}, "names no setting to search"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_space_is_refused_in_one_line(case: str) -> None:
    entries, expected = BAD[case]
    with pytest.raises(FerError) as refused:
        read_space(entries, [])
    assert expected in str(refused.value) and str(refused.value).startswith("search: ")
    assert "\n" not in str(refused.value)


def test_typed_settings_are_not_searched() -> None:
    assert list(read_space(TWO, ["optimizer.lr", "data"])) == ["model.dense"]
    with pytest.raises(FerError, match="every setting of the file is fixed"):
        read_space(TWO, list(TWO))


@pytest.mark.parametrize("name", [file.stem for file in (conf_dir() / "search").glob("*.yaml")])
def test_every_search_file_is_a_space(name: str) -> None:
    cfg = settings(SCHEMAS["tune"], compose("tune", [f"search={name}"]))
    space = read_space(cfg.search, [])
    trial = optuna.create_study().ask(space)
    composed([as_override(key, value) for key, value in trial.params.items()])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.lr", 1.2345678901234e-05),
        ("optimizer.backbone_lr", None),
        ("model.flip_average", True),
        ("model.weights", "my folder/it's, w=1.pth"),
        ("model.weights", "a\\b.pth"),
        ("model.backbone", "resnet18"),
    ],
)
def test_point_reaches_the_settings_as_it_is(key: str, value: Any) -> None:
    assert OmegaConf.select(OmegaConf.structured(composed([as_override(key, value)])), key) == value


def test_steps_of_a_tenth_stay_tenths() -> None:
    assert as_override("model.dropout", 0.1 + 0.2) == "model.dropout=0.3"


# --- the total, resume, twins


def test_total_counts_over_starts_and_no_point_is_repeated(tmp_path: Path, scored: Scored) -> None:
    runs = scored(lambda cfg: cfg.optimizer.lr)
    search(tmp_path / "s", "n_trials=4", space=TWO)
    assert len(runs) == 4
    search(tmp_path / "s", "n_trials=9", space=TWO)
    assert len(runs) == 9
    search(tmp_path / "s", "n_trials=9", space=TWO)
    assert len(runs) == 9
    assert len({(cfg.optimizer.lr, cfg.model.dense) for cfg in runs}) == 9
    assert len(stored(tmp_path / "s").trials) == 9


def test_stopped_search_goes_on_as_if_it_had_not_been(tmp_path: Path, scored: Scored) -> None:
    runs = scored(lambda cfg: cfg.optimizer.lr)
    search(tmp_path / "whole", "n_trials=14", space=TWO)
    search(tmp_path / "part", "n_trials=3", space=TWO)
    search(tmp_path / "part", "n_trials=14", space=TWO)
    points = [(cfg.optimizer.lr, cfg.model.dense) for cfg in runs]
    assert points[:14] == points[14:]
    search(tmp_path / "other", "n_trials=2", "seed=1", space=TWO)
    assert (runs[-2].optimizer.lr, runs[-1].optimizer.lr) != (runs[0].optimizer.lr, runs[1].optimizer.lr)


def test_same_point_is_run_once_and_its_score_is_given_again(tmp_path: Path, scored: Scored) -> None:
    runs = scored(lambda cfg: float(cfg.model.dense))
    search(tmp_path / "s", "n_trials=8", space={"model.dense": {"choices": [8, 16]}})
    assert sorted(cfg.model.dense for cfg in runs) == [8, 16]
    table = pd.read_csv(tmp_path / "s" / "trials.csv")
    assert len(table) == 8 and table["same_as"].notna().sum() == 6
    assert (table["score"] == table["model.dense"]).all()


def test_search_learns(tmp_path: Path, scored: Scored) -> None:
    runs = scored(lambda cfg: -abs(math.log10(cfg.optimizer.lr) + 2) - abs(cfg.model.dense - 32) / 100)
    best = search(tmp_path / "s", "n_trials=40", space=TWO)
    assert best is not None and best > -0.1
    off = [abs(math.log10(cfg.optimizer.lr) + 2) for cfg in runs]
    assert sum(off[20:]) / 20 < 0.6  # five in six of a decade is what chance gives


def test_setting_that_fails_does_not_lose_the_rest(tmp_path: Path, scored: Scored) -> None:
    def train_or_fail(cfg: TrainConfig) -> float:
        if cfg.model.dense > 32:
            raise FerError("the loss is not a number in epoch 3")
        return 0.5

    runs = scored(train_or_fail)
    search(tmp_path / "s", "n_trials=8", space={"model.dense": {"choices": [8, 16, 32, 64]}})
    table = pd.read_csv(tmp_path / "s" / "trials.csv")
    assert len(table) == 8 and {cfg.model.dense for cfg in runs} == {8, 16, 32, 64}
    failed = table[table["state"] == "failed"]
    assert set(failed["model.dense"]) == {64} and failed["error"].str.contains("not a number").all()


def test_search_ends_when_every_trial_fails(tmp_path: Path, scored: Scored) -> None:
    def fail(cfg: TrainConfig) -> float:
        raise FerError(f"no {cfg.optimizer.lr}")

    runs = scored(fail)
    with pytest.raises(FerError, match="5 trials in a row failed, the last because: no "):
        search(tmp_path / "s", space=TWO)
    assert len(runs) == 5


def test_search_without_time_for_a_trial_says_so(tmp_path: Path, scored: Scored) -> None:
    runs = scored(lambda cfg: 0.5)
    with pytest.raises(FerError, match="no trial was run"):
        search(tmp_path / "s", "timeout=1e-9", space=TWO)
    assert not runs


def test_lost_trial_is_tried_again_but_not_forever(tmp_path: Path, scored: Scored) -> None:
    scored(lambda cfg: 0.5)
    space = read_space(TWO, [])
    cfg = settings(SCHEMAS["tune"], compose("tune", []))
    study = open_study(cfg, tmp_path, space, DATA)
    worker = Worker(study, space, tmp_path, 1, 0)
    points = []
    for _ in range(3):
        trial = worker.take()
        assert trial is not None
        points.append(trial.params)
        trial.set_user_attr("worker", "elsewhere 1")
        trial.set_user_attr("alive", time.time() - 1000)  # its machine went down
    assert points[0] == points[1] == points[2]
    assert worker.take() is None and n_finished(study.trials) == 1


@pytest.mark.parametrize(
    "then",
    [
        UpdateFinishedTrialError("Trial#0 has already finished"),  # as the next report of a score says
        FerError("the loss is not a number"),
    ],
)
def test_a_trial_taken_for_dead_does_not_end_its_worker(
    tmp_path: Path, scored: Scored, caplog: pytest.LogCaptureFixture, then: Exception
) -> None:
    def told_by_another(cfg: TrainConfig) -> float:
        if len(runs) == 1:
            study = stored(tmp_path / "s")
            study.tell(study.trials[-1].number, state=TrialState.FAIL)
            raise then
        return 0.5

    runs = scored(told_by_another)
    search(tmp_path / "s", "n_trials=2", space=TWO)
    assert len(runs) == 3 and n_finished(stored(tmp_path / "s").trials) == 2
    assert runs[1].optimizer.lr == runs[0].optimizer.lr
    assert ("took this one for dead" in caplog.text) is isinstance(then, UpdateFinishedTrialError)


def test_a_dead_model_is_the_best_only_where_all_are(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = scored(lambda cfg: 0.9 if len(runs) == 1 else 0.5)
    monkeypatch.setattr(tune, "why_dead", lambda where: "says the same" if len(runs) == 1 else None)
    assert search(tmp_path / "s", "n_trials=1", space=TWO) == 0.9
    assert "is dead, the best of them, too: says the same" in capsys.readouterr().out
    assert search(tmp_path / "s", "n_trials=2", space=TWO) == 0.5
    assert "best: trial 1" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "s" / "trials.csv")["dead"].tolist() == [True, False]
    study = stored(tmp_path / "s")  # the sampler, which is told .9, asks for the dead one's point again
    study.enqueue_trial(study.trials[0].params)
    assert search(tmp_path / "s", "n_trials=3", space=TWO) == 0.5


def test_ctrl_c_is_no_result(tmp_path: Path, scored: Scored, caplog: pytest.LogCaptureFixture) -> None:
    def stop(cfg: TrainConfig) -> float:
        if len(runs) == 3:
            raise Interrupted("somewhere")
        return cfg.optimizer.lr

    runs = scored(stop)
    with pytest.raises(SystemExit) as ended:
        search(tmp_path / "s", "n_trials=5", space=TWO)
    assert ended.value.code == 130 and "stopped with 2 of 5 trials finished; the same line goes on" in caplog.text
    search(tmp_path / "s", "n_trials=5", space=TWO)
    assert len(runs) == 6 and runs[3].optimizer.lr == runs[2].optimizer.lr
    assert n_finished(stored(tmp_path / "s").trials) == 5


def test_a_full_disk_is_no_fault_of_a_setting(tmp_path: Path, scored: Scored) -> None:
    def fill(cfg: TrainConfig) -> float:
        if len(runs) == 3:
            raise NotWritten("checkpoints/best.ckpt: the checkpoint can't be written (No space left on device)")
        return cfg.optimizer.lr

    runs = scored(fill)
    with pytest.raises(NotWritten):
        search(tmp_path / "s", "n_trials=5", space=TWO)
    assert n_finished(stored(tmp_path / "s").trials) == 2
    search(tmp_path / "s", "n_trials=5", space=TWO)
    assert len(runs) == 6 and runs[3].optimizer.lr == runs[2].optimizer.lr


def test_a_lost_sign_of_life_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    worker, trial = Worker(study, {}, tmp_path, 1, 0), study.ask()
    monkeypatch.setattr("fer.tuning.worker.SIGN_EVERY", 0.01)
    said, given = [], Event()

    def sign(*_: object) -> None:
        said.append(1)
        if len(said) < 3:
            raise OSError("database is locked")
        given.set()

    monkeypatch.setattr(trial, "set_user_attr", sign)
    with worker.alive(trial):
        assert given.wait(20)


def test_study_refuses_other_settings_space_and_data(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(lambda cfg: 0.5)
    search(tmp_path / "s", "n_trials=1", space=TWO)
    with pytest.raises(FerError, match=r"was begun with trainer\.max_epochs=25, now it is 3"):
        search(tmp_path / "s", "n_trials=2", "trainer.max_epochs=3", space=TWO)
    with pytest.raises(FerError, match=r"another range or choice of model\.dropout"):
        search(tmp_path / "s", "n_trials=2", space={**TWO, "model.dropout": {"choices": [0, 0.5]}})
    (tmp_path / "s" / "trials").mkdir(exist_ok=True)
    for _ in range(2):  # what was refused leaves no study behind
        with pytest.raises(FerError, match="holds trials of another study: another run_dir= begins another study"):
            search(tmp_path / "s", "name=other", "n_trials=2", space=TWO)
    monkeypatch.setattr(tune, "look_at_data", lambda cfg, folder, kept: {**DATA, "split_hash": "other"})
    with pytest.raises(FerError, match="begun on other data"):
        search(tmp_path / "s", "n_trials=2", space=TWO)
    assert len(stored(tmp_path / "s").trials) == 1


def test_study_goes_on_with_what_makes_no_other_model(tmp_path: Path, scored: Scored) -> None:
    scored(lambda cfg: 0.5)
    search(tmp_path / "s", "n_trials=1", space=TWO)
    search(tmp_path / "s", "n_trials=2", "report.pictures=false", f"cache_dir={tmp_path / 'other'}", space=TWO)
    assert len(stored(tmp_path / "s").trials) == 2


def test_database_keeps_a_study(tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = scored(lambda cfg: cfg.optimizer.lr)
    database = f"storage=sqlite:///{tmp_path}/s.db"
    search(tmp_path / "one", "n_trials=2", database, "name=x", space=TWO)
    search(tmp_path / "two", "n_trials=3", database, "name=x", space=TWO)
    assert len(runs) == 3 and not list(tmp_path.rglob("study.journal"))
    with pytest.raises(FerError, match=r"storage=postgres://\.\.\.@nowhere/db can't be used") as refused:
        search(tmp_path / "three", "storage=postgres://me:secret@nowhere/db", space=TWO)
    assert "secret" not in str(refused.value) and not (tmp_path / "three").exists()
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(FerError, match=r"storage=postgresql\+psycopg://\.\.\.@h/db can't be used: .*psycopg"):
        search(tmp_path / "three", "storage=postgresql+psycopg://me:secret@h/db", space=TWO)


def test_damaged_journal_is_one_line(tmp_path: Path, scored: Scored) -> None:
    scored(lambda cfg: 0.5)
    (tmp_path / "s.journal").write_text("not a journal\n")
    with pytest.raises(FerError, match=r"s\.journal can't be used"):
        search(tmp_path / "s", f"storage={tmp_path / 's.journal'}", space=TWO)


def test_journal_that_a_full_disk_cut_off_goes_on(
    tmp_path: Path, scored: Scored, caplog: pytest.LogCaptureFixture
) -> None:
    scored(lambda cfg: cfg.optimizer.lr)
    search(tmp_path / "s", "n_trials=2", space=TWO)
    journal = tmp_path / "s" / "study.journal"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = journal.read_text().replace(f' {os.getpid()}"', f' {gone.pid}"')  # the worker ended with its process
    journal.write_text(left[:-12])
    for n_trials in (3, 4):
        search(tmp_path / "s", f"n_trials={n_trials}", space=TWO)
    assert n_finished(stored(tmp_path / "s").trials) == 4
    assert caplog.text.count("its last line is not whole") == 1


def test_missing_optuna_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FerError, match=r"pip install 'fer-lightning\[sweep\]'"):
        search(tmp_path)


def test_importance_finds_what_matters(tmp_path: Path, scored: Scored) -> None:
    page_of = summary.page
    scored(lambda cfg: math.log10(cfg.optimizer.lr))
    search(tmp_path / "s", "n_trials=15", space=TWO)
    study, space = stored(tmp_path / "s"), read_space(TWO, [])
    found = summary.importances(study, space, 0)
    assert list(found) == ["optimizer.lr", "model.dense"] and found["optimizer.lr"] > 0.8
    page = page_of(tmp_path / "s", study, space, found, "python -m fer.train")
    assert "15 trials: 15 complete" in page and page.count("<svg") == 4
    assert "http" not in page.replace("http://www.w3", "") and "$" not in "".join(
        re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    )


# --- several workers


WORKER = """
import sys, time
from pathlib import Path
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from fer.cli.command import settings
from fer.config import SCHEMAS, conf_dir
from fer.tuning.space import read_space
from fer.tuning.study import open_study
from fer.tuning.worker import Worker

folder, n_trials, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
ConfigStore.instance().store("tune_schema", node=SCHEMAS["tune"])
with initialize_config_dir(str(conf_dir()), version_base="1.3"):
    cfg = settings(SCHEMAS["tune"], compose("tune", sys.argv[4:]))
    space = read_space(cfg.search, [])
study = open_study(cfg, folder, space, {"data_fingerprint": "f", "split_hash": "s"})
worker = Worker(study, space, folder, n_trials, 0)
while (trial := worker.take()) is not None:
    print(trial.number, flush=True)
    time.sleep(seconds)
    study.tell(trial, trial.params["optimizer.lr"])
"""


def start_worker(folder: Path, n_trials: int, seconds: float, *typed: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WORKER, str(folder), str(n_trials), str(seconds), *typed]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_two_workers_share_one_total(tmp_path: Path, storage: str) -> None:
    typed = [f"storage=sqlite:///{tmp_path}/s.db"] if storage == "sqlite" else []
    workers = [start_worker(tmp_path, 12, 0.1, *typed) for _ in range(2)]
    did = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], did
    numbers = [[int(n) for n in out.split()] for out, _ in did]
    assert sorted(numbers[0] + numbers[1]) == list(range(12)) and min(map(len, numbers)) > 0


def test_killed_worker_is_noticed_and_its_trial_taken_up(tmp_path: Path) -> None:
    killed = start_worker(tmp_path, 3, 600)
    assert killed.stdout is not None and killed.stdout.readline().strip() == "0"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    out, said = start_worker(tmp_path, 3, 0).communicate(timeout=120)
    assert out.split() == ["1", "2", "3"], said
    trials = stored(tmp_path).trials
    assert [t.state for t in trials] == [TrialState.FAIL] + [TrialState.COMPLETE] * 3
    assert trials[1].params == trials[0].params and trials[1].user_attrs["retry_of"] == 0


# --- real runs


def test_real_trials_are_scored_on_validation_people_alone(
    tree: Path, cache: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", "trainer.max_epochs=1", "name=x"]
    words = [word for word in words if not word.startswith("model.dense")]
    best = search(tmp_path / "s", *words, "n_trials=2", space={"model.dense": {"choices": [4, 8, 16]}})
    capsys.readouterr()
    trials = stored(tmp_path / "s").trials
    for trial in trials:
        folder = tmp_path / "s" / "trials" / f"{trial.number:04d}"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert set(metrics) == {"val"} and metrics["val"]["score"] == trial.value
        assert set(pd.read_csv(folder / "predictions.csv")["split"]) == {"val"}
        assert OmegaConf.load(folder / "config.yaml").test is False
        assert "epoch 1 of 1" in (folder / "train.log").read_text()
        assert (folder / "checkpoints").exists() == (trial.value == best)
    # the experiment file means the settings of the best trial, with test
    ours = compose("train", ["experiment=tuned", f"hydra.searchpath=[file://{tmp_path / 's'}]"])
    again = as_dict(resolve(settings(TrainConfig, ours)))
    number = max(trials, key=lambda t: t.value or 0).number
    ran = OmegaConf.to_container(OmegaConf.load(tmp_path / "s" / "trials" / f"{number:04d}" / "config.yaml"))
    assert isinstance(ran, dict)
    assert again == {**ran, "name": "x-best", "run_dir": None, "test": None}


def test_hopeless_run_ends_cleanly_and_is_marked(
    tree: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 0)
    words = ["data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", "trainer.max_epochs=2"]
    words = [word for word in words if not word.startswith("model.dense")]
    search(tmp_path / "s", *words, "n_trials=2", space={"model.dense": {"choices": [4, 8, 16]}})
    first, second = stored(tmp_path / "s").trials
    assert first.state == TrialState.PRUNED and list(first.intermediate_values) == [0]
    assert second.state == TrialState.COMPLETE and list(second.intermediate_values) == [0, 1]
    curves = pd.read_csv(tmp_path / "s" / "trials" / "0001" / "curves.csv")
    assert list(second.intermediate_values.values()) == pytest.approx(curves["val/score"].tolist(), abs=1e-5)
    folder = tmp_path / "s" / "trials" / "0000"
    about = json.loads((folder / "run.json").read_text())
    assert about["pruned"] is True and about["finished"] is False
    assert len(pd.read_csv(folder / "curves.csv")) == 1 and not (folder / "metrics.json").exists()
    # each log holds its own run
    assert "epoch 2 of 2" in (tmp_path / "s" / "trials" / "0001" / "train.log").read_text()
    assert "epoch 2 of 2" not in (folder / "train.log").read_text()


def test_sigint_in_a_real_search(tree: Path, cache: Path, tmp_path: Path) -> None:
    words = ["data=ckplus", f"data.root={tree}", *SMALL, f"cache_dir={cache}", "name=x", "n_trials=2"]
    process = start_command("fer.tune", *words, "trainer.max_epochs=200", "trainer.patience=200", cwd=tmp_path)
    log = tmp_path / "outputs" / "tune" / "x" / "trials" / "0000" / "train.log"
    end = time.monotonic() + 120
    while not (log.is_file() and "epoch 1 of" in log.read_text()):
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("stopped with 0 of 2 trials finished; the same line goes on: python -m fer.tune data=ckplus")
    assert "resume=" not in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("search=defualt",), "search=defualt: there is no such choice (known: default, frozen"),
        (("test=true",), "test must be false"),
        (("resume=x",), "resume is for a single run"),
        (("n_trials=0",), "n_trials must be at least 1, got 0"),
        (("-m", "seed=1,2"), "-m is not for fer.tune"),
        (("data=ckplus", "data.root=nowhere"), "nowhere does not exist"),
        (("model.dens=3",), "model.dens: no such key; did you mean model.dense?"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    ended = run_command("fer.tune", *words, cwd=tmp_path)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("fer tune: ") and expected in ended.stderr
    assert not list(tmp_path.iterdir())
