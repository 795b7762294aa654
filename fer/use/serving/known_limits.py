"""What a model is known not to do well, and what it must not be used for: from its model card, else what holds for every such model."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from fer.errors import first_line
from fer.results.caveats import FACES, FEELINGS, MISUSE

log = logging.getLogger(__name__)

CARD = "MODEL_CARD.md"
LONGEST_CARD = 1_000_000

LIMITS = (
    "No model card lies beside this model: how good it is, and for whom, is not known here.",
    FACES,
    FEELINGS,
)


def read_card(checkpoint: str) -> str | None:
    """The model card of a run folder, or of the one that a file lies in; None where there is none."""
    path = Path(checkpoint).expanduser().absolute()
    folder = path if path.is_dir() else path.parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    card = folder / CARD
    if not card.is_file() or not (folder / "run.json").is_file():
        return None
    try:
        return card.read_text(encoding="utf-8")[:LONGEST_CARD]
    except (OSError, ValueError) as error:
        log.warning("%s can't be read (%s)", card, first_line(error))
        return None


def known_limits(card: str | None) -> list[str]:
    """The list under `Limits`."""
    return _items(card or "", "Limits") or list(LIMITS)


def known_misuse(card: str | None) -> list[str]:
    """The list under `What it must not be used for`."""
    return _items(card or "", "What it must not be used for") or list(MISUSE)


def _items(card: str, heading: str) -> list[str]:
    """The points of the list under a heading of Markdown, each on one line."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    points = re.split(r"^- ", found[1], flags=re.MULTILINE)[1:] if found else []
    return [" ".join(point.split()) for point in points]
