"""What a comparison says: in, judged runs; out, one table, the winner, and the sentences that go with every form of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer.config import CompareConfig
from fer.errors import FerError
from fer.results.comparison.compare import LEVEL, WINNER_RULE, Comparison, Standing, compare, winner
from fer.results.comparison.judged_runs import JudgedRun, chosen_split, same_pictures
from fer.results.comparison.run_settings import labels_of, settings_that_differ


@dataclass(frozen=True)
class Findings:
    """A comparison of runs with all that is shown of it. Lists and arrays are in the order of `runs`."""

    runs: list[JudgedRun]
    labels: list[str]
    settings: pd.DataFrame
    """A text column per setting that differs."""
    split: str
    comparison: Comparison
    winner: int
    reference_named: bool
    n_draws: int
    blind: float | None
    """What the same answer for every picture would score, where all were judged on all of their pictures."""

    @property
    def order(self) -> list[int]:
        """The runs from the highest score down."""
        return sorted(range(len(self.runs)), key=lambda k: -self.comparison.standings[k].score)

    def dead(self, k: int) -> bool:
        """Whether run `k` gives the same answer for every picture."""
        return self.runs[k].dead(self.split)

    def won(self, k: int) -> bool:
        """Whether run `k` is the winner; none is where all are dead."""
        return k == self.winner and not self.dead(k)

    def standing(self, k: int) -> Standing:
        """Of run `k`."""
        return self.comparison.standings[k]

    def table(self) -> pd.DataFrame:
        """The content of `compare.csv`: a row per run, the best first."""
        rows = []
        for place, k in enumerate(self.order, start=1):
            run, found = self.runs[k], self.standing(k)
            low, high = found.score_ci or (None, None)
            less, more = found.difference_ci or (None, None)
            rows.append(
                {"place": place, "run": self.labels[k], "name": run.about.get("name"), "folder": str(run.path)}
                | {str(key): value for key, value in self.settings.loc[k].items()}
                | {"split": self.split, "n_images": self.comparison.n_images, "n_subjects": self.comparison.n_subjects}
                | {"score": found.score, "score_low": low, "score_high": high}
                | {"difference": found.difference, "difference_low": less, "difference_high": more}
                | {"p": found.p, "p_holm": found.p_holm, "verdict": found.verdict}
                | {"seconds": run.seconds, "dead": self.dead(k), "winner": self.won(k)}
            )
        return pd.DataFrame(rows)

    def sentences(self) -> list[str]:
        """What was compared on whom, the winner and its rule, what is above noise, and what to keep in mind."""
        return [self._on_whom(), self._winner(), self._above_noise(), *self._keep_in_mind()]

    def _on_whom(self) -> str:
        found = self.comparison
        people = f"{found.n_images} pictures of {found.n_subjects} people"
        blind = self.blind
        without = "" if blind is None else f" The same answer for every picture would score up to {blind:.3f}."
        return f"{len(self.runs)} runs, judged on the same {people} (split={self.split}).{without}"

    def _winner(self) -> str:
        if self.dead(self.winner):
            return "No winner: every run is dead, a head of each gives the same answer for every picture."
        score = self.standing(self.winner).score
        return f"Winner: {self.labels[self.winner]}, score {score:.3f}. The rule: {WINNER_RULE}."

    def _above_noise(self) -> str:
        verdicts = [self.standing(k).verdict for k in range(len(self.runs)) if k != self.comparison.reference]
        worse, better = verdicts.count("worse"), verdicts.count("better")
        against = f"{'the reference' if self.reference_named else 'the best'}, {self.labels[self.comparison.reference]}"
        said = f"{worse} of {len(verdicts)} are worse"
        if self.reference_named:
            said += f" and {better} better"
        rest = len(verdicts) - worse - better
        return f"Above noise: {said} than {against}" + (f"; {rest} can't be told from it." if rest else ".")

    def _keep_in_mind(self) -> list[str]:
        found = self.comparison
        family = f"{found.n_tests} comparisons"
        if not self.reference_named:
            family += " (all pairs of runs: the best was chosen by looking)"
        method = (
            f"Differences: paired bootstrap over people, {self.n_draws} draws, Student's t; above noise is a p value below "
            f"{LEVEL} after Holm's correction for {family}."
        )
        others = np.delete((found.reach * found.errors)[found.reference], found.reference)
        least = float(np.median(others))
        noise = f"With these people a single difference below about {least:.3f} is within noise."
        n_dead = sum(self.dead(k) for k in range(len(self.runs)))
        dead = [f"{n_dead} dead: a head gives the same answer for every picture."] if n_dead else []
        knowing = [self.labels[k] for k, run in enumerate(self.runs) if run.people_known]
        too_good = (
            [f"Too good, by weights that had learned from people judged here: {'; '.join(knowing)}."] if knowing else []
        )
        chosen = ["The checkpoints were chosen on these people too: every score is a little too good."]
        return [method, noise, *dead, *too_good, *(chosen if self.split == "val" else [])]


def find(runs: Sequence[JudgedRun], cfg: CompareConfig) -> Findings:
    """Compares runs; of the settings those count that say how.

    Raises:
        FerError: they can't be compared (see `same_pictures`), are fewer than two, or none or several are called `reference`.
    """
    if len(runs) < 2:
        raise FerError(f"{runs[0].path} is the only run with scores here: it takes two to compare")
    settings = settings_that_differ(runs)
    labels = labels_of(runs, settings)
    held = None if cfg.reference is None else named(runs, labels, cfg.reference)
    chosen = chosen_split(runs, cfg.split)
    tables = same_pictures(runs, chosen, different_splits=cfg.different_splits)
    found = compare(tables, n_draws=cfg.n_draws, seed=cfg.seed, reference=held)
    first = winner(
        found, [run.seconds for run in runs], [run.dead(chosen) for run in runs], [run.people_known > 0 for run in runs]
    )
    judged = [run.metrics[chosen] for run in runs if run.metrics[chosen].get("n_images") == len(tables[0])]
    blind = [score for each in judged if (score := each.get("score_constant")) is not None]
    known = max(blind) if blind and len(judged) == len(runs) else None
    return Findings(list(runs), labels, settings, chosen, found, first, held is not None, cfg.n_draws, known)


def named(runs: Sequence[JudgedRun], labels: Sequence[str], reference: str) -> int:
    """The run that is called so: by its folder, the folder's name, its own name, or its label in the table.

    Raises:
        FerError: none or several are.
    """
    path = str(reference).rstrip("/")
    folder = Path(reference).expanduser().resolve()
    found = [
        k
        for k, (run, label) in enumerate(zip(runs, labels, strict=True))
        if reference in (run.about.get("name"), label)
        or path == run.path.name
        or folder == run.path.resolve()
        or str(run.path).endswith(f"/{path}")
    ]
    if len(found) != 1:
        some = ", ".join(labels[k] for k in found or range(len(runs))[:5])
        raise FerError(f"reference={reference}: {'no run is' if not found else 'several are'} called so ({some})")
    return found[0]
