"""The synthetic set: who shows what, and the CK+ tree on disk."""

import errno
import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fer.data import synthetic
from fer.data.synthetic import tree
from fer.data.synthetic.cast import AU_COUNTS, EMOTION_COUNTS
from fer.errors import FerError
from fer.labels import BASIC

AU_COLUMNS = [f"AU{au}" for au in AU_COUNTS]


@pytest.mark.parametrize("seed", [0, 1])
def test_plan_has_the_counts_of_ckplus(seed: int) -> None:
    table = synthetic.plan(123, seed)
    assert len(table) == 593 and table["subject"].nunique() == 123
    assert not table.duplicated(["subject", "sequence"]).any()
    assert table["emotion"].value_counts().to_dict() == EMOTION_COUNTS
    assert sum(EMOTION_COUNTS.values()) == 327
    for au, count in AU_COUNTS.items():
        if count >= 20:
            assert 0.75 * count <= table[f"AU{au}"].notna().sum() <= 1.25 * count, f"AU{au}"


def test_the_version_stands_for_the_plans_that_it_was_raised_for() -> None:
    # kept sets are known by it: with other plans or pictures it must go up
    plans = "".join(synthetic.plan(n, seed).to_csv(index=False) for n, seed in ((24, 0), (60, 1), (123, 2)))
    assert (tree.VERSION, hashlib.sha256(plans.encode()).hexdigest()[:12]) == (4, "eb283565e68e")


def codes(table: pd.DataFrame) -> list[tuple[str | None, dict[int, int]]]:
    return [
        (
            None if pd.isna(row["emotion"]) else row["emotion"],
            {int(c[2:]): int(row[c]) for c in AU_COLUMNS if not pd.isna(row[c])},
        )
        for row in table.to_dict("records")
    ]


def test_plan_follows_table_2() -> None:
    for emotion, aus in codes(synthetic.plan(123, 5)):
        assert aus and all(0 <= grade <= 5 for grade in aus.values())
        if emotion is None:
            assert not any(synthetic.fits(name, aus) for name in BASIC), aus
        else:
            assert synthetic.fits(emotion, aus), (emotion, aus)


def test_plan_varies() -> None:
    table = synthetic.plan(123, 0)
    happy = [frozenset(aus) for emotion, aus in codes(table) if emotion == "happy"]
    assert len(set(happy)) >= 5
    grades = [grade for _, aus in codes(table) for grade in aus.values()]
    assert set(grades) == {0, 1, 2, 3, 4, 5} and grades.count(0) < 0.1 * len(grades)
    assert synthetic.plan(123, 0).equals(table) and not synthetic.plan(123, 1).equals(table)
    assert len(synthetic.plan(10, 0)) == round(593 * 10 / 123)


@pytest.mark.parametrize(
    ("emotion", "aus", "met"),
    [
        ("anger", {23: 1, 24: 1}, True),
        ("anger", {23: 1, 4: 5}, False),
        ("fear", {1: 1, 2: 1, 4: 1}, True),
        ("fear", {1: 1, 2: 1, 5: 5}, True),
        ("fear", {1: 1, 2: 1, 5: 4}, False),
        ("sadness", {6: 1, 15: 1}, True),
        ("sadness", {1: 1, 15: 1}, False),
        ("surprise", {5: 2}, True),
        ("surprise", {1: 3, 2: 3, 5: 3}, False),
        ("contempt", {14: 0}, True),
    ],
)
def test_criteria_of_table_2(emotion: str, aus: dict[int, int], met: bool) -> None:
    assert synthetic.fits(emotion, aus) is met


@pytest.mark.parametrize("n", [0, 1000])
def test_plan_refuses_impossible_sizes(n: int) -> None:
    with pytest.raises(FerError, match=f"subjects={n}"):
        synthetic.plan(n, 0)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "set"
    synthetic.write_tree(root, n_subjects=2, seed=1, frames=2, jobs=1)
    return root


def test_tree_is_the_same_for_any_number_of_jobs(small_tree: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    synthetic.write_tree(
        tmp_path / "set", n_subjects=2, seed=1, frames=2, jobs=2, progress=lambda k, n: done.append((k, n))
    )
    assert contents(tmp_path / "set") == contents(small_tree)
    assert done[-1] == (10, 10) and sorted(done) == done


def test_tree_has_the_format_of_ckplus(small_tree: Path) -> None:
    table = synthetic.plan(2, 1)
    assert {path.name for path in small_tree.iterdir()} == {"cohn-kanade-images", "FACS", "Emotion", "Landmarks"}
    for row, (emotion, aus) in zip(table.to_dict("records"), codes(table), strict=True):
        folder, stem = f"{row['subject']}/{row['sequence']}", f"{row['subject']}_{row['sequence']}"
        frames = sorted(path.name for path in (small_tree / "cohn-kanade-images" / folder).iterdir())
        assert frames == [f"{stem}_00000001.png", f"{stem}_{row['peak']:08d}.png"]
        facs = (small_tree / "FACS" / folder / f"{stem}_{row['peak']:08d}_facs.txt").read_text()
        assert facs == "".join(f"   {au:.7e}   {grade:.7e}\n" for au, grade in aus.items())
        points = (small_tree / "Landmarks" / folder / f"{stem}_00000001_landmarks.txt").read_text().splitlines()
        assert len(points) == 68 and all(line.startswith("   ") and len(line.split()) == 2 for line in points)
        label = small_tree / "Emotion" / folder / f"{stem}_{row['peak']:08d}_emotion.txt"
        assert label.exists() == (emotion is not None)
        if emotion:
            assert label.read_text() == f"   {BASIC.index(emotion) + 1:.7e}\n"


def test_first_frame_is_neutral(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[dict[int, float]] = []
    points = np.zeros((68, 2), np.float32)
    blank = synthetic.Drawing(np.zeros((4, 4), np.uint8), points)

    def note(rng: np.random.Generator, aus: dict[int, float], *_: object, **__: object) -> synthetic.Drawing:
        seen.append(dict(aus))
        return blank

    monkeypatch.setattr(tree, "draw_face", note)
    synthetic.write_tree(tmp_path / "set", n_subjects=1, seed=0, frames=4, jobs=1)
    assert len(seen) == 20
    for first, *rising in (seen[k : k + 4] for k in range(0, 20, 4)):
        assert first == {}
        for weaker, stronger in pairwise(rising):
            assert stronger and all(weaker[au] < stronger[au] for au in stronger)


def test_failure_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(tree, "_write_labels", fail)
    with pytest.raises(OSError, match="disk full"):
        synthetic.write_tree(tmp_path / "set", n_subjects=1, seed=0, frames=2, jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_never_writes_into_a_filled_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FerError, match="not empty"):
        synthetic.write_tree(tmp_path, n_subjects=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_link_to_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    synthetic.write_tree(tmp_path / "link", 2, jobs=1)
    assert (tmp_path / "link").is_symlink()
    assert {p.name for p in (tmp_path / "disk").iterdir()} == {"cohn-kanade-images", "FACS", "Emotion", "Landmarks"}


def test_cache_draws_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Path] = []
    whole = tree.write_tree

    def write(root: Path, *args: Any) -> None:
        calls.append(root)
        whole(root, *args)

    monkeypatch.setattr(tree, "write_tree", write)
    first = synthetic.cached_tree(tmp_path / "cache", 2, 7, 2, 1)
    assert synthetic.cached_tree(tmp_path / "cache", 2, 7, 2, 1) == first and len(calls) == 1
    assert synthetic.cached_tree(tmp_path / "cache", 2, 8, 2, 1) != first
    lost = next(first.rglob("*.png"))
    lost.unlink()  # as by what tidies up a disk
    assert synthetic.cached_tree(tmp_path / "cache", 2, 7, 2, 1) == first and lost.is_file() and len(calls) == 3


def test_a_move_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    move, moved = tree.shutil.move, list[str]()

    def full(source: Path, target: Path) -> None:
        if len(moved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        moved.append(source.name)
        move(source, target)

    monkeypatch.setattr(tree.shutil, "move", full)
    with pytest.raises(OSError, match="No space"):
        synthetic.write_tree(tmp_path, 1, frames=2, jobs=1)
    assert tree.IMAGES not in moved and not list(tmp_path.iterdir())


def test_names_of_cached_sets_say_what_they_are(tmp_path: Path) -> None:
    first = synthetic.cached_tree(tmp_path / "cache", 2, 7, 2, 1)
    assert all(part in first.name for part in (f"v{tree.VERSION}", "n2", "s7", "f2"))
