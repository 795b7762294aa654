"""A model's answers in; scores, probes and the report out. What `fer.train`, `fer.crossval` and `fer.evaluate` share."""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from fer.cli.messages import KEPT_ONLY
from fer.data.prepare import Prepared
from fer.errors import FerError
from fer.results.calibration import calibrated
from fer.results.card import write_model_card
from fer.results.gallery import Gallery
from fer.results.predictions import au_columns
from fer.results.presence import is_present
from fer.results.probes import probe_answers, probe_data
from fer.results.reliability import reliability
from fer.results.report import write_report
from fer.results.scores import judge
from fer.results.tables import print_scores
from fer.results.wording import dead_line, verdicts
from fer.runs.folder import RunFolder, write_text
from fer.runs.jobs import Kept

log = logging.getLogger(__name__)


def judge_all(predictions: pd.DataFrame, card: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Calibrates by the card's temperatures, decides by its thresholds and judges each split.

    Returns:
        The table with calibrated probabilities and decisions, and the content of `metrics.json`.

    Raises:
        FerError: no row has a label that the model has an answer for.
    """
    # a checkpoint of an older version has no temperature
    temperature = {"au": 1.0, "emotion": 1.0, **card.get("temperature", {})}
    decided = _with_decisions(calibrated(predictions, temperature), card["thresholds"])
    metrics = {}
    for part, rows in decided.groupby("split", sort=False):
        scores = judge(rows, card["thresholds"], base_rates=card["au_rates"], emotion_rates=card["emotion_rates"])
        for head, block in reliability(predictions.loc[rows.index], temperature).items():
            scores[head]["calibration"] = block
        metrics[str(part)] = scores
    if not any(head in scores for scores in metrics.values() for head in ("au", "emotion")):
        raise FerError(
            "none of these pictures has a label that the model gives an answer for: there is nothing to judge"
        )
    return decided, metrics


def add_probes(
    metrics: dict[str, Any], decided: pd.DataFrame, features: np.ndarray, prepared: Prepared, kept: Kept
) -> None:
    """Adds the honesty probes of each split to the content of `metrics.json`."""
    for part, scores in metrics.items():
        rows, samples = (decided["split"] == part).to_numpy(), prepared.part(part)
        known = features[rows]
        of_data = kept.get(
            f"probes of {part}",
            (prepared, hashlib.sha256(known.tobytes()).digest()),
            partial(probe_data, samples, known, prepared.shared),
        )
        scores["probes"] = probe_answers(decided[rows], samples) | of_data


def write_scores(folder: RunFolder, decided: pd.DataFrame, metrics: dict[str, Any]) -> None:
    """Leaves `predictions.csv` and `metrics.json`."""
    write_text(folder.path / "predictions.csv", decided.to_csv(index=False))
    folder.write_json("metrics.json", metrics)


def write_results(
    folder: RunFolder, metrics: dict[str, Any], *, brief: bool = False, gallery: Gallery | None = None
) -> None:
    """After `write_scores`: leaves `report.html`, marks the run finished, and prints the table, in this order.

    Args:
        brief: no report and no table.
        gallery: pictures for the report (`fer.steps.picturing`).
    """
    if not brief:
        write_report(folder.path, gallery)
    if (folder.path / "checkpoints").is_dir():  # a run that made a model
        write_model_card(folder.path)
    folder.note(finished=True, timings={**folder.about.get("timings", {}), "total_s": folder.seconds()})
    for part, scores in metrics.items():
        for line in filter(
            None, [dead_line(scores), *(f"{verdict.head}: {verdict.text}" for verdict in verdicts(scores))]
        ):
            log.info("%s: %s", part, line, extra={KEPT_ONLY: True})
    if not brief:
        print_scores(metrics, Console())
        log.info("report: %s", folder.path / "report.html")


def _with_decisions(predictions: pd.DataFrame, thresholds: dict[str, float]) -> pd.DataFrame:
    decided = predictions.copy()
    for name in au_columns(predictions):
        place = decided.columns.get_loc(f"{name}_prob")
        assert isinstance(place, int)
        present = is_present(decided[f"{name}_prob"].to_numpy(), thresholds[name])
        decided.insert(place + 1, f"{name}_pred", present.astype("int8"))
    return decided
