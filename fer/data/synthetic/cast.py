"""Who shows what: the plan of a synthetic CK+ set.

In: a number of subjects and a seed. Out: a table, one row a sequence: `subject, sequence, peak, emotion, AU1, AU2, ...`.

Counts follow Lucey et al., The Extended Cohn-Kanade Dataset (CVPR workshops 2010): emotions as distributed, AUs near
Table 1, AU combinations by the emotion criteria of Table 2; sequences without an emotion meet none of these criteria.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fer.errors import FerError
from fer.labels import BASIC, EMOTION_CRITERIA

N_SUBJECTS, N_SEQUENCES = 123, 593
EMOTION_COUNTS = {"anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happy": 69, "sadness": 28, "surprise": 83}
# fmt: off
AU_COUNTS = {
    1: 173, 2: 116, 4: 191, 5: 102, 6: 122, 7: 119, 9: 74, 10: 21, 11: 33, 12: 111, 13: 2, 14: 29, 15: 89, 16: 24, 17: 196, 18: 9,
    20: 77, 21: 3, 23: 59, 24: 57, 25: 287, 26: 48, 27: 81, 28: 1, 29: 1, 31: 3, 34: 1, 38: 29, 39: 16, 43: 9,
}
# fmt: on
"""Lucey et al. 2010, Table 1: sequences of 593 that show each unit."""

_MAX_SUBJECTS = 999
STRONG_LID = 5
"""AU5 at E stands in for AU4 in fear (Table 2)."""
WEAK_LID = 2
"""AU5 above B rules surprise out (Table 2)."""

# Per emotion: cores (units that make it, share of its sequences), then the odds of the units that come along.
_RECIPES: dict[str, tuple[tuple[tuple[tuple[int, ...], float], ...], dict[int, float]]] = {
    "anger": ((((23, 24), 1.0),), {4: 0.9, 7: 0.72, 17: 0.85, 5: 0.1, 9: 0.14, 10: 0.06, 15: 0.2, 38: 0.1, 39: 0.06}),
    "contempt": ((((14,), 1.0),), {12: 0.4, 17: 0.17, 24: 0.06, 4: 0.11, 7: 0.1, 25: 0.06, 10: 0.06}),
    "disgust": (
        (((9,), 0.74), ((10,), 0.08), ((9, 10), 0.18)),
        {
            4: 0.68,
            7: 0.62,
            17: 0.5,
            6: 0.36,
            25: 0.36,
            11: 0.2,
            15: 0.14,
            16: 0.07,
            12: 0.1,
            20: 0.05,
            38: 0.14,
            39: 0.08,
        },
    ),
    "fear": (
        (((1, 2, 4), 0.88), ((1, 2, 5), 0.12)),
        {20: 0.76, 25: 0.88, 5: 0.5, 7: 0.24, 26: 0.24, 12: 0.28, 16: 0.12, 38: 0.12},
    ),
    "happy": ((((12,), 1.0),), {6: 0.9, 25: 0.9, 7: 0.16, 26: 0.06, 11: 0.12, 14: 0.14, 16: 0.04}),
    "sadness": ((((1, 4, 15), 0.72), ((1, 4, 11), 0.18), ((6, 15), 0.1)), {17: 0.92, 4: 0.5, 7: 0.1, 2: 0.1, 11: 0.2}),
    "surprise": (
        (((1, 2), 0.28), ((1, 2, 5), 0.69), ((5,), 0.03)),
        {25: 0.97, 27: 0.78, 26: 0.11, 16: 0.03, 38: 0.04, 12: 0.05},
    ),
}
# Combinations of sequences without an emotion; AU5 is strong in all of them.
# fmt: off
_LEFT_OVER: tuple[tuple[int, ...], ...] = (
    (25,), (25, 26), (25, 27), (17,), (4,), (4, 7), (4, 17), (17, 23), (15, 17), (20, 25), (16, 20, 25), (16, 25), (1, 4), (1,),
    (1, 4, 17), (4, 15, 17), (6, 7), (6, 25), (4, 6, 7, 25), (43,), (4, 43), (18,), (18, 25), (5, 25), (5,), (5, 25, 26), (2,),
    (2, 25), (17, 24), (4, 17, 24), (20,), (17, 38), (17, 39), (25, 38), (15, 17, 39), (31,), (34,), (28,), (17, 29), (20, 21, 25),
    (13,), (15,), (1, 15, 17), (17, 20), (7, 17), (4, 17, 23), (4, 20, 25), (6, 20, 25), (1, 4, 20, 25), (1, 25), (1, 25, 26),
    (4, 6, 17), (7, 20, 25), (6, 7, 20, 25), (4, 15, 17, 20), (1, 4, 25), (6, 17), (4, 6, 7), (17, 20, 25), (15, 17, 20),
)
# fmt: on


def fits(emotion: str, aus: Mapping[int, int]) -> bool:
    """Whether a FACS code meets the criterion of a basic emotion (Lucey et al. 2010, Table 2).

    Args:
        emotion: One of `fer.labels.BASIC`.
        aus: AU number -> intensity, 1 to 5, or 0 for present but not graded.
    """
    if emotion == "surprise" and aus.get(5, 0) > WEAK_LID:
        return False
    shown = {*aus, 4} if emotion == "fear" and aus.get(5, 0) == STRONG_LID else set(aus)
    return any(shown.issuperset(units) for units in EMOTION_CRITERIA[emotion])


def plan(n_subjects: int = N_SUBJECTS, seed: int = 0) -> pd.DataFrame:
    """Draws up the set.

    Args:
        n_subjects: 1 to 999; 123 gives the emotion counts of CK+ exactly and its AU counts nearly, other numbers scale them.
        seed: The same seed gives the same plan.

    Returns:
        One row a sequence, ordered by subject and sequence: `subject` (`S001`), `sequence` (`001`), `peak` (number of the
        last frame), `emotion` (missing where the sequence has none), and per AU its intensity: 1 to 5, 0 = present but not
        graded, missing = absent.

    Raises:
        FerError: If `n_subjects` is out of range.
    """
    if not 1 <= n_subjects <= _MAX_SUBJECTS:
        raise FerError(f"subjects={n_subjects}: a CK+ tree has room for 1 to {_MAX_SUBJECTS} subjects")
    rng = np.random.default_rng([seed, n_subjects])
    counts = _scaled_emotions(n_subjects)
    rows: list[tuple[str | None, dict[int, int]]]
    rows = [(emotion, aus) for emotion, n in counts.items() for aus in _emotion_rows(emotion, n, rng)]
    n_rest = max(round(N_SEQUENCES * n_subjects / N_SUBJECTS) - len(rows), 0)
    rows += [(None, aus) for aus in _rest_rows(n_rest, [aus for _, aus in rows], n_subjects, rng)]
    people = _assign([emotion for emotion, _ in rows], n_subjects, rng)
    return _table(rows, people, rng)


def _scaled_emotions(n_subjects: int) -> dict[str, int]:
    """Emotion counts for a set of this size, by largest remainder."""
    exact = np.array([EMOTION_COUNTS[name] for name in BASIC]) * n_subjects / N_SUBJECTS
    whole = np.floor(exact).astype(int)
    short = round(exact.sum()) - whole.sum()
    whole[np.argsort(whole - exact, kind="stable")[:short]] += 1
    return dict(zip(BASIC, (int(n) for n in whole), strict=True))


def _emotion_rows(emotion: str, n: int, rng: np.random.Generator) -> list[dict[int, int]]:
    """`n` FACS codes that meet the criterion of an emotion; each unit as often as its odds say, to the nearest row."""
    cores, odds = _RECIPES[emotion]
    edges = np.round(np.cumsum([share for _, share in cores]) * n)
    chosen = [cores[int(np.searchsorted(edges, k, side="right"))][0] for k in range(n)]
    units: list[set[int]] = [set(core) for core in chosen]
    for au, share in odds.items():
        for k in rng.permutation(n)[: int(np.floor(share * n + rng.random()))]:
            units[k].add(au)
    return [_grade(_tidy(aus, emotion), set(core), emotion, rng) for aus, core in zip(units, chosen, strict=True)]


def sample_code(emotion: str, rng: np.random.Generator) -> dict[int, int]:
    """One FACS code of a basic emotion: AU number -> intensity 1 to 5, 0 = present but not graded."""
    cores, odds = _RECIPES[emotion]
    core = cores[int(rng.choice(len(cores), p=np.array([share for _, share in cores])))][0]
    units = set(core) | {au for au, share in odds.items() if rng.random() < share}
    return _grade(_tidy(units, emotion), set(core), emotion, rng)


def _tidy(aus: set[int], emotion: str) -> set[int]:
    """Drops units that a face can't show together: a mouth stretches or the jaw drops; nostrils widen or narrow."""
    drop = {26} if 27 in aus else set()
    drop |= {39} if 38 in aus else set()
    drop |= {24} if emotion == "contempt" and 25 in aus else set()
    needs_open = aus & {16, 26, 27}
    return (aus - drop) | ({25} if needs_open else set())


def _grade(aus: set[int], core: set[int], emotion: str | None, rng: np.random.Generator) -> dict[int, int]:
    """Gives each unit an intensity; the units that make the emotion are seldom weak."""
    grades: dict[int, int] = {}
    for au in sorted(aus):
        odds = (0.02, 0.13, 0.3, 0.35, 0.2) if au in core else (0.08, 0.22, 0.35, 0.25, 0.1)
        grade = int(rng.choice(5, p=odds)) + 1
        grades[au] = 0 if rng.random() < 0.05 else grade
    if 5 in grades:
        grades[5] = _grade_lid(aus, emotion, rng)
    if 12 in grades and emotion != "happy":
        grades[12] = int(rng.integers(1, 3))  # a stronger smile would outshine the emotion
    return grades


def _grade_lid(aus: set[int], emotion: str | None, rng: np.random.Generator) -> int:
    if emotion == "surprise":
        return int(rng.integers(1, WEAK_LID + 1))
    if emotion == "fear":
        return STRONG_LID if 4 not in aus else int(rng.integers(2, 6))
    return int(rng.integers(WEAK_LID + 1, 6))


def _rest_rows(
    n: int, labelled: list[dict[int, int]], n_subjects: int, rng: np.random.Generator
) -> list[dict[int, int]]:
    """`n` FACS codes without an emotion that bring the AU counts to those of Table 1."""
    missing = {
        au: count * n_subjects / N_SUBJECTS - sum(au in aus for aus in labelled) for au, count in AU_COUNTS.items()
    }
    rows = []
    for _ in range(n):
        odds = np.array([_worth(combination, missing) for combination in _LEFT_OVER])
        combination = _LEFT_OVER[int(rng.choice(len(odds), p=odds / odds.sum()))]
        for au in combination:
            missing[au] -= 1
        rows.append(_grade(set(combination), set(combination), None, rng))
    return rows


def _worth(combination: tuple[int, ...], missing: Mapping[int, float]) -> float:
    """How much a combination helps to reach the counts: most where all its units lag behind."""
    lag = [missing[au] / AU_COUNTS[au] for au in combination]
    return float(np.mean(lag)) ** 2 + 1e-9 if min(missing[au] for au in combination) > 0.3 else 1e-9


def _assign(emotions: list[str | None], n_subjects: int, rng: np.random.Generator) -> list[int]:
    """Gives every sequence a subject: nobody has an emotion twice while others lack it, everybody has a sequence."""
    load = np.zeros(n_subjects)
    people = [-1] * len(emotions)
    for emotion in (*BASIC, None):
        places = [k for k, name in enumerate(emotions) if name == emotion]
        queue = np.concatenate([rng.permutation(n_subjects) for _ in range(len(places) // n_subjects + 1)])[
            : len(places)
        ]
        if emotion is None:
            idle = np.flatnonzero(load == 0)[: len(places)]
            queue = np.concatenate([idle, rng.choice(n_subjects, len(places) - len(idle))])
        for place, person in zip(places, queue, strict=True):
            people[place] = int(person)
            load[person] += 1
    return people


def _table(rows: list[tuple[str | None, dict[int, int]]], people: list[int], rng: np.random.Generator) -> pd.DataFrame:
    """Numbers the sequences of each subject, with gaps as in CK+."""
    order = rng.permutation(len(rows))
    records = []
    for person in sorted(set(people)):
        own = [int(k) for k in order if people[k] == person]
        numbers = np.sort(rng.choice(len(own) + 2, len(own), replace=False)) + 1
        for number, k in zip(numbers, own, strict=True):
            emotion, aus = rows[k]
            record = {
                "subject": f"S{person + 1:03d}",
                "sequence": f"{number:03d}",
                "peak": int(rng.integers(8, 42)),
                "emotion": emotion,
            }
            records.append(record | {f"AU{au}": aus.get(au, pd.NA) for au in AU_COUNTS})
    types = {"subject": "str", "sequence": "str", "peak": "int64", "emotion": "str"} | {
        f"AU{au}": "Int8" for au in AU_COUNTS
    }
    return pd.DataFrame(records, columns=list(types)).astype(types)
