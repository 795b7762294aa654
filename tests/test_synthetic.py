"""The drawn faces: what each action unit moves, and where."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fer.data import synthetic

SEED = 3


def drawing(
    aus: dict[int, float], imbalance: dict[int, float] | None = None, hair: str = "bald", **looks: float
) -> synthetic.Drawing:
    """One bald, frontal person without camera noise, 2 pixels a millimetre."""
    person = synthetic.sample_identity(np.random.default_rng(SEED))
    person = replace(person, hair=hair, glasses=None, beard=(0.0, 0.0, 0.0), **looks)
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
        ({14: 1}, CORNERS, UP),
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


@pytest.mark.parametrize(("au", "reach"), [(4, (20, 24)), (1, (17, 26)), (9, (17, 26))])
def test_sharp_lines_are_dark_thin_and_there_in_the_expression_alone(au: int, reach: tuple[int, int]) -> None:
    smooth, lined = (
        {strength: drawing({au: strength} if strength else {}, lines=lines).image.astype(float) for strength in (0, 1)}
        for lines in (0.0, 2.0)
    )
    assert np.array_equal(smooth[0], lined[0]), "lines on a face at rest"
    darker = smooth[1] - lined[1]
    assert darker.min() > -2 and darker.max() > 20
    rows, columns = np.nonzero(darker > 8)
    marks = drawing({}).landmarks
    assert marks[reach[0], 0] < columns.mean() < marks[reach[1], 0] and rows.mean() < marks[30, 1]
    assert len(rows) < 0.02 * np.prod(np.ptp(marks, axis=0)), "not a line but an area"


def test_hair_covers_the_lines_under_it() -> None:
    fringe, bald = (
        np.subtract(*(drawing({1: 1.0, 2: 1.0}, lines=lines, hair=hair).image.astype(float) for lines in (0.0, 2.0)))
        for hair in ("fringe", "bald")
    )
    assert (fringe > 8).sum() < 0.7 * (bald > 8).sum()


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


def test_landmarks_lie_in_the_picture_and_span_it() -> None:
    for seed in range(3):
        shot = synthetic.draw_face(np.random.default_rng(seed), {}, color=True)
        assert shot.image.shape == (490, 640, 3) and shot.image.dtype == np.uint8
        assert shot.landmarks.shape == (68, 2)
        assert (shot.landmarks > 0).all() and (shot.landmarks < [640, 490]).all()
        assert 0.35 < np.ptp(shot.landmarks[:, 1]) / 490 < 0.75
