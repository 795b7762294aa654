"""Cross-validate: every person is a test person once, judged by a network that never saw them.

Trains one network per subject-grouped fold, with thresholds chosen inside the fold, pools what they say of the people they never
saw, and leaves one table, one set of scores with intervals over people, and the mean and spread over the folds. Takes every setting
of fer.train.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fer import train
from fer.cli.command import Call, command
from fer.cli.processes import this_line
from fer.config import FREE, CrossvalConfig, DataConfig, TrainConfig, as_dict, flat, from_dict, resolve
from fer.errors import FerError
from fer.runs.folder import FOLDS, RunFolder, find_checkpoint
from fer.steps.early import check_names
from fer.steps.resuming import freely

if TYPE_CHECKING:
    import pandas as pd

    from fer.runs.jobs import Kept

log = logging.getLogger("fer.crossval")  # not __name__: run with -m it is __main__

OTHER_DATA = "the data is not what this cross-validation was begun with"

CHANGEABLE = ("resume", *FREE)
"""What may be typed beside `resume=`."""


def run(cfg: CrossvalConfig, call: Call) -> float | None:
    """All folds, new or those that are left; returns the pooled score."""
    folder, cfg = reopened(cfg, call) if cfg.resume else started(cfg, call)
    folder.log_to_file("crossval.log")
    log.info("run folder: %s", folder.path)
    for repeat in range(cfg.repeats):
        for fold in range(cfg.data.folds):
            train_fold(cfg, folder, repeat, fold, call.kept)
    folds = [fold_dir(folder, r, k) for r in range(cfg.repeats) for k in range(cfg.data.folds)]
    return judged(cfg, folder, folds, call.kept)


def started(cfg: CrossvalConfig, call: Call) -> tuple[RunFolder, CrossvalConfig]:
    """A new run folder, with the number of folds and the units of the AU head settled for all folds alike."""
    where = call.folder("crossval", cfg.run_dir, cfg.name)
    resolved = dataclasses.replace(
        cfg, **{f.name: getattr(resolve(cfg), f.name) for f in dataclasses.fields(TrainConfig)}
    )
    check_names(resolved, where)
    from fer.steps.building import read_weights
    from fer.steps.checks import check_early  # torch and all: only now that the settings are known to be good

    check_early(resolved, where)
    weights = read_weights(resolved, call.kept)  # before anything is written: without a network they may not be had
    if cfg.soup and not weights.pretrained:
        raise FerError(
            "soup=true takes the mean of the folds' weights, and that of networks which start from random ones answers nothing: "
            "say model.weights=FILE"
        )
    table, found = read_table(resolved)
    settled = settle(resolved, table)
    folder = RunFolder.create(where, as_dict(settled), call.line, numbered=cfg.run_dir is None)
    folder.keep_config({**as_dict(settled), "run_dir": str(folder.path)})
    folder.note(data={"fingerprint": found})
    return folder, settled


def read_table(cfg: CrossvalConfig) -> tuple[pd.DataFrame, str]:
    """The rows by which people are split, and the fingerprint of the data.

    Raises:
        FerError: the data can't be read.
    """
    from fer.data.cache import cache_folder
    from fer.data.prepare import to_split, with_reference
    from fer.data.readers import read_samples
    from fer.data.samples import Skipped, fingerprint

    samples = read_samples(cfg.data, cache_folder(cfg.cache_dir), None)
    table = with_reference(samples.table, cfg.data, Skipped())
    return to_split(samples.table, cfg.data, samples.skipped), fingerprint(table)


def settle(cfg: CrossvalConfig, table: pd.DataFrame) -> CrossvalConfig:
    """Decides from the labels what must be the same in every fold.

    Raises:
        FerError: there are fewer people than folds.
    """
    n_people = table["subject"].nunique()
    folds = n_people if cfg.leave_one_out else cfg.data.folds
    if folds > n_people:
        raise FerError(
            f"data.folds={folds}: the data has only {n_people} people; leave_one_out=true takes one fold each"
        )
    settled = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, folds=folds))
    # without a unit that is frequent enough in all of the data there is none in any fold
    return dataclasses.replace(settled, data=dataclasses.replace(settled.data, aus=units(settled, table) or "auto"))


def units(cfg: CrossvalConfig, table: pd.DataFrame) -> list[int]:
    """The units of the AU head: frequent enough in the whole data, and in the training people of every fold at least once.

    Only labels are counted, and which units are asked for hangs on no answer of a network.

    Raises:
        FerError: there are some, but none of them is in every fold.
    """
    from fer.data.prepare import chosen_aus
    from fer.data.splits import split_folds

    found = set(chosen_aus(table, cfg.data.aus, cfg.data.min_au_count))
    for repeat in range(cfg.repeats):
        for fold in range(cfg.data.folds):
            split = split_folds(table, cfg.data.folds, fold, cfg.data.val_fraction, cfg.data.split_seed + repeat)
            train = table[table["subject"].isin(split.loc[split["split"] == "train", "subject"])]
            found &= set(chosen_aus(train, "auto", 1))
    left_out = sorted(set(chosen_aus(table, cfg.data.aus, cfg.data.min_au_count)) - found)
    if left_out and not found:
        raise FerError(
            f"{', '.join(f'AU{au}' for au in left_out)}: each lacks training people in some fold, and the AU head needs the same units in "
            "all: take more folds, or a larger data.min_au_count to do without it"
        )
    if left_out:
        log.warning("left out, as some fold has nobody to learn them from: %s", ", ".join(f"AU{au}" for au in left_out))
    return sorted(found)


def reopened(cfg: CrossvalConfig, call: Call) -> tuple[RunFolder, CrossvalConfig]:
    """The run to go on with.

    Raises:
        FerError: it is finished, no cross-validation, or something was typed that would make it another one.
    """
    assert cfg.resume is not None
    other = [word for word, key in zip(call.overrides, call.keys, strict=True) if key not in CHANGEABLE]
    if other:
        raise FerError(
            f"resume={cfg.resume} goes on with the settings of that run; {', '.join(other)} would change them "
            f"(may change: {', '.join(CHANGEABLE[1:])})"
        )
    folder = RunFolder.open(Path(cfg.resume).expanduser().absolute())
    if "repeats" not in folder.config():
        raise FerError(f"resume={cfg.resume} is a run of fer.train: python -m fer.train resume={cfg.resume}")
    old: CrossvalConfig = from_dict(CrossvalConfig, folder.config(), str(folder.path / "config.yaml"))
    if folder.about["finished"]:
        raise FerError(f"resume={cfg.resume}: that cross-validation is finished")
    if "cache_dir" in call.keys and old.data.name == "synthetic" and old.data.root is None:
        raise FerError(f"resume={cfg.resume}: the drawn faces lie in the cache, so cache_dir must stay {old.cache_dir}")
    if folder.about.get("data", {}).get("fingerprint") != read_table(freely(old, cfg, call.keys))[1]:
        raise FerError(f"resume={cfg.resume}: {OTHER_DATA}, and its folds can't be pooled with others: start anew")
    folder.take_up()
    return folder, freely(old, cfg, call.keys)


def fold_dir(folder: RunFolder, repeat: int, fold: int) -> Path:
    """Where a fold's run lies."""
    return folder.path / FOLDS / (f"{fold}" if repeat == 0 else f"{fold}-repeat{repeat}")


def train_fold(cfg: CrossvalConfig, folder: RunFolder, repeat: int, fold: int, kept: Kept) -> None:
    """Trains and judges one fold, goes on with it where it was stopped, or leaves it if it is finished.

    Args:
        kept: what the folds share: a frozen backbone, and what it said of each picture.
    """
    where = fold_dir(folder, repeat, fold)
    resume = where if (where / "checkpoints" / "last.ckpt").is_file() else None
    if resume and RunFolder.open(where).about["finished"]:
        return
    log.info("fold %d of %d%s", fold + 1, cfg.data.folds, f", repeat {repeat + 1}" if cfg.repeats > 1 else "")
    values = {f.name: getattr(cfg, f.name) for f in dataclasses.fields(TrainConfig)}
    data = dataclasses.replace(cfg.data, fold=fold, split_seed=cfg.data.split_seed + repeat)
    if data.aus != "auto":  # it has chosen the units: a fold would say that it has no effect
        data = dataclasses.replace(data, min_au_count=DataConfig().min_au_count)
    typed = TrainConfig(
        **{**values, "data": data, "test": True, "run_dir": str(where), "resume": resume and str(resume)}
    )
    # what the whole is resumed with holds for a fold that was stopped, too
    changed = [f"{key}={value}" for key, value in flat(as_dict(cfg)) if key in FREE]
    words = (f"resume={resume}", *changed) if resume else ()
    try:
        train.run(typed, Call(f"a fold of fer.crossval: {folder.path}", words, None, kept))
    except SystemExit:  # stopped; the fold is saved
        log.warning("the whole goes on with: %s", this_line("crossval", [f"resume={folder.path}"]))
        sys.exit(130)


def judged(cfg: CrossvalConfig, folder: RunFolder, folds: list[Path], kept: Kept) -> float | None:
    """Pools the folds, writes and prints what they say, and leaves their soup if it is wanted."""
    from rich.console import Console

    from fer.model.checkpoints import CARD, load_checkpoint
    from fer.results.pooling import pool, pool_probes
    from fer.results.tables import print_folds
    from fer.steps import describing, judging
    from fer.steps.picturing import gallery_of_folds
    from fer.steps.reading import opened

    if {RunFolder.open(fold).about["data"]["fingerprint"] for fold in folds} != {folder.about["data"]["fingerprint"]}:
        raise FerError(f"{folder.path}: {OTHER_DATA}: it was changed meanwhile, and the folds can't be pooled")
    table, metrics = pool(folds)
    last: TrainConfig = from_dict(TrainConfig, RunFolder.open(folds[-1]).config(), str(folds[-1] / "config.yaml"))
    prepared = opened(freely(last, cfg, FREE), kept).prepared
    metrics["all"]["probes"] |= pool_probes(table, prepared.table, prepared.shared)
    parts = table[["subject", "fold"]].drop_duplicates()
    parts.assign(split="all")[["subject", "split", "fold"]].to_csv(folder.path / "split.csv", index=False)
    first = RunFolder.open(folds[0]).about
    cuts = "".join(str(RunFolder.open(fold).about["data"]["split_hash"]) for fold in folds)
    shared = metrics["all"]["probes"]["near_identical"]  # across folds, not across the splits of one
    data = {**first["data"], "near_identical": shared, "split_hash": hashlib.sha256(cuts.encode()).hexdigest()}
    times = [RunFolder.open(fold).about.get("timings", {}).get("fit_s") for fold in folds]
    # unknown of a fold that was killed when its training had ended
    timings = {} if None in times else {"fit_s": round(sum(times), 1)}
    weights = first["weights"]
    # judged are all people here, not those of one fold
    card = load_checkpoint(folds[0] / "checkpoints" / "best.ckpt")[CARD]
    everybody = dataclasses.replace(prepared, table=prepared.table.assign(split="all"))
    seen = card.get("seen_in_weights")
    weights = describing.about_weights(
        weights["source"], weights["sha256"], everybody, ["all"], seen, warning=weights["warning"]
    )
    folder.note(data=data, timings=timings, weights=weights, **{key: first.get(key) for key in ("device", "precision")})
    judging.write_scores(folder, table, metrics)
    if cfg.soup:  # before the run counts as finished
        leave_soup(folder, folds)
    pictures = gallery_of_folds(folds, table) if cfg.report.pictures else None
    judging.write_results(folder, metrics, gallery=pictures)
    print_folds(metrics["all"]["folds"], Console())
    score: float | None = metrics["all"]["score"]
    return score


def leave_soup(folder: RunFolder, folds: list[Path]) -> None:
    """Writes `soup.ckpt`, with thresholds chosen on what each fold said of the people that it never saw."""
    from fer.model.checkpoints import write_atomically
    from fer.model.soup import make_soup
    from fer.results.predictions import au_columns, read_predictions
    from fer.results.thresholds import MIN_POSITIVES, choose_thresholds

    pooled = read_predictions(folder.path / "predictions.csv")
    repeats = int(pooled["path"].value_counts().max())  # the same positives once more say nothing more
    thresholds = choose_thresholds(pooled, au_columns(pooled), min_positives=MIN_POSITIVES * repeats)
    soup = make_soup([find_checkpoint(str(fold)) for fold in folds], thresholds)
    write_atomically(soup, folder.path / "soup.ckpt")
    log.info("one network of all folds, for new people: %s", folder.path / "soup.ckpt")


main = command("crossval", run)

if __name__ == "__main__":
    main()
