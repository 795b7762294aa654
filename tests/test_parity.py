"""The same answers everywhere: evaluation, `fer.predict`, the Python interface, `POST /predict`, exported files."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import composed

from fer import load
from fer.cli.command import Call
from fer.results.predictions import read_predictions

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def table(trained: Path, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of people that the model has not seen, without landmarks: in use nobody has any."""
    split = pd.read_csv(trained / "split.csv", dtype=str)
    people = split.loc[split["split"] == "test", "subject"]
    pictures = [path for who in people for path in sorted((tree / "cohn-kanade-images" / who).glob("*/*.png"))]
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text("\n".join(["path,subject,AU4", *(f"{p},{p.parent.parent.name},1" for p in pictures)]))
    return path


@pytest.fixture(scope="module")
def evaluated(lively: Path, table: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What `fer.evaluate` writes about the table."""
    from fer.evaluate import run

    folder = tmp_path_factory.mktemp("evaluated") / "run"
    typed = (f"checkpoint={lively}", "data=csv", f"data.table={table}", f"cache_dir={cache}", f"run_dir={folder}")
    run(composed("evaluate", *typed), Call("python -m fer.evaluate ...", typed, None))
    return read_predictions(folder / "predictions.csv")


@pytest.fixture(scope="module")
def exported(lively: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as ONNX."""
    from fer.export import run

    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    run(composed("export", f"checkpoint={lively}", f"output={path}"), Call("", (), None))
    return path


def predicted(checkpoint: Path, table: Path, tmp_path: Path) -> pd.DataFrame:
    """What `fer.predict` writes about the table."""
    from fer.predict import run

    output = tmp_path / "predicted.csv"
    typed = (f"checkpoint={checkpoint}", f"input={table}", f"output={output}", "faces=largest")
    run(composed("predict", *typed), Call("", (), None))
    return read_predictions(output)


def from_python(checkpoint: Path, table: Path, tmp_path: Path) -> pd.DataFrame:
    """What `load(...).predict(...)` says about the table, as columns."""
    model = load(checkpoint)
    paths = pd.read_csv(table)["path"].tolist()
    return pd.DataFrame([as_columns(vars(face)) for (face,) in model.predict(paths, faces="largest")])


def from_the_server(checkpoint: Path, table: Path, tmp_path: Path) -> pd.DataFrame:
    """What `POST /predict` of `fer.serve` says about the largest face of each picture of the table, as columns."""
    from fer.config import ServeConfig
    from fer.use.serving.server import build_app

    app = build_app(load(checkpoint), ServeConfig(checkpoint=str(checkpoint)))

    async def rows() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as client:
            contents = [Path(path).read_bytes() for path in pd.read_csv(table)["path"]]
            replies = [await client.post("/predict", content=content) for content in contents]
        return [as_columns(reply.raise_for_status().json()["faces"][0]) for reply in replies]

    return pd.DataFrame(asyncio.run(rows()))


def as_columns(face: dict[str, Any]) -> dict[str, Any]:
    """One face as a row of `predictions.csv`."""
    units = {f"{au}_prob": p for au, p in face["au_prob"].items()}
    decisions = {f"{au}_pred": int(active) for au, active in face["au_active"].items()}
    emotions = {f"emotion_prob_{name}": p for name, p in face["emotion_prob"].items()}
    return {**units, **decisions, "emotion_pred": face["emotion"], **emotions}


def assert_same_answers(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    decisions = [c for c in wanted.columns if c.endswith("_pred")]
    probabilities = [c for c in wanted.columns if c.endswith("_prob") or "_prob_" in c]
    pd.testing.assert_frame_equal(found[decisions], wanted[decisions], check_dtype=False)
    assert np.abs(found[probabilities] - wanted[probabilities]).to_numpy().max() < 1e-3


@pytest.mark.parametrize("way", [predicted, from_python, from_the_server])
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_all_ways_give_the_answers_of_evaluation(
    way: Callable[[Path, Path, Path], pd.DataFrame],
    runtime: str,
    evaluated: pd.DataFrame,
    lively: Path,
    exported: Path,
    table: Path,
    tmp_path: Path,
) -> None:
    assert len(evaluated) > 8 and evaluated["emotion_pred"].nunique() > 1
    assert evaluated.filter(regex="AU.*_pred").std().gt(0).any()
    found = way(lively if runtime == "torch" else exported, table, tmp_path)
    assert_same_answers(found, evaluated)


def test_an_exported_model_needs_no_torch(exported: Path, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "without.csv"
    arguments = ["fer.predict", f"checkpoint={exported}", f"input={table}", f"output={output}"]
    code = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['lightning'] = None; "
        f"sys.argv = {arguments!r}; runpy.run_module('fer.predict', run_name='__main__', alter_sys=True)"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(output)) == len(pd.read_csv(table))


def test_openvino_gives_the_answers_of_evaluation(
    evaluated: pd.DataFrame, lively: Path, table: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    from fer.export import run

    path = tmp_path / "model.xml"
    run(composed("export", f"checkpoint={lively}", f"output={path}"), Call("", (), None))
    assert_same_answers(from_python(path, table, tmp_path), evaluated)
