"""The house: imports point up the page only, and what answers first never imports torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fer.model.names import classifiers

PACKAGE = Path(__file__).resolve().parents[1] / "fer"

FLOORS = [
    {"fer", "fer.labels", "fer.errors", "fer.terminal", "fer.version"},
    {"fer.config"},
    {"fer.cli", "fer.runs"},
    {"fer.data"},
    {"fer.model", "fer.results"},
    {"fer.steps"},
    {"fer.tuning"},
    {"fer.use"},
    {
        "fer.train",
        "fer.evaluate",
        "fer.compare",
        "fer.explain",
        "fer.explore",
        "fer.synthesize",
        "fer.predict",
        "fer.export",
        "fer.serve",
        "fer.__main__",
    },
    {"fer.crossval", "fer.tune", "fer.benchmarking", "fer.benchmark"},
]
"""From the top down: a room may import from its own floor and from those above."""

WITHOUT_TORCH = ("fer.labels", "fer.terminal", "fer.config", "fer.cli.command", "fer.cli.help", "fer.runs.folder", "fer.runs.jobs",
                 "fer.train", "fer.evaluate", "fer.explore", "fer.synthesize", "fer.steps.resuming",
                 "fer.steps.early", "fer.model.names", "fer.data.there",
                 "fer.data.samples", "fer.data.readers", "fer.data.prepare", "fer.data.synthetic", "fer.results.report",
                 "fer.results.scores", "fer.results.tables", "fer.results.thresholds", "fer.use.predictor",
                 "fer.use.destinations", "fer.use.sources", "fer.predict", "fer.explain", "fer.export",
                 "fer.tune", "fer.compare", "fer.benchmark")  # fmt: skip


def floor(module: str) -> int:
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next(k for name in names for k, rooms in enumerate(FLOORS) if name in rooms)


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


@pytest.mark.parametrize(("module", "path"), modules())
def test_imports_point_up(module: str, path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "fer":
            names = [f"fer.{alias.name}" for alias in node.names if not alias.name.startswith("_")]
        for name in names:
            if name.split(".")[0] == "fer" and module != "fer":  # the front door names what lies below, on first use
                assert floor(name) <= floor(module), f"{module} imports {name}, which lies below it"


@pytest.mark.parametrize(("room", "other"), [("model", "results"), ("results", "model")])
def test_what_trains_and_what_judges_do_not_know_each_other(room: str, other: str) -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (PACKAGE / room).rglob("*.py")}
    assert len(texts) > 9
    assert not [path for path, text in texts.items() if f"fer.{other}" in text.replace(f"`fer.{other}", "")]


def test_rooms_that_answer_first_do_not_import_torch() -> None:
    code = "import sys, importlib\nfor m in sys.argv[1:]: importlib.import_module(m)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


MISSING = {
    "fer.train": (
        ("data=ckplus", "data.root=nowhere"),
        ("data=csv", "data.table=nowhere.csv"),
        ("model.backbone=resnet51",),
        ("model.weights=nowhere.pth",),
        ("model.weights=IMAGENET1K_V9",),
        ("run_dir=.",),
    ),
    "fer.crossval": (("data=csv", "data.table=nowhere.csv"),),
    "fer.evaluate": (("checkpoint=nowhere",),),
    "fer.explain": (("checkpoint=nowhere",), ("checkpoint=nowhere", "input=nowhere")),
    "fer.predict": (("checkpoint=nowhere", "input=."),),
    "fer.export": (("checkpoint=nowhere", "output=x.onnx"),),
}


@pytest.mark.parametrize(("command", "words"), [(name, words) for name in MISSING for words in MISSING[name]])
def test_what_is_not_there_is_refused_before_torch_is_imported(
    command: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "a picture.png").touch()
    code = f"""
import sys, importlib
sys.argv = [{command!r}, *sys.argv[1:]]
try:
    importlib.import_module({command!r}).main()
finally:
    print("torch" in sys.modules, "pandas" in sys.modules)
"""
    line = [sys.executable, "-c", code, *words]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout.split() == ["False", "False"], done.stdout


def test_names_of_networks_are_those_that_torchvision_has() -> None:
    import torchvision
    from torchvision.models import get_model_weights, list_models

    there = list_models(module=torchvision.models)
    assert classifiers() == {name: tuple(weights.name for weights in get_model_weights(name)) for name in there}
