"""What a data set's owner should know before training on it: in, an exploration; out, sentences, the alarming ones marked."""

from __future__ import annotations

from dataclasses import dataclass

from fer.config import DataConfig
from fer.data.duplicates import across_splits
from fer.results.exploration.explore import SPLITS, Exploration
from fer.results.wording import FEW_PEOPLE, FEW_POSITIVES

MANY_UNFOUND = 0.05
UNEVEN = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing to know: a topic, what was found, and whether it is fine (True), to be mended (False) or neither (None)."""

    topic: str
    good: bool | None
    text: str


def findings(found: Exploration, cfg: DataConfig) -> list[Finding]:
    """All that apply, in the order in which they should be looked at."""
    parts = (_shared(found), _files(found, cfg), _faces(found), _people(found), _emotions(found))
    return [finding for finding in (*parts, _units(found, cfg), _rules(found), _colour(found, cfg)) if finding]


def _shared(found: Exploration) -> Finding:
    n, leaks = len(found.shared), len(across_splits(found.shared))
    if not n:
        return Finding("Leaks", True, "no person is in two splits, and no two people share a near-identical picture")
    text = f"pairs of near-identical pictures that bear two people's names: {n}, of them in different splits: {leaks}"
    return Finding("Leaks", False, f"{text}; give both one subject, or leave one out (near_duplicates.csv)")


def _files(found: Exploration, cfg: DataConfig) -> Finding | None:
    if not found.n_unusable:
        return None
    text = f"{found.n_unusable} of {found.n_read} pictures are broken or missing (skipped.csv)"
    if found.n_unusable > cfg.max_skipped * found.n_read:
        return Finding(
            "Files", False, f"{text}: more than data.max_skipped={cfg.max_skipped:g} lets pass in a training"
        )
    return Finding("Files", None, text)


def _faces(found: Exploration) -> Finding | None:
    share = float((found.table["how"] == "whole").mean())
    if found.table["how"].eq("whole").all() or not share:
        return None  # data.crop=full, or nothing to say
    text = f"no face was found in {share:.1%} of the pictures: the network sees them whole (images.csv, column how)"
    return Finding("Faces", False if share > MANY_UNFOUND else None, text)


def _people(found: Exploration) -> Finding:
    people = found.splits["people"]
    text = ", ".join(f"{n} in {part}" for part, n in people.items())
    if people.min() < FEW_PEOPLE:
        text = f"{text}: with so few, a score says little of other people; cross-validation uses all of them"
        return Finding("People", False, text)
    return Finding("People", None, text)


def _emotions(found: Exploration) -> Finding | None:
    if found.table["emotion"].isna().all():
        return Finding("Emotions", None, "no emotion labels: the emotion head is left out")
    counts = found.emotions[found.emotions["stated"] == ""].set_index("class")
    if counts.empty:
        return Finding("Emotions", False, "no emotion label in train: the emotion head is left out")
    absent = {part: [str(name) for name in counts.index if not counts.at[name, part]] for part in found.splits.index}
    if any(absent.values()):
        text = "; ".join(f"no {', '.join(names)} in {part}" for part, names in absent.items() if names)
        return Finding("Emotions", False, f"{text}: what is missing in train can't be learned, elsewhere not judged")
    largest, smallest = counts["pictures"].idxmax(), counts["pictures"].idxmin()
    ratio = counts["pictures"].max() / counts["pictures"].min()
    text = f"{largest} is {ratio:.1f} times as frequent as {smallest}; always answering {largest} is right for "
    text += f"{counts['pictures'].max() / counts['pictures'].sum():.0%} of the pictures"
    return Finding("Emotions", False if ratio > UNEVEN else None, text)


def _units(found: Exploration, cfg: DataConfig) -> Finding | None:
    if found.units.empty:
        return Finding("Action units", None, "no AU labels: the AU head is left out")
    left_out = found.units.loc[~found.units["in_head"], "AU"].tolist()
    scarce = [
        f"{row['AU']} ({', '.join(f'{row[part]} in {part}' for part in parts)})"
        for _, row in found.units[found.units["in_head"]].iterrows()
        if (parts := [part for part in SPLITS[1:] if part in found.splits.index and row[part] < FEW_POSITIVES])
    ]
    text = f"{len(found.units) - len(left_out)} in the head"
    if left_out and cfg.aus == "auto":
        text += f"; left out, as fewer than {cfg.min_au_count} sequences or single pictures show them in train: {', '.join(left_out)}"
    if scarce:
        text += f"; too rare to judge: {', '.join(scarce)}"
    return Finding("Action units", False if scarce else None, text)


def _rules(found: Exploration) -> Finding | None:
    n = len(found.broken_rules) + len(found.sequences) + len(found.contradicting)
    if found.rules.empty and not n:
        return None
    text = (
        f"{len(found.broken_rules)} of {len(found.rules)} pictures with both labels contradict Table 2 of Lucey et al."
    )
    text += f"; {len(found.sequences)} labels vary within a sequence"
    text += f"; {len(found.contradicting)} pairs of near-identical pictures have different emotions"
    return Finding("Labels", True if not n else None, f"{text}{' (inconsistent.csv)' if n else ''}")


def _colour(found: Exploration, cfg: DataConfig) -> Finding | None:
    per_person = found.table.assign(grey=found.table["color"] == "grey").groupby("subject")["grey"].mean()
    if per_person.nunique() == 1:
        return None  # all grey, all in colour, or of everybody the same share
    text = "some people's pictures are grey more often than others', which tells people apart"
    if cfg.color:
        return Finding("Colour", False, f"{text}: data.color=false hides it")
    return Finding("Colour", True, f"{text}; data.color=false hides it")
