"""Who is who from frame to frame."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fer.data.faces import Box, How
from fer.use.answers import Answers
from fer.use.tracks import Tracks, overlap

Boxes = list[tuple[Box, How]]


def boxes(*corners: tuple[float, float]) -> Boxes:
    return [(Box(x, y, 100, 100), "detector") for x, y in corners]


def answers(*rows: float) -> Answers:
    au = np.array(rows, np.float32).reshape(-1, 1)
    return Answers(au, np.hstack([au, 1 - au]))


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(Box(0, 0, 2, 2), Box(1, 1, 2, 2)) == pytest.approx(1 / 7)
    assert overlap(Box(0, 0, 2, 2), Box(2, 0, 2, 2)) == 0
    assert overlap(Box(0, 0, 2, 4), Box(0, 0, 2, 4)) == 1


def test_numbers_follow_faces_whatever_their_order() -> None:
    tracks = Tracks(0)
    assert tracks.follow(boxes((0, 0), (300, 0)), answers(0.1, 0.9), 0.0)[0] == [0, 1]
    assert tracks.follow(boxes((310, 0), (10, 0)), answers(0.9, 0.1), 0.1)[0] == [1, 0]
    assert tracks.follow(boxes((600, 0), (20, 0)), answers(0.5, 0.1), 0.2)[0] == [2, 0]
    # 1 was seen a short while ago, and is known again; after a second it is not
    assert tracks.follow(boxes((320, 0)), answers(0.9), 0.9)[0] == [1]
    tracks.follow([], answers(), 1.5)
    assert tracks.follow(boxes((320, 0)), answers(0.9), 2.0)[0] == [3]


def test_frames_that_are_further_apart_than_a_second_follow_each_other() -> None:
    tracks = Tracks(5)
    for frame in range(4):
        numbers, found = tracks.follow(boxes((0, 0)), answers(float(frame > 0)), 2.5 * frame)
        assert numbers == [0]
    assert found.au_prob[0, 0] == pytest.approx(1 - math.exp(-7.5 / 5))


def test_each_face_is_averaged_for_itself() -> None:
    tracks = Tracks(0.5)
    tracks.follow(boxes((0, 0), (300, 0)), answers(0.0, 1.0), 0.0)
    _, found = tracks.follow(boxes((300, 0), (0, 0)), answers(1.0, 1.0), 0.2)
    share = 1 - math.exp(-0.2 / 0.5)
    assert found.au_prob[:, 0].tolist() == pytest.approx([1.0, share])
    assert found.emotion_prob.sum(1).tolist() == pytest.approx([1.0, 1.0])


def test_no_smoothing_changes_nothing_and_whole_pictures_are_nobody() -> None:
    tracks = Tracks(0)
    whole: Boxes = [(Box(0, 0, 640, 480), "whole")]
    assert tracks.follow(whole, answers(0.2), 0.0)[0] == [None]
    numbers, found = tracks.follow(whole, answers(0.8), 0.1)
    assert numbers == [None] and found.au_prob[0, 0] == pytest.approx(0.8)


def test_a_model_of_whole_pictures_is_averaged_too() -> None:
    tracks = Tracks(0.5, whole=True)
    whole: Boxes = [(Box(0, 0, 640, 480), "whole")]
    tracks.follow(whole, answers(0.0), 0.0)
    numbers, found = tracks.follow(whole, answers(1.0), 0.2)
    assert numbers == [0] and found.au_prob[0, 0] == pytest.approx(1 - math.exp(-0.2 / 0.5))


def test_a_video_that_jumps_back_in_time_begins_anew() -> None:
    tracks = Tracks(0.5)
    tracks.follow(boxes((0, 0)), answers(0.9), 10.0)
    numbers, found = tracks.follow(boxes((0, 0)), answers(0.1), 9.9)
    assert numbers == [1] and found.au_prob[0, 0] == pytest.approx(0.1)
