"""What a search leaves: the table of its best trials, `trials.csv`, the importance of the settings, and a page."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fer.results.page import render
from fer.runs.folder import write_text
from fer.terminal import fitted, short, table
from fer.tuning import figures
from fer.tuning.folders import score_interval, trial_folder
from fer.tuning.messages import in_brief, outcome
from fer.tuning.space import Space, varied
from fer.tuning.study import is_lost

log = logging.getLogger(__name__)

N_SHOWN = 10
HEADS = ("trial", "score", "95%")

MIN_FOR_IMPORTANCE = 10
"""Complete trials below which the importance of a setting is chance."""


def write_summary(folder: Path, study: optuna.Study, space: Space, seed: int, line: str | None) -> None:
    """Prints the best trials and writes `trials.csv` and `report.html`.

    Args:
        line: the command that trains the best trial's settings, None if no trial is complete.
    """
    trials = study.trials
    console = fitted(Console())
    best = ranked(trials)[:N_SHOWN]
    importance = importances(study, space, seed)
    write_text(folder / "trials.csv", trials_table(trials, space).to_csv(index=False))
    table = best_table(folder, best, space)
    if Measurement.get(console, console.options.update(width=1000), table).maximum > console.width:
        table = best_list(folder, best, space)
    console.print(table)
    console.print(f"\n{counts(trials)}")
    if importance:
        words = ", ".join(f"{key} {short(value)}" for key, value in importance.items())
        console.print(f"importance (share of the score's variance, fANOVA): {words}")
    write_text(folder / "report.html", page(folder, study, space, importance, line))
    log.info("report: %s", folder / "report.html")


def ranked(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The complete trials that were run, best first, dead models last; of equals the earlier."""
    ran = [t for t in trials if t.state == TrialState.COMPLETE and "same_as" not in t.user_attrs]
    return sorted(ran, key=lambda t: ("dead" in t.user_attrs, -(t.value or 0.0), t.number))


def counts(trials: list[FrozenTrial]) -> str:
    """`50 trials: 30 complete, 18 pruned, 2 failed`."""
    found = Counter(kind(t) for t in trials if t.state.is_finished() and not is_lost(t))
    n_same = sum("same_as" in t.user_attrs for t in trials)
    same = f"; {n_same} of them had been run before and were not run again" if n_same else ""
    return f"{found.total()} trials: {', '.join(f'{n} {word}' for word, n in found.most_common())}{same}"


def kind(trial: FrozenTrial) -> str:
    """What became of a trial, in one word."""
    if "error" in trial.user_attrs:
        return "failed"
    return "lost" if is_lost(trial) else trial.state.name.lower()


def trials_table(trials: list[FrozenTrial], space: Space) -> pd.DataFrame:
    """A row per trial: what became of it, and its point."""
    return pd.DataFrame(
        [
            {
                "trial": t.number,
                "state": kind(t),
                "score": t.value if t.state == TrialState.COMPLETE else None,
                "dead": "dead" in t.user_attrs,
                "epochs": len(t.intermediate_values),
                "seconds": round(t.duration.total_seconds(), 1) if t.duration else None,
                "same_as": t.user_attrs.get("same_as"),
                "retry_of": t.user_attrs.get("retry_of"),
                "error": t.user_attrs.get("error"),
                **{key: t.params.get(key) for key in space},
            }
            for t in trials
        ]
    ).astype({"same_as": "Int64", "retry_of": "Int64"})


def best_table(folder: Path, best: list[FrozenTrial], space: Space) -> Table:
    """The best trials, a row each and a column per setting."""
    made = table(*HEADS, *(key.split(".")[-1].replace("_", "\n") for key in varied(space)), words=0)
    for t in best:
        cells = [in_brief(t.params[key]) for key in varied(space)]
        made.add_row(str(t.number), short(t.value), _interval(folder, t), *map(Text, cells))
    return made


def best_list(folder: Path, best: list[FrozenTrial], space: Space) -> Table:
    """The same with all settings in one column: for spaces that are too wide."""
    made = table(*HEADS, words=0)
    made.add_column("settings")
    for t in best:
        words = "  ".join(f"{key}={in_brief(t.params[key])}" for key in varied(space))
        made.add_row(str(t.number), short(t.value), _interval(folder, t), Text(words))
    return made


def _interval(folder: Path, trial: FrozenTrial) -> str:
    return "dead" if "dead" in trial.user_attrs else score_interval(folder, trial.number)


def importances(study: optuna.Study, space: Space, seed: int) -> dict[str, float]:
    """Setting -> share of the score's variance that it explains (0 to 1), largest first; empty if that would be chance.

    Hutter et al., "An efficient approach for assessing hyperparameter importance" (fANOVA), ICML 2014.
    """
    scores = {t.value for t in ranked(study.trials)}
    if len(ranked(study.trials)) < MIN_FOR_IMPORTANCE or len(scores) < 2:
        return {}
    evaluator = FanovaImportanceEvaluator(seed=seed)
    try:
        return optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied(space))
    except RuntimeError:  # scores that differ by rounding alone
        return {}


def page(folder: Path, study: optuna.Study, space: Space, importance: dict[str, float], line: str | None) -> str:
    """`report.html`: one file that opens offline."""
    trials, keys = study.trials, varied(space)
    rows: list[dict[str, Any]] = [
        {
            "number": t.number,
            "score": short(t.value),
            "interval": _interval(folder, t),
            "epochs": len(t.intermediate_values),
            "point": [in_brief(t.params[key]) for key in keys],
            "report": (trial_folder(folder, t.number) / "report.html").is_file(),
        }
        for t in ranked(trials)[:N_SHOWN]
    ]
    order = sorted(keys, key=lambda key: -importance.get(key, 0))
    context = {
        "name": study.study_name,
        "counts": counts(trials),
        "keys": keys,
        "rows": rows,
        "line": line,
        "history": figures.history(trials),
        "importance": figures.importance_bars(importance) if importance else None,
        "min_for_importance": MIN_FOR_IMPORTANCE,
        "slices": {key: figures.value_slice(trials, key, space[key]) for key in order},
        "failures": [(t.number, outcome(t)) for t in trials if "error" in t.user_attrs],
    }
    return render("fer.tuning", "report.html.j2", context)
