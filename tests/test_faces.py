"""A face fills the same part of its crop wherever its box came from, and nothing is ever squashed."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer.data import faces
from fer.data.faces import (
    Box,
    cut_out,
    face_box,
    face_pixels,
    find_faces,
    read_landmarks,
    stored_size,
    view_box,
)


def drawn_face(height: int = 480, width: int = 640, x: float = 320, y: float = 240, r: float = 110) -> np.ndarray:
    """A cartoon that the detector takes for a face: 2.1 r wide, eyes at y - 0.22 r."""
    image = np.full((height, width, 3), 90, np.uint8)

    def ellipse(dx: float, dy: float, a: float, b: float, grey: int) -> None:
        centre, axes = (round(x + dx * r), round(y + dy * r)), (round(a * r), round(b * r))
        cv2.ellipse(image, centre, axes, 0, 0, 360, (grey, grey, grey), -1, cv2.LINE_AA)

    ellipse(0, 0, 1.05, 1.35, 190)
    for side in (-1, 1):
        ellipse(0.4 * side, -0.25, 0.28, 0.16, 120)
        ellipse(0.4 * side, -0.22, 0.2, 0.09, 235)
        ellipse(0.4 * side, -0.22, 0.09, 0.09, 30)
        ellipse(0.4 * side, -0.5, 0.26, 0.06, 60)
        ellipse(0.1 * side, 0.38, 0.05, 0.03, 110)
    ellipse(0, 0.1, 0.12, 0.3, 205)
    ellipse(0, 0.7, 0.36, 0.1, 110)
    return cv2.GaussianBlur(image, (0, 0), r / 30)


def landmarks_of(x: float = 320, y: float = 240, r: float = 110, chin: float = 1.35) -> np.ndarray:
    """68 points for the cartoon: jaw, then everything else at the eyes and the mouth."""
    points = np.tile([x, y + 0.3 * r], (68, 1))
    angle = np.linspace(np.pi, 0, 17)
    points[:17] = np.c_[x + 1.05 * r * np.cos(angle), y + chin * r * np.sin(angle)]
    points[36:42], points[42:48] = (x - 0.4 * r, y - 0.22 * r), (x + 0.4 * r, y - 0.22 * r)
    return points


def blob_size(image: np.ndarray) -> tuple[int, int]:
    """Width and height of what is bright in a picture."""
    ys, xs = np.nonzero(image[..., 0] > 128)
    return int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1


def view_of(stored: np.ndarray, image_size: int) -> np.ndarray:
    """The evaluation view of [S, S, C] stored pixels."""
    start = (stored.shape[0] - image_size) // 2
    return stored[start : start + image_size, start : start + image_size]


def test_stored_size() -> None:
    assert [stored_size(image_size) for image_size in (224, 299, 112, 96)] == [256, 342, 128, 110]


@pytest.mark.parametrize("r", [60, 110, 150])
def test_detector_finds_the_face(r: float) -> None:
    box, how = face_box(drawn_face(r=r))
    assert how == "detector"
    assert box.x + box.w / 2 == pytest.approx(320, abs=0.1 * r)
    assert 1.9 * r < box.w < 3 * r


def test_several_faces_largest_first() -> None:
    image = np.hstack([drawn_face(width=320, x=160, r=60), drawn_face(width=320, x=160, r=100)])
    found = find_faces(image)
    assert len(found) == 2 and found[0].w > found[1].w and found[0].x > 320
    assert face_box(image)[0] == found[0]


def test_large_pictures_are_shrunk_for_the_detector_and_boxes_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    image = drawn_face(2400, 3200, 1600, 1200, 500)
    seen = []
    equalize = cv2.equalizeHist
    monkeypatch.setattr(cv2, "equalizeHist", lambda grey: seen.append(grey.size) or equalize(grey))
    (box,) = find_faces(image)
    assert seen[0] <= faces.DETECTOR_PIXELS * 1.01
    assert box.x + box.w / 2 == pytest.approx(1600, abs=50) and 950 < box.w < 1500


def test_threads_find_what_one_finds() -> None:
    image, found = drawn_face(), []
    threads = [threading.Thread(target=lambda: found.append(find_faces(image))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [find_faces(image)] * 4


def test_box_from_landmarks_by_hand() -> None:
    points = landmarks_of(x=300, y=200 + 0.22 * 100, r=100)
    box, how = face_box(np.zeros((480, 640, 3), np.uint8), points)
    side = 1.23 * 210
    assert how == "landmarks"
    assert box == pytest.approx((300 - side / 2, 200 + 0.08 * side - side / 2, side, side))


def test_a_dropping_jaw_does_not_move_the_box() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    assert face_box(image, landmarks_of(chin=1.35)) == face_box(image, landmarks_of(chin=1.7))


def test_first_usable_source_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    image, given, seen = np.zeros((480, 640, 3), np.uint8), Box(100, 50, 200, 220), Box(1, 2, 90, 90)
    monkeypatch.setattr(faces, "find_faces", lambda image: [seen, Box(0, 0, 9, 9)])
    assert face_box(image, landmarks_of(), given)[1] == "landmarks"
    assert face_box(image, None, given) == (given, "box")
    assert face_box(image, landmarks_of()[:5], given) == (given, "box")
    assert face_box(image, landmarks_of(x=5000), given) == (given, "box")
    assert face_box(image, 2 * landmarks_of(x=250, y=180), given) == (given, "box")  # of a picture twice as large
    assert face_box(image, np.full((68, 2), 100.0), given) == (given, "box")
    for bad in (Box(700, 50, 100, 100), Box(float("nan"), 0, 9, 9), Box(100, 100, 0, 50), Box(100, 100, -50, 50)):
        assert face_box(image, None, bad) == (seen, "detector")
    monkeypatch.setattr(faces, "find_faces", lambda image: [])
    assert face_box(image) == (Box(0, 0, 640, 480), "whole")


def test_landmark_and_detector_crops_agree() -> None:
    image = drawn_face()
    by_landmarks, _, how = face_pixels(image, 224, "face", False, landmarks_of())
    by_detector, _, other = face_pixels(image, 224, "face", False)
    assert (how, other) == ("landmarks", "detector")
    for one, two in zip(blob_size(by_landmarks), blob_size(by_detector), strict=True):
        assert one / two == pytest.approx(1, abs=0.1)
    centres = [np.mean(np.nonzero(crop[..., 0] > 128), axis=1) for crop in (by_landmarks, by_detector)]
    assert np.abs(centres[0] - centres[1]).max() < 0.05 * 256


@pytest.mark.parametrize("landmarks", [landmarks_of(), None])
def test_the_face_lies_inside_the_evaluation_view(landmarks: np.ndarray | None) -> None:
    stored, _, _ = face_pixels(drawn_face(), 224, "face", False, landmarks)
    ys, xs = np.nonzero(stored[..., 0] > 128)
    assert xs.min() > 16 and xs.max() < 240 and ys.max() < 240
    assert abs(xs.mean() - 128) < 8 and abs(ys.mean() - 128) < 20


@pytest.mark.parametrize("shape", [(490, 640), (640, 490), (120, 900)])
@pytest.mark.parametrize("path", ["landmarks", "box", "tall box", "detector", "whole", "full"])
@pytest.mark.parametrize("image_size", [48, 224])
def test_a_circle_stays_a_circle(
    shape: tuple[int, int], path: str, image_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = shape
    x, y, r = width // 2, height // 2, 50
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, (x, y), r, (255, 255, 255), -1)
    monkeypatch.setattr(faces, "find_faces", lambda grey: [Box(x - 60, y - 60, 120, 120)] if path == "detector" else [])
    landmarks = landmarks_of(x, y, 60) if path == "landmarks" else None
    box = {"box": Box(x - 55, y - 55, 110, 110), "tall box": Box(x - 40, y - 59, 80, 118)}.get(path)
    pixels, _, how = face_pixels(image, image_size, "full" if path == "full" else "face", True, landmarks, box)
    assert how == {"tall box": "box", "full": "whole"}.get(path, path)
    w, h = blob_size(pixels)
    assert abs(w - h) <= max(1, 0.015 * w)


@pytest.mark.parametrize("side", [1e5, 1.7e308])
def test_boxes_far_larger_than_the_picture_count_as_not_given(side: float) -> None:
    image = np.full((60, 80, 3), 100, np.uint8)
    assert face_pixels(image, 32, "face", False, box=Box(-side / 2, -side / 2, side, side))[2] == "whole"


@pytest.mark.parametrize("shape", [(490, 640), (640, 490), (64, 64), (3, 5), (1, 1)])
def test_full_view_is_the_whole_picture_and_no_more(shape: tuple[int, int]) -> None:
    height, width = shape
    image = np.full((height, width, 3), 100, np.uint8)
    image[0], image[-1], image[:, 0], image[:, -1] = 255, 255, 255, 255
    stored, box, how = face_pixels(image, 224, "full", False)
    assert (how, box) == ("whole", (0, 0, width, height)) and stored.shape == (256, 256, 1)
    alone = cut_out(image[..., 0], view_box(box, "whole"), 224)
    view = view_of(stored, 224)
    assert np.abs(view.astype(int) - alone).max() <= 2
    longer = view[112] if width >= height else view[:, 112]
    assert longer[0] > 100 and longer[-1] > 100


def test_margin_is_real_picture_and_outside_repeats_the_edge() -> None:
    image = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    inside = cut_out(image, view_box(Box(75, 70, 50, 50), "box"), 65)
    assert np.ptp(inside[..., 0], axis=0).max() == 0
    np.testing.assert_allclose(inside[0, :, 0], np.arange(100 - 32.5, 100 + 32.5), atol=1)
    over_the_edge = cut_out(image, view_box(Box(-20, 70, 50, 50), "box"), 65)
    assert (over_the_edge[:, :27, 0] == 0).all() and over_the_edge[0, -1, 0] > 30


def test_downscaling_averages() -> None:
    board = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(cut_out(board, Box(0, 0, 512, 512), 64).astype(int) - 127).max() <= 1


@pytest.mark.parametrize("shape", [(1, 200_000), (200_000, 1), (2, 2)])
def test_pictures_of_any_shape_pass(shape: tuple[int, int]) -> None:
    pixels, _, how = face_pixels(np.full((*shape, 3), 7, np.uint8), 64, "face", True)
    assert pixels.shape == (73, 73, 3) and how == "whole" and (pixels == 7).all()


def test_a_box_far_larger_than_the_picture_costs_nothing() -> None:
    pixels, _, _ = face_pixels(np.full((40, 40, 3), 7, np.uint8), 64, "face", False, box=Box(-1e7, -1e7, 2e7, 2e7))
    assert pixels.shape == (73, 73, 1)


def test_read_landmarks(tmp_path: Path) -> None:
    path = tmp_path / "points.txt"
    path.write_text("   2.0520372e+02   2.3115628e+02\n\n   2.06e+02  -2.6e-01\n\n")
    np.testing.assert_allclose(read_landmarks(path), [[205.20372, 231.15628], [206, -0.26]])
    path.write_text("1 2\n", encoding="utf-8-sig")
    np.testing.assert_allclose(read_landmarks(path), [[1, 2]])
    for bad in ("", "1 2\n3\n", "x y\n1 2\n", "1 2 3\n", "1 nan\n", "\x00\xff"):
        path.write_text(bad, encoding="utf-8")
        assert read_landmarks(path) is None
    path.write_bytes(b"\xff\xfe1 2")
    assert read_landmarks(path) is None
    assert read_landmarks(tmp_path / "none.txt") is None
