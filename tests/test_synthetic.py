"""The drawn faces: what each action unit moves, who shows what, and the CK+ tree on disk."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from fer.data import synthetic
from fer.data.synthetic import tree
from fer.data.synthetic.cast import AU_COUNTS, EMOTION_COUNTS
from fer.errors import FerError
from fer.labels import BASIC

SEED = 3
AU_COLUMNS = [f"AU{au}" for au in AU_COUNTS]


def drawing(aus: dict[int, float], imbalance: dict[int, float] | None = None) -> synthetic.Drawing:
    """One bald, frontal person without camera noise, 2 pixels a millimetre."""
    person = synthetic.sample_identity(np.random.default_rng(SEED))
    person = replace(person, hair="bald", glasses=None, beard=(0.0, 0.0, 0.0))
    view = synthetic.sample_view(np.random.default_rng(SEED), (490, 640))
    view = replace(view, yaw=0.0, pitch=0.0, roll=0.0, noise=0.0, scale=1.7, center=(320.0, 250.0))
    return synthetic.draw_face(np.random.default_rng(SEED), aus, person, view, imbalance=imbalance)


@pytest.fixture(scope="module")
def neutral() -> synthetic.Drawing:
    return drawing({})


def moved(neutral: synthetic.Drawing, aus: dict[int, float]) -> NDArray[np.float32]:
    """How far each landmark goes, pixels, x to the right and y up."""
    shift: NDArray[np.float32] = (drawing(aus).landmarks - neutral.landmarks) * [1, -1]
    return shift


def eye_gap(marks: NDArray[np.float32]) -> float:
    return float((marks[[41, 40, 47, 46], 1] - marks[[37, 38, 43, 44], 1]).mean())


def lip_gap(marks: NDArray[np.float32]) -> float:
    return float((marks[[67, 66, 65], 1] - marks[[61, 62, 63], 1]).mean())


def lip_height(marks: NDArray[np.float32]) -> float:
    """Height of the red of both lips."""
    return float((marks[57, 1] - marks[51, 1]) - lip_gap(marks))


INNER_BROWS, OUTER_BROWS, CORNERS = [21, 22], [17, 26], [48, 54]
UP, DOWN, OUT, IN = (1, 1.0), (1, -1.0), (0, 1.0), (0, -1.0)


@pytest.mark.parametrize(
    ("aus", "points", "direction"),
    [
        ({1: 1}, INNER_BROWS, UP),
        ({2: 1}, OUTER_BROWS, UP),
        ({4: 1}, INNER_BROWS, DOWN),
        ({4: 1}, INNER_BROWS, IN),
        ({9: 1}, [31, 35], UP),
        ({10: 1}, [50, 51, 52], UP),
        ({12: 1}, CORNERS, UP),
        ({12: 1}, CORNERS, OUT),
        ({13: 1}, CORNERS, UP),
        ({14: 1}, CORNERS, OUT),
        ({15: 1}, CORNERS, DOWN),
        ({16: 1, 25: 0.2}, [56, 57, 58], DOWN),
        ({17: 1}, [56, 57, 58], UP),
        ({17: 1}, [8], UP),
        ({18: 1}, CORNERS, IN),
        ({20: 1}, CORNERS, OUT),
        ({22: 1}, CORNERS, IN),
        ({25: 1}, [56, 57, 58], DOWN),
        ({26: 1, 25: 0.5}, [8], DOWN),
        ({27: 1, 25: 0.5}, [8], DOWN),
        ({38: 1}, [31, 35], OUT),
        ({39: 1}, [31, 35], IN),
    ],
)
def test_unit_moves_its_landmarks(
    neutral: synthetic.Drawing, aus: dict[int, float], points: list[int], direction: tuple[int, float]
) -> None:
    axis, sign = direction
    shift = moved(neutral, aus)[points]
    outwards = np.sign(neutral.landmarks[points, 0] - neutral.landmarks[30, 0])
    travel = shift[:, axis] * (outwards if axis == 0 else 1.0) * sign
    assert travel.min() > 2.0


def test_unit_opens_or_shuts_the_eyes(neutral: synthetic.Drawing) -> None:
    gap = eye_gap(neutral.landmarks)
    assert eye_gap(drawing({5: 1}).landmarks) > 1.2 * gap
    assert eye_gap(drawing({6: 1}).landmarks) < 0.9 * gap
    assert eye_gap(drawing({7: 1}).landmarks) < 0.8 * gap
    assert abs(eye_gap(drawing({43: 1}).landmarks)) < 0.1 * gap


def test_unit_opens_or_presses_the_lips(neutral: synthetic.Drawing) -> None:
    assert abs(lip_gap(neutral.landmarks)) < 1.0
    gaps = [lip_gap(drawing({au: 1.0, 25: 0.5}).landmarks) for au in (25, 26, 27)]
    assert 3.0 < gaps[0] < gaps[1] < gaps[2]
    assert abs(lip_gap(drawing({26: 1.0}).landmarks)) < 1.0  # the jaw drops behind closed lips
    for au, share in ((23, 0.8), (24, 0.75), (28, 0.5)):
        assert lip_height(drawing({au: 1.0}).landmarks) < share * lip_height(neutral.landmarks)


def test_intensity_grows_from_a_to_e(neutral: synthetic.Drawing) -> None:
    travel = [moved(neutral, {12: k / 5})[CORNERS, 1].mean() for k in range(6)]
    assert np.all(np.diff(travel) > 0.8)


def test_one_side_only(neutral: synthetic.Drawing) -> None:
    shift = (drawing({12: 1.0}, {12: 1.0}).landmarks - neutral.landmarks)[CORNERS]
    assert np.linalg.norm(shift[1]) > 5 and np.linalg.norm(shift[0]) < 0.5


def test_inner_brows_rise_in_sadness(neutral: synthetic.Drawing) -> None:
    shift = moved(neutral, {1: 0.8, 4: 0.8})
    assert shift[INNER_BROWS, 1].min() > 2.0
    assert shift[INNER_BROWS, 1].mean() > shift[OUTER_BROWS, 1].mean() + 2.0


# Landmarks that span a region, and how far it reaches beyond them in pixels.
REGIONS: dict[str, tuple[list[int], int]] = {
    "brows": ([*range(17, 27)], 60),
    "eyes": ([*range(36, 48)], 30),
    "cheeks": ([*range(36, 48), 31, 35], 35),
    "nose": ([*range(27, 36)], 45),
    "mouth": ([*range(48, 68)], 45),
    "lower face": ([*range(2, 15), 29], 10),
}
HOME = {
    1: "brows", 2: "brows", 4: "brows", 5: "eyes", 6: "cheeks", 7: "eyes", 9: "nose", 10: "mouth", 11: "mouth", 12: "lower face",
    14: "mouth", 15: "mouth", 16: "mouth", 17: "lower face", 18: "mouth", 20: "lower face", 22: "mouth", 23: "mouth", 24: "mouth",
    25: "mouth", 27: "lower face", 28: "mouth", 43: "eyes",
}  # fmt: skip


@pytest.mark.parametrize("au", HOME)
def test_unit_changes_its_own_region(neutral: synthetic.Drawing, au: int) -> None:
    change = np.abs(drawing({au: 1.0}).image.astype(float) - neutral.image)
    points, margin = REGIONS[HOME[au]]
    low, high = neutral.landmarks[points].min(0) - margin, neutral.landmarks[points].max(0) + margin
    inside = change[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
    assert (inside > 12).sum() > 40, "hardly visible"
    assert inside.sum() > 0.75 * change.sum(), "changes other parts of the face"


def test_same_seed_same_picture_other_seed_other_person() -> None:
    first, again, other = (synthetic.draw_face(np.random.default_rng(seed), {}, size=(112, 112)) for seed in (1, 1, 2))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.landmarks, again.landmarks)
    assert np.abs(first.image.astype(float) - other.image).mean() > 10


def test_small_and_large_pictures_agree() -> None:
    rng = np.random.default_rng(0)
    person = synthetic.sample_identity(rng)
    view = synthetic.sample_view(rng, (490, 640))
    half = replace(view, size=(245, 320), scale=view.scale / 2, center=(view.center[0] / 2, view.center[1] / 2))
    large, small = (synthetic.draw_face(rng, {12: 0.8, 25: 0.6}, person, v).landmarks for v in (view, half))
    assert np.abs(large - 2 * small).max() < 5.0


def test_landmarks_and_box_lie_on_the_face() -> None:
    for seed in range(3):
        shot = synthetic.draw_face(np.random.default_rng(seed), {}, color=True)
        assert shot.image.shape == (490, 640, 3) and shot.image.dtype == np.uint8
        x, y, width, height = shot.box
        assert shot.landmarks.shape == (68, 2)
        assert (shot.landmarks >= [x - 1e-3, y]).all() and (
            shot.landmarks <= [x + width + 1e-3, y + height + 1e-3]
        ).all()
        assert x > 0 and y > 0 and x + width < 640 and y + height < 490
        assert 0.45 < height / 490 < 0.85


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
    blank = synthetic.Drawing(np.zeros((4, 4), np.uint8), np.zeros((68, 2), np.float32), (0, 0, 1, 1))

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


def test_cache_draws_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Path] = []

    def write(root: Path, *args: object) -> None:
        calls.append(root)
        root.mkdir()

    monkeypatch.setattr(tree, "write_tree", write)
    first = synthetic.cached_tree(tmp_path / "cache", 2, 7)
    assert synthetic.cached_tree(tmp_path / "cache", 2, 7) == first and len(calls) == 1
    assert synthetic.cached_tree(tmp_path / "cache", 2, 8) != first
    assert all(part in first.name for part in (f"v{tree.VERSION}", "n2", "s7"))
