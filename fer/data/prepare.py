"""From settings to a data set that is ready to train on or to judge: read, split by person, decoded, its labels chosen."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer.config import DataConfig
from fer.data import duplicates, splits
from fer.data.cache import Pixels, Progress, build_pixels
from fer.data.faces import Crop
from fer.data.readers import read_samples
from fer.data.samples import BOX_COLUMNS, BROKEN, UNUSABLE_LABELS, Skipped, au_columns, fingerprint
from fer.errors import FerError
from fer.labels import EMOTION_SETS, au_number, emotion_in_set

log = logging.getLogger(__name__)

UNLABELLED = "image without a label for either head"
PEAK_LOST = "sequence without its peak, so not judged"
USELESS_LANDMARKS = "landmark file without 68 points in the picture"
USELESS_BOX = "face box outside of the picture, or below one pixel"
NO_REFERENCE = "image without another, neutral picture of the same person"
MOST_BAD_LABELS = 0.5
"""Share of a kind of label files above which they are not damaged but of another format."""

OTHER_CLASS = "emotion label that data.emotions has no class for"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set with everything decided, equal to itself alone.

    Attributes:
        table: a sample table; `emotion` holds classes of `data.emotions`; beside the reader's columns `split` (if split) and `pixel`,
            the row of the picture in `pixels`.
        split: subject, split; None if the data was not split.
        pixels: the cached pixels.
        skipped: what was left out, and why.
        n_read: pictures that the reader found, left-out ones among them.
        fingerprint: of the labels and file names, before anything was left out here.
        shared: near-identical pictures under two people, see `fer.data.duplicates.shared_pictures`.
    """

    table: pd.DataFrame
    split: pd.DataFrame | None
    pixels: Pixels
    skipped: Skipped
    n_read: int
    fingerprint: str
    shared: pd.DataFrame

    def part(self, name: str) -> pd.DataFrame:
        """The rows of `train`, `val` or `test`, or of `all`."""
        return self.table if name == "all" else self.table[self.table["split"] == name].reset_index(drop=True)

    def crops(self) -> dict[str, int]:
        """How the faces were found: `landmarks`, `box`, `detector`, `whole` -> number of pictures."""
        return dict(Counter(self.pixels.how[self.table["pixel"]].tolist()).most_common())


def prepare(
    cfg: DataConfig,
    cache_dir: Path,
    *,
    split: bool = True,
    only: str | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Reads, splits, decodes. Everything that can be wrong with the data is found here, the cheap things first.

    Args:
        split: whether to split by person; foreign data is judged as a whole.
        only: the fingerprint that the data must have.
        progress: called with (pictures done, pictures) while they are decoded for the first time.

    Raises:
        FerError: the data can't be read, has no usable label, too few people or too many broken pictures, or it is other data.
    """
    samples = read_samples(cfg, cache_dir, progress)
    table, skipped = samples.table, samples.skipped
    n_read = len(table) + skipped.n_images
    table = with_reference(table, cfg, skipped)
    chosen = _with_classes(table, cfg.emotions, skipped)
    labelled = _labelled(chosen)
    if not labelled.any():
        raise FerError(
            f"no picture has an AU label or an emotion of data.emotions={cfg.emotions}: there is nothing to learn or to judge"
        )
    found = fingerprint(table)
    if only not in (None, found):
        raise FerError(
            "this is not the data that the model was trained on, so nobody in it has a split of train, val or test: use split=all"
        )
    people = _split(table[labelled], cfg) if split else None
    pixels = build_pixels(
        table, image_size=cfg.image_size, crop=crop_of(cfg), color=cfg.color, cache_dir=cache_dir, progress=progress
    )
    kept = chosen.assign(pixel=np.arange(len(chosen)))
    kept = _without_broken(kept, pixels, skipped)
    if cfg.crop == "face":
        _count_useless_places(table, pixels, skipped)
    n_sequences = len(table[["subject", "sequence"]].drop_duplicates())
    _check_skipped(skipped, n_read, n_sequences, cfg.max_skipped)
    kept = _without_unlabelled(kept, skipped)
    judged = is_judged(table, cfg.judged_frames)
    _count_unjudged(table[~table.index.isin(kept["pixel"]) & judged], kept, cfg.judged_frames, skipped)
    counts = judged[kept["pixel"]]
    if people is not None:
        kept = kept.assign(counts=counts).merge(people, on="subject")
        counts = kept.pop("counts") | (kept["split"] == "train")
        splits.assert_disjoint(kept)
    kept = kept[counts.to_numpy()]
    skipped.report()
    shared = duplicates.shared_pictures(kept, pixels, cache_dir)
    if split:  # of other data it is said when the splits are known
        duplicates.warn(shared)
    return Prepared(kept.reset_index(drop=True), people, pixels, skipped, n_read, found, shared)


def crop_of(cfg: DataConfig) -> Crop:
    """`data.crop` by its type."""
    return "face" if cfg.crop == "face" else "full"


def _with_classes(table: pd.DataFrame, emotions: str, skipped: Skipped) -> pd.DataFrame:
    """The table with `emotion` as classes of the emotion head; what has no place there becomes missing, and is counted."""
    classes = (
        table["emotion"].map(lambda e: pd.NA if pd.isna(e) else emotion_in_set(e, emotions) or pd.NA).astype("string")
    )
    lost = table[table["emotion"].notna() & classes.isna()]
    skipped.add(OTHER_CLASS, *(lost["emotion"] + ": " + lost["path"]))
    return table.assign(emotion=classes)


def to_split(table: pd.DataFrame, cfg: DataConfig, skipped: Skipped) -> pd.DataFrame:
    """The rows by which people are split: those with a label that a head has an answer for, and with a reference if there must be one.

    Raises:
        FerError: see `with_reference`.
    """
    rows = with_reference(table, cfg, skipped)
    return rows[_labelled(_with_classes(rows, cfg.emotions, skipped))]


def with_reference(table: pd.DataFrame, cfg: DataConfig, skipped: Skipped) -> pd.DataFrame:
    """The rows that have a neutral picture to compare with, if `data.reference` asks for one; all that is split comes from these.

    A neutral picture is not compared with itself: it would be known by its difference of 0, whatever the network has learned.

    Raises:
        FerError: none has.
    """
    if cfg.reference != "neutral":
        return table
    none = pd.Series(False, table.index)
    known = table["reference"].notna() & (table["reference"] != table["path"]) if "reference" in table else none
    skipped.add(NO_REFERENCE, *table.loc[~known, "path"])
    if not known.any():
        raise FerError("data.reference=neutral: no picture has a neutral one of the same person to compare with")
    return table[known].reset_index(drop=True)


def _labelled(table: pd.DataFrame) -> pd.Series:
    return table[[*au_columns(table), "emotion"]].notna().any(axis="columns")


def _split(table: pd.DataFrame, cfg: DataConfig) -> pd.DataFrame:
    if cfg.folds:
        return splits.split_folds(table, cfg.folds, cfg.fold, cfg.val_fraction, cfg.split_seed)
    return splits.split_subjects(table, cfg.val_fraction, cfg.test_fraction, cfg.split_seed)


def is_judged(table: pd.DataFrame, judged_frames: str) -> pd.Series:
    """Whether a row is judged: `same` all, `peak` the last frame of each sequence; a picture without a sequence is one by itself."""
    if judged_frames == "same":
        return pd.Series(True, table.index)
    last = table.groupby(["subject", "sequence"])["frame"].transform("max")
    return (table["frame"] == last).fillna(True).astype(bool) | table["sequence"].isna()


def _count_unjudged(lost: pd.DataFrame, kept: pd.DataFrame, judged_frames: str, skipped: Skipped) -> None:
    """Sequences that nobody is judged on, because of `lost`, their peaks: what is left of them can be learned from alone."""
    if judged_frames == "peak":
        # a picture without a sequence is one by itself; pandas would take those of a person for one
        gone = lost.dropna(subset="sequence").merge(kept, on=["subject", "sequence"])
        gone = gone[["subject", "sequence"]].drop_duplicates()
        skipped.add(PEAK_LOST, *(gone["subject"] + "/" + gone["sequence"]))


def _without_broken(table: pd.DataFrame, pixels: Pixels, skipped: Skipped) -> pd.DataFrame:
    skipped.add(BROKEN, *pixels.problems.values())
    return table[~table["pixel"].isin(list(pixels.problems))]


def _count_useless_places(table: pd.DataFrame, pixels: Pixels, skipped: Skipped) -> None:
    """Landmarks and boxes that were there and told nothing of where the face is."""
    if "landmarks" in table:
        useless = table["landmarks"].notna() & np.isin(pixels.how, ("box", "detector", "whole"))
        skipped.add(USELESS_LANDMARKS, *table.loc[useless, "landmarks"])
    if set(BOX_COLUMNS) <= set(table):
        useless = table[list(BOX_COLUMNS)].notna().all(axis="columns") & np.isin(pixels.how, ("detector", "whole"))
        skipped.add(USELESS_BOX, *table.loc[useless, "path"])


def _check_skipped(skipped: Skipped, n_read: int, n_sequences: int, most: float) -> None:
    for reason in UNUSABLE_LABELS:
        found = skipped.items.get(reason, [])
        if len(found) > max(most, MOST_BAD_LABELS) * n_sequences:
            raise FerError(f"{len(found)} x {reason}, with {n_sequences} labelled sequences, e.g. {found[0]}")
    if skipped.n_images > most * n_read:
        worst = max(skipped.image_items(), key=lambda pair: len(pair[1]))
        raise FerError(
            f"{skipped.n_images} of {n_read} pictures can't be used, more than data.max_skipped={most:g} allows; "
            f"{len(worst[1])} x {worst[0]}, e.g. {worst[1][0]}"
        )


def _without_unlabelled(table: pd.DataFrame, skipped: Skipped) -> pd.DataFrame:
    labelled = _labelled(table)
    skipped.add(UNLABELLED, *table.loc[~labelled, "path"])
    return table[labelled]


def chosen_aus(train: pd.DataFrame, aus: str | list[int], least: int) -> list[int]:
    """The units of the AU head, ascending: those asked for, or all with at least `least` positives in the training split.

    The frames of a sequence count once: they are one person's one face, however many of them are learned from.

    Raises:
        FerError: a unit that was asked for is not coded in the data, or never occurs in the training split.
    """
    counts = {au_number(c) or 0: _n_shown(train, c) for c in au_columns(train)}
    if isinstance(aus, str):
        return sorted(au for au, n in counts.items() if n >= least)
    absent = [f"AU{au}" for au in aus if not counts.get(au)]
    if absent:
        coded = ", ".join(f"AU{au} ({n})" for au, n in sorted(counts.items())) or "none"
        raise FerError(
            f"data.aus: {', '.join(absent)} never occurs in the training split; coded there (positives): {coded}"
        )
    return sorted(aus)


def _n_shown(table: pd.DataFrame, column: str) -> int:
    """Sequences with a positive; a picture without a sequence is one by itself."""
    shown = table.loc[table[column] == 1, ["subject", "sequence"]]
    return int((shown["sequence"].isna() | ~shown.duplicated()).sum())


def present_emotions(train: pd.DataFrame, emotions: str) -> tuple[str, ...]:
    """The classes of the emotion head: all of `data.emotions`, or none if the training split has no emotion label."""
    if train["emotion"].isna().all():
        return ()
    classes = EMOTION_SETS[emotions]
    absent = sorted(set(classes) - set(train["emotion"].dropna()))
    if absent:
        log.warning(
            "data.emotions=%s: the training split has no picture of %s; it can't be learned",
            emotions,
            ", ".join(absent),
        )
    return classes
