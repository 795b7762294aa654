"""How much of the heat lies where FACS says the unit is: rows of single maps in, means with intervals over people out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.table import Table

from fer.labels import au_meaning, au_number
from fer.results.bootstrap import interval, resample_subjects
from fer.results.measures import Weights, unweighted
from fer.results.predictions import FloatArray
from fer.use.explaining.regions import Mask
from fer.use.heat import Heat

N_BOOT = 2000


class HeatRow(NamedTuple):
    """A row of `heat.csv`: one map.

    `inside` and `random` are None for emotions and for faces without a known place, `inside` of maps without heat, too.

    `others` is the mean share inside the same region of the maps of the face's other units; None where there are none.
    """

    path: str
    subject: str | None
    face: int
    label: str
    probability: float
    decided: bool
    inside: float | None
    random: float | None
    others: float | None = None


def shares(maps: dict[str, Heat], masks: dict[str, Mask | None]) -> dict[str, tuple[float | None, ...]]:
    """What is scored of the maps of one face.

    Args:
        maps: label -> heat [H, W].
        masks: label -> region [H, W]; None of emotions and where none is known.

    Returns:
        Label -> `inside`, `random` and `others` of `HeatRow`.
    """
    units = [label for label, heat in maps.items() if au_number(label) is not None and heat.any()]
    found: dict[str, tuple[float | None, ...]] = {}
    for label, heat in maps.items():
        mask = masks[label]
        inside = None if mask is None else share_inside(heat, mask)
        if mask is None or inside is None:
            found[label] = (None, None if mask is None else float(mask.mean()), None)
            continue
        others = [share for unit in units if unit != label and (share := share_inside(maps[unit], mask)) is not None]
        found[label] = (inside, float(mask.mean()), float(np.mean(others)) if others else None)
    return found


def share_inside(heat: Heat, mask: Mask) -> float | None:
    """The share of the heat [H, W] that lies in the region [H, W]; None of a map without heat."""
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else None


def summarise(rows: pd.DataFrame) -> dict[str, Any]:
    """The content of `heat.json`.

    Args:
        rows: of `HeatRow`; those of units that the model decided to be active count.

    Returns:
        `n_images`, `n_subjects` (None if nobody knows who is on the pictures), `n_maps` that counted, `n_without_region` that could not,
        `n_empty`: unit -> maps of it without any heat, which have no share to score, where there are any, `macro` over the units, and
        `per_au`: `n` maps, `inside` the mean share of the heat in the region, `random` that of heat spread evenly, `difference` of both,
        and `above_others`: by how much `inside` is above the maps of other units of the same faces (None where no face has any). With 95%
        intervals over people (`_ci`, None without people).
    """
    units = rows["label"].map(lambda label: au_number(label) is not None).astype(bool)
    active = rows[units & rows["decided"].astype(bool)]
    counted = active[active["inside"].notna()].reset_index(drop=True)
    empty = active.loc[active["inside"].isna() & active["random"].notna(), "label"]
    known = bool(len(rows)) and bool(rows["subject"].notna().all())
    aus = sorted(counted["label"].unique(), key=lambda au: au_number(au) or 0)
    people = _people(counted) if known else {}
    point = _means(counted, aus, unweighted(len(counted)))
    draws = _means(counted, aus, resample_subjects(counted["subject"], N_BOOT, 0)) if people.get("inside") else None
    per_au = {}
    for k, au in enumerate(aus):
        own = counted[counted["label"] == au]
        per_au[au] = {"n": len(own), **_numbers(point[:, k], None if draws is None else draws[:, k], _people(own))}
    return {
        "n_images": int(rows["path"].nunique()),
        "n_subjects": int(rows["subject"].nunique()) if known else None,
        "n_maps": len(counted),
        "n_without_region": int(active["random"].isna().sum()),
        "n_empty": {au: int(n) for au, n in empty.value_counts().items()},
        "macro": _numbers(_macro(point, point), None if draws is None else _macro(draws, point), people)
        if aus
        else None,
        "per_au": per_au,
    }


def _people(rows: pd.DataFrame) -> dict[str, int]:
    """Of each measure, the people who have it: one whose face has no other active unit has no share above others."""
    n = int(rows["subject"].nunique())
    return {
        "inside": n,
        "difference": n,
        "above_others": int(rows.loc[rows["others"].notna(), "subject"].nunique()),
    }


def _means(rows: pd.DataFrame, aus: list[str], weights: Weights) -> FloatArray:
    """(draws, AUs, 3): means of the share inside, of the share of the area, and of the share above other units' maps.

    nan where a draw has no such map.
    """
    if not aus:
        return np.zeros((1, 0, 3))
    one_hot: FloatArray = np.stack([rows["label"] == au for au in aus], axis=1).astype(np.float64)  # (maps, AUs)
    inside, random, others = (rows[[column]].to_numpy(dtype=np.float64) for column in ("inside", "random", "others"))
    return np.stack([_mean(one_hot, values, weights) for values in (inside, random, inside - others)], axis=-1)


def _mean(one_hot: FloatArray, values: FloatArray, weights: Weights) -> FloatArray:
    """(draws, AUs): weighted means of (maps, 1) values that are there."""
    there = ~np.isnan(values)
    counts = weights.sums(one_hot * there)
    counts[counts == 0] = np.nan
    means: FloatArray = weights.sums(one_hot * np.where(there, values, 0)) / counts
    return means


def _macro(means: FloatArray, point: FloatArray) -> FloatArray:
    """(draws, 3): the means over the units; one that a draw has lost keeps its value of all people, else draws would differ by units.

    A unit without any value, as none has a share above others if it is alone, counts nowhere.
    """
    filled = np.where(np.isnan(means), point, means)
    there = ~np.isnan(point)
    counts = np.where(there.any(axis=1), there.sum(axis=1), np.nan)
    return np.asarray(np.where(there, filled, 0).sum(axis=1) / counts)


def _numbers(point: FloatArray, draws: FloatArray | None, people: Mapping[str, int]) -> dict[str, Any]:
    inside, random, above = point[0].tolist()
    found = {
        "inside": inside,
        "random": random,
        "difference": inside - random,
        "above_others": None if np.isnan(above) else above,
    }
    if draws is None:
        return {**found, "inside_ci": None, "difference_ci": None, "above_others_ci": None}
    gap = np.asarray(draws[:, 0] - draws[:, 1])
    columns = {
        "inside": (inside, draws[:, 0]),
        "difference": (inside - random, gap),
        "above_others": (above, draws[:, 2]),
    }
    return found | {
        f"{name}_ci": interval(np.asarray(values), people[name], value, share=name == "inside")
        for name, (value, values) in columns.items()
    }


def score_table(summary: dict[str, Any], *, wide: bool = True) -> Table:
    """The summary for a terminal; a narrow one gets the numbers without the names of units."""
    table = Table(box=None, pad_edge=False, title="share of the heat in the region of the unit", title_justify="left")
    names = ("", "") if wide else ("",)
    for column in (*names, "maps", "inside", "random", "difference", "95%", "above\nothers", "95%"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for au, found in summary["per_au"].items():
        table.add_row(*(au, au_meaning(au))[: len(names)], str(found["n"]), *_cells(found))
    if summary["macro"] is not None:
        table.add_row(
            *("mean", "over units")[: len(names)], str(summary["n_maps"]), *_cells(summary["macro"]), style="bold"
        )
    return table


def _cells(found: dict[str, Any]) -> list[str]:
    above = found["above_others"]
    return [
        f"{found['inside']:.2f}",
        f"{found['random']:.2f}",
        f"{found['difference']:+.2f}",
        _range(found["difference_ci"]),
        "" if above is None else f"{above:+.2f}",
        _range(found["above_others_ci"]),
    ]


def _range(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:+.2f} to {ends[1]:+.2f}"
