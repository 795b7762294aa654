"""Sweeps with jobs in other processes: as without a launcher, the good jobs end well, the bad one is named, and the status says so."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL
from hydra.core.config_store import ConfigStore
from joblib import Parallel, delayed

from fer.cli.sweep import Sweep
from fer.cli.typed import refuse_bad_overrides
from fer.config import SCHEMAS
from fer.errors import FerError


def sweep(tree: Path, cache: Path, where: Path, *typed: str, seconds: int = 240) -> subprocess.CompletedProcess[str]:
    settings = [s for s in SMALL if not s.startswith(("model.dense", "trainer.max_epochs"))]
    words = ["data=ckplus", f"data.root={tree}", *settings, f"cache_dir={cache}", "name=s", "trainer.max_epochs=1"]
    # ray asks where its token is, and writes one at home
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    return subprocess.run(
        [sys.executable, "-m", "fer.train", "-m", *words, "model.dense=4", *typed],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
    )


def check(done: subprocess.CompletedProcess[str], where: Path) -> None:
    runs = [p.parent for p in (where / "outputs" / "sweeps" / "s").glob("*/run.json")]
    assert [run.name for run in runs] == ["data.aus-auto"], done.stderr
    assert json.loads((runs[0] / "run.json").read_text())["finished"] is True
    assert set(json.loads((runs[0] / "metrics.json").read_text())) == {"val"}
    assert done.returncode == 1 and "1 of 2 jobs failed" in done.stderr.strip().splitlines()[-1]
    assert "AU45 never occurs" in (runs[0].parent / "summary.csv").read_text(encoding="utf-8")
    assert "Traceback" not in done.stderr
    assert (runs[0] / "report.html").is_file()


@pytest.mark.parametrize(
    ("module", "typed"),
    [
        ("joblib_launcher", ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")),
        ("submitit_launcher", ("hydra/launcher=submitit_local",)),
    ],
)
def test_jobs_in_other_processes_end_as_here(
    tree: Path, cache: Path, tmp_path: Path, module: str, typed: tuple[str, ...]
) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{module}")
    # the second job finds no such unit in its training split
    done = sweep(tree, cache, tmp_path, *typed, "data.aus=auto,[45]")
    check(done, tmp_path)
    if module == "joblib_launcher":
        assert any(line.startswith("job 1 of 2: data.aus-auto: score ") for line in done.stdout.splitlines())
        said = done.stderr.splitlines()
        assert any(line.startswith("job 2: this job of the sweep failed: ") for line in said)
        assert not any(line.startswith("job 2: data: ") for line in said)


HEADS = ("-m", "model.finetune=frozen", "model.weights=none", "trainer.accelerator=cpu", "model.dense=8,16,32,64")


@pytest.mark.parametrize(
    ("words", "n_cores", "expected"),
    [
        ((*HEADS, "optimizer.lr=1e-2,1e-3,1e-4,1e-5"), 2, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        ((*HEADS, "optimizer.lr=1e-2,1e-3,1e-4,1e-5"), 64, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]),
        (
            ("sweep=heads", "model.weights=none", "trainer.accelerator=cpu"),
            2,
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        ),
        ((*HEADS, "optimizer.lr=1e-2,1e-3,1e-4,1e-5"), 1, []),
        ((*HEADS, "optimizer.lr=1e-2,1e-3,1e-4"), 2, []),  # too few to start processes for
        ((*HEADS, "optimizer.lr=1e-2,1e-3,1e-4,1e-5", "hydra/launcher=basic"), 2, ["hydra/launcher=basic"]),
        ((*HEADS, "optimizer.lr=1e-2,1e-3,1e-4,1e-5", "model.finetune=full"), 2, []),  # a backbone takes all cores
        ((*HEADS, "optimizer.lr=1e-2,1e-3", "model.finetune=frozen,full"), 2, []),
        ((*HEADS, "seed=1,2,3,4"), 2, []),  # other random weights, other features
        ((*HEADS, "optimizer.lr=1e-2,1e-3,1e-4,1e-5", "data.cache_features=false"), 2, []),
    ],
)
def test_long_sweeps_of_heads_share_the_cores(
    words: tuple[str, ...], n_cores: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer.cli.sweep._cores", lambda: n_cores)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # put back in the end
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["fer.train", *words])
    ConfigStore.instance().store("train_schema", node=SCHEMAS["train"])
    Sweep.typed("train", refuse_bad_overrides(sys.argv[1:], SCHEMAS["train"]))
    assert [word for word in sys.argv if word.startswith(("hydra/launcher", "hydra.launcher"))] == expected
    # joblib hands it on: without it the first process would make the features of all with a share of the cores
    side_by_side = "hydra/launcher=joblib" in expected
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        assert os.environ.get(name) == (str(n_cores) if side_by_side else None)


def test_no_job_at_a_time_is_refused(tmp_path: Path) -> None:
    words = ["-m", "fer.train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "seed=1,2"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith("fer train: hydra.launcher.n_jobs=0: at least one job")
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_process_ended_from_outside_is_told_in_a_line(tmp_path: Path) -> None:
    def killed() -> None:
        Parallel(2)([delayed(os._exit)(9)])

    with pytest.raises(
        FerError, match=r"want of memory; .* of one job; the same line goes on with it: python -m fer.train -m"
    ) as told:
        Sweep("python -m fer.train -m seed=1,2", tmp_path, "", 2, 2).run(killed, ())
    assert len(str(told.value).splitlines()) == 1


def test_a_gpu_is_not_shared_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("fer.cli.sweep._cores", lambda: 2)
    monkeypatch.setattr(sys, "argv", ["fer.train", "-m", "model.weights=none", "sweep=heads"])
    ConfigStore.instance().store("train_schema", node=SCHEMAS["train"])
    Sweep.typed("train", refuse_bad_overrides(sys.argv[1:], SCHEMAS["train"]))
    assert not [word for word in sys.argv if word.startswith(("hydra/launcher", "hydra.launcher"))]


@pytest.mark.skipif(
    "FER_TEST_RAY" not in os.environ, reason="FER_TEST_RAY is not set: Ray takes half a minute to start"
)
def test_ray_on_this_machine(tree: Path, cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    typed = ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2")
    check(sweep(tree, cache, tmp_path, *typed, "data.aus=auto,[45]", seconds=600), tmp_path)


@pytest.mark.skipif(shutil.which("srun") is not None, reason="this is a Slurm cluster")
def test_slurm_where_there_is_none_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ["-m", "fer.train", "-m", "hydra/launcher=slurm", "seed=1,2"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith("fer train: hydra/launcher=slurm: there is no srun here")
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["slurm", "ray_cluster"])
def test_presets_compose(name: str, tmp_path: Path) -> None:
    needed = {"slurm": "submitit", "ray_cluster": "ray"}[name]
    if importlib.util.find_spec(f"hydra_plugins.hydra_{needed}_launcher") is None:
        pytest.skip(f"hydra-{needed}-launcher is not installed")
    (tmp_path / "srun").touch(0o755)  # as on a cluster
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    words = ["-m", "fer.train", f"hydra/launcher={name}", "seed=1", "--cfg", "hydra"]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    expected = {"slurm": "gpus_per_node: 1", "ray_cluster": "object_store_memory: null"}
    assert expected[name] in done.stdout
