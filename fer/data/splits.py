"""Subject-grouped splits: a sample table in, one row per subject with its split out. A person is never in two splits.

Method: each label should occur in every part when enough people have it, and then every part should hold its share of
each balanced quantity (people, images, images per emotion, positives per AU). From seeded random starts the assignment
moves one person at a time, always the move that lowers the imbalance most, until none does; the best start wins. The
imbalance of an assignment is

    sum over quantities and parts of (held - wanted)^2 / wanted
    + 1e6 for each part that lacks a label which at least as many people have as there are parts

with wanted = fraction of the part x total, each quantity in units of its mean over the people who have it, and the
number of people counting fourfold.

It stands in for iterative stratification (Sechidis, Tsoumakas & Vlahavas, "On the stratification of multi-label data",
2011), which reaches the shares as well but does not see to it that a rare label is in every part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer.data.samples import au_columns
from fer.errors import FerError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MISSING_LABEL_COST = 1e6
PEOPLE_WEIGHT = 4.0
MAX_STARTS = 100
STARTS_TIMES_SUBJECTS = 20_000


def split_subjects(table: pd.DataFrame, val_fraction: float, test_fraction: float, seed: int) -> pd.DataFrame:
    """Divides the people of a sample table into train, val and test.

    Args:
        table: sample table (`subject`, `emotion`, `AU<n>` columns are read); the order of its rows has no influence.
        val_fraction: share of the people for validation, above 0; at least one person is taken.
        test_fraction: share of the people for the test; 0 = no test people.
        seed: equal seeds give equal splits for equal people and labels.

    Returns:
        Columns `subject`, `split` (`train`, `val` or `test`), one row per person, sorted by `subject`.

    Raises:
        FerError: fractions that leave a split empty, or fewer people than splits.
    """
    _check_fractions(val_fraction, test_fraction)
    names = ["train", "val", "test"] if test_fraction else ["train", "val"]
    people = quantities(table)
    _check_enough(len(people), len(names), f"{', '.join(names[:-1])} and {names[-1]}")
    fractions = [1 - val_fraction - test_fraction, val_fraction, test_fraction][: len(names)]
    parts = _divide(people, fractions, np.random.default_rng(seed))
    return pd.DataFrame({"subject": people.index, "split": np.array(names)[parts]})


def split_folds(table: pd.DataFrame, n_folds: int, fold: int, val_fraction: float, seed: int) -> pd.DataFrame:
    """The split of one round of a cross-validation: fold number `fold` is the test, validation is drawn from the rest.

    For one `seed` all rounds cut the same partition: the `n_folds` test folds hold every person exactly once.

    Args:
        table: sample table, as in `split_subjects`.
        n_folds: number of folds, at least 2.
        fold: 0 to `n_folds - 1`.
        val_fraction: share of *all* people for validation, above 0; at least one person is taken.
        seed: fixes the partition, and with `fold` the validation people.

    Returns:
        As `split_subjects`.

    Raises:
        FerError: a fold that does not exist, a fraction that leaves nobody to train on, or too few people.
    """
    if n_folds < 2 or not 0 <= fold < n_folds:
        raise FerError(
            f"data.folds={n_folds} data.fold={fold}: needs at least 2 folds and a fold from 0 to data.folds - 1"
        )
    _check_fractions(val_fraction, 1 / n_folds)
    people = quantities(table)
    _check_enough(len(people), max(n_folds, 3), f"data.folds={n_folds}")
    folds = _divide(people, [1 / n_folds] * n_folds, np.random.default_rng(seed))
    rest = people[folds != fold]
    share = val_fraction / (1 - 1 / n_folds)
    in_val = _divide(rest, [1 - share, share], np.random.default_rng([seed, fold]))
    split = pd.Series("test", index=people.index)
    split[rest.index] = np.array(["train", "val"])[in_val]
    return pd.DataFrame({"subject": people.index, "split": split.to_numpy()})


def quantities(table: pd.DataFrame) -> pd.DataFrame:
    """What a split balances, a row per subject (sorted): images, AU-coded images, images per emotion and AU."""
    aus = table[au_columns(table)]
    counted = pd.concat(
        [
            pd.DataFrame({"images": 1, "coded": aus.notna().any(axis=1)}),
            pd.get_dummies(table["emotion"].astype("object"), prefix="emotion"),
            aus.fillna(0).astype("int64"),
        ],
        axis=1,
    )
    return counted.astype("float64").groupby(table["subject"].astype("str").to_numpy()).sum()


def assert_disjoint(table: pd.DataFrame) -> None:
    """Stops the program if a subject of `table` (columns `subject`, `split`) is in more than one split.

    Raises:
        AssertionError: a person straddles splits: a defect of the program, never of the data.
    """
    n_splits = table.groupby("subject")["split"].nunique()
    leaking = n_splits[n_splits > 1]
    if len(leaking):
        raise AssertionError(f"{len(leaking)} subjects are in more than one split, e.g. {leaking.index[0]}")


def split_hash(split: pd.DataFrame) -> str:
    """SHA-256 of who is in which split (columns `subject`, `split`), whatever the order of the rows."""
    lines = sorted(split["subject"].astype("str") + "," + split["split"].astype("str"))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _check_fractions(val_fraction: float, test_fraction: float) -> None:
    if val_fraction <= 0 or test_fraction < 0 or val_fraction + test_fraction >= 1:
        raise FerError(
            f"data.val_fraction={val_fraction:g} with a test share of {test_fraction:g}: the first must be above 0, "
            "the second 0 or more, their sum below 1"
        )


def _check_enough(n_subjects: int, n_needed: int, purpose: str) -> None:
    if n_subjects < n_needed:
        raise FerError(
            f"the data has {n_subjects} {'subject' if n_subjects == 1 else 'subjects'}, "
            f"but {purpose} without a shared person needs at least {n_needed}"
        )


def _divide(people: pd.DataFrame, fractions: Sequence[float], rng: np.random.Generator) -> Ints:
    """The part (0 to len(fractions) - 1) of each row of `people`: the best of several descents from random starts."""
    problem = _Problem(people, np.asarray(fractions, dtype=np.float64))
    n_starts = int(np.clip(STARTS_TIMES_SUBJECTS // len(people), 1, MAX_STARTS))
    found = [problem.descend(problem.random_start(rng)) for _ in range(n_starts)]
    return found[int(np.argmin([problem.imbalance(parts) for parts in found]))]


class _Problem:
    """The imbalance of an assignment of n people to p parts, and what each possible move of one person would change."""

    def __init__(self, people: pd.DataFrame, fractions: Floats) -> None:
        held = people.to_numpy(dtype=np.float64)
        held = np.column_stack([np.ones(len(held)), held[:, held.any(axis=0)]])
        self.fractions = fractions / fractions.sum()
        self.has = (held > 0).astype(np.float64)
        self.held = held * self.has.sum(axis=0) / held.sum(axis=0)
        self.spreadable = self.has.sum(axis=0) >= len(fractions)
        self.wanted = np.outer(self.fractions, self.held.sum(axis=0))
        weights = np.ones(self.held.shape[1])
        weights[0] = PEOPLE_WEIGHT
        self.scale = weights / self.wanted

    def random_start(self, rng: np.random.Generator) -> Ints:
        """Shuffled people cut at the fractions."""
        n = len(self.held)
        cuts = np.round(np.cumsum(self.fractions)[:-1] * n)
        return np.searchsorted(cuts, rng.permutation(n), side="right")

    def totals(self, parts: Ints) -> tuple[Floats, Floats]:
        """Per part and quantity: the amount above the wanted one, and the number of people who have it."""
        member = (parts[:, None] == np.arange(len(self.fractions))).astype(np.float64)
        return member.T @ self.held - self.wanted, member.T @ self.has

    def imbalance(self, parts: Ints) -> float:
        """The cost that the module's docstring defines, rounded so that equal ones compare equal."""
        excess, n_people = self.totals(parts)
        n_lacking = ((n_people == 0) & self.spreadable).sum()
        return round(float((excess**2 * self.scale).sum() + MISSING_LABEL_COST * n_lacking), 6)

    def descend(self, parts: Ints) -> Ints:
        """Makes the best single move again and again until no move lowers the imbalance."""
        parts = parts.copy()
        while True:
            change = self.changes(parts)
            person, part = np.unravel_index(int(np.argmin(change)), change.shape)
            if change[person, part] >= 0:
                return parts
            parts[person] = part

    def changes(self, parts: Ints) -> Floats:
        """(n, p): the change of the imbalance if that person moved to that part; 0 for their own part."""
        excess, n_people = self.totals(parts)
        square = self.held**2 @ self.scale.T
        linear = 2 * self.held @ (excess * self.scale).T
        fills = self.has @ ((n_people == 0) & self.spreadable).T
        empties = self.has @ ((n_people == 1) & self.spreadable).T
        joins = square + linear - MISSING_LABEL_COST * fills
        leaves = square - linear + MISSING_LABEL_COST * empties
        rows = np.arange(len(parts))
        change: Floats = joins + leaves[rows, parts][:, None]
        change[rows, parts] = 0
        # Rounded: people with equal labels must tie on every machine, whatever the order in which it adds.
        return change.round(6)
