"""Scores in words: in, one split's part of `metrics.json`; out, the sentences of the terminal table and the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NO_SKILL_AUC = 0.5
FEW_POSITIVES = 10
"""Pictures that show a label, below which its scores say little."""


FEW_PEOPLE = 8
"""Labelled people, below which nothing is said to be better than guessing, whatever the interval says."""


@dataclass(frozen=True)
class Verdict:
    """What the numbers of one head allow to be said."""

    head: str
    """`Action units` or `Emotion`."""
    good: bool | None
    """Better than guessing; None where it cannot be told."""
    text: str
    """One sentence with the number, its interval and what it was held against."""


def number_name(name: str) -> str:
    """`AU macro F1` for `au_macro_f1`: a number of `fer.results.pooling.HEADLINES` as people write it."""
    capitals = {"au": "AU", "f1": "F1", "auc": "AUC", "ap": "AP"}
    return " ".join(capitals.get(word, word) for word in name.split("_"))


def dead_line(scores: Mapping[str, Any]) -> str | None:
    """The line that must not be missed, or None where both heads answer."""
    heads = (("action units", scores.get("au")), ("emotion", scores.get("emotion")))
    reasons = [f"{name}: {section['dead_reason']}" for name, section in heads if section and section["dead"]]
    if not reasons:
        return None
    return f"DEAD MODEL: gives the same answer for every picture ({'; '.join(reasons)})"


def dead_of_run(metrics: Mapping[str, Any], shown: str) -> str | None:
    """Likewise of all that a run was judged on: by the split that is shown, else by another, which may be large enough to tell.

    Args:
        metrics: split -> its scores, the content of `metrics.json`.
    """
    lines = {split: line for split in (shown, *metrics) if (line := dead_line(metrics[split]))}
    return next((line if split == shown else f"{line}, on {split}" for split, line in lines.items()), None)


def verdicts(scores: Mapping[str, Any]) -> list[Verdict]:
    """One verdict per head. Better than guessing needs the whole 95 % interval above what guessing reaches."""
    found = []
    if au := scores.get("au"):
        value, ci = au["macro"]["auc"], au["macro_auc_ci"]
        found.append(_verdict("Action units", au, "macro AUC", value, ci, "guessing", NO_SKILL_AUC))
    if emotion := scores.get("emotion"):
        answer, floor = _best_constant(emotion)
        value, ci = emotion["accuracy"], emotion["accuracy_ci"]
        found.append(_verdict("Emotion", emotion, "accuracy", value, ci, f"always answering {answer}", floor))
    return found


def _best_constant(emotion: Mapping[str, Any]) -> tuple[str, float]:
    """The answer that is right most often here, and how often: on other data hardly the commonest one of the training people."""
    majority = emotion["baselines"]["majority"]
    counts = {name: row["n"] for name, row in emotion["per_class"].items()}
    commonest = max(counts, key=lambda name: counts[name])
    share = counts[commonest] / sum(counts.values())
    return (commonest, share) if share > majority["accuracy"] else (majority["answer"], majority["accuracy"])


def _verdict(
    head: str,
    section: Mapping[str, Any],
    measure: str,
    value: float | None,
    ci: list[float] | None,
    rival: str,
    floor: float,
) -> Verdict:
    if value is None or ci is None:
        said = f"too few people or labels to say ({measure} has no interval)"
        return Verdict(head, False if section["dead"] else None, said)
    numbers = f"{measure} {value:.3f}, 95% interval {ci[0]:.3f} to {ci[1]:.3f}; {rival} gives {floor:.3f}"
    if section["dead"]:
        return Verdict(head, False, f"dead, not to be used ({numbers})")
    if (n_people := section["n_subjects"]) < FEW_PEOPLE:
        return Verdict(head, None, f"{n_people} people are too few to say ({numbers})")
    if ci[0] > floor:
        return Verdict(head, True, f"better than guessing ({numbers})")
    return Verdict(head, False, f"not shown to be better than guessing ({numbers})")


def unjudged(scores: Mapping[str, Any]) -> Verdict | None:
    """Which labels are shown too rarely to be judged; None where all are shown often enough."""
    counts = {name: row["n_positive"] for name, row in scores.get("au", {}).get("per_au", {}).items()}
    counts |= {name: row["n"] for name, row in scores.get("emotion", {}).get("per_class", {}).items()}
    never = [name for name, n in counts.items() if n == 0]
    rare = [f"{name} ({n})" for name, n in counts.items() if 0 < n < FEW_POSITIVES]
    words = [f"never shown here, so without scores: {', '.join(never)}"] if never else []
    words += [f"shown in fewer than {FEW_POSITIVES} pictures, hardly judged: {', '.join(rare)}"] if rare else []
    return Verdict("Can't be judged", None, "; ".join(words)) if words else None


PARTLY_CHOSEN = {
    "train": "the model was fitted to these people: this says nothing about others",
    "val": "the checkpoint, the thresholds and the calibration were chosen on these people: a little too good",
}
"""What the numbers of a split hide."""


def alarms(scores: Mapping[str, Any]) -> list[str]:
    """What the honesty probes of a split say against its scores; empty where nothing has to be said."""
    probes, found = scores.get("probes", {}), []
    if shared := probes.get("near_identical", {}).get("across_splits"):
        found.append(f"{shared} near-identical pictures stand in another split too: these scores are too good")
    rule = probes.get("rule", {}).get("predicted_aus", {})
    surely = (rule.get("accuracy_ci") or [0.0])[0]
    if "accuracy" in rule and surely > rule["model"]["accuracy"]:
        found.append(
            f"the rule from AUs to emotions on the AUs that the model finds is right more often ({rule['accuracy']:.3f}) "
            f"than its emotion head ({rule['model']['accuracy']:.3f})"
        )
    return found
