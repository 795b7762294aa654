"""The terminal table: in, judged splits; out, plain text that fits."""

import io

import pytest
from made_predictions import HALF, make_predictions
from rich.console import Console

from fer.results.scores import Scores, judge
from fer.results.tables import print_scores


@pytest.fixture(scope="module")
def scores() -> Scores:
    return judge(make_predictions(), HALF, n_boot=200)


def printed(metrics: dict[str, Scores], **options: object) -> str:
    stream = io.StringIO()
    print_scores(metrics, Console(file=stream, **options))  # type: ignore[arg-type]
    return stream.getvalue()


def test_table_fits_and_is_plain(scores: Scores) -> None:
    text = printed({"val": scores, "test": scores})
    assert "\x1b" not in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert f"{scores['au']['macro']['auc']:.3f}"[1:] in text
    assert "lip corner puller" in text
    assert "majority" in text
    assert text.count("Emotion: better than guessing") == 2


def test_table_keeps_its_numbers_on_a_narrow_terminal(scores: Scores) -> None:
    text = printed({"test": scores}, width=80, force_terminal=True, color_system=None)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_verdict_needs_the_whole_interval() -> None:
    blind = judge(make_predictions(n=60, skill=0), HALF, n_boot=200)
    text = printed({"test": blind})
    assert "Action units: not shown to be better than guessing" in text
    assert "Emotion: not shown to be better than guessing" in text


def test_guessing_knows_the_commonest_answer_of_these_people() -> None:
    # on other people than the training's, whose commonest answer is rare here
    table = make_predictions(n=300, skill=0)
    table["emotion"] = table["emotion"].where(table["emotion"] != "positive", "surprise")
    found = judge(table, HALF, emotion_rates={"negative": 0.1, "positive": 0.8, "surprise": 0.1}, n_boot=200)
    text = printed({"test": found})
    text = " ".join(text.split())  # lines are broken
    assert "Emotion: not shown to be better than guessing" in text and "always answering surprise" in text


def test_few_people_allow_no_verdict() -> None:
    text = printed({"test": judge(make_predictions(n_subjects=7, skill=3), HALF, n_boot=200)})
    assert "Action units: 7 people are too few to say" in text and "Emotion: 7 people are too few to say" in text
    assert "better than guessing" not in text


def test_a_dead_model_stands_in_bold_red_at_the_top(scores: Scores) -> None:
    dead = scores | {"emotion": scores["emotion"] | {"dead": True, "dead_reason": "always happy"}}
    text = printed({"test": dead}, force_terminal=True, color_system="standard", width=100)
    first = text.splitlines()[0]
    assert first.startswith("\x1b[1;31mDEAD MODEL: gives the same answer for every picture (emotion: always happy)")
    assert "DEAD" not in printed({"test": scores})
