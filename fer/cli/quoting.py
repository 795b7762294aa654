"""Words of a command line as Hydra has to see them. Never imports torch."""

from __future__ import annotations

import re
from pathlib import Path

PATHS = (
    "annotate",
    "cache_dir",
    "checkpoint",
    "data.root",
    "data.table",
    "exported",
    "input",
    "model.weights",
    "output",
    "reference",
    "resume",
    "root",
    "run_dir",
    "storage",
)
"""Keys whose value is a file or a folder."""

_PLAIN = re.compile(r"[\w/.+-]+", re.ASCII)
"""What Hydra takes as a word."""

_SAYS_MORE = re.compile(r"^$|^[\[{]|,|\$\{|^\w+\(.*\)$")
"""What may be more to Hydra than a name."""


def in_quotes(text: str) -> str:
    """A value that Hydra takes as it is, whatever is in it."""
    text = text.replace("${", r"\${")  # or OmegaConf would look there for something
    # Hydra takes backslashes as they are, except before a quote
    inside = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", r"\'"), text)
    return f"'{inside}'"


def quoted(text: str) -> str:
    """Likewise of what somebody typed: what is in quotes already stays so."""
    return text if text[:1] in ("'", '"') else in_quotes(text)


def with_paths_quoted(words: list[str]) -> list[str]:
    """The words of a command line, with files and folders named so that Hydra takes them for a name.

    Folders of sweeps have commas in their names, and people have spaces and letters of their own in theirs. What is not there yet, or not
    there at all, is a name, too, unless it may mean something to Hydra: a list, a sweep, a function, another setting.
    """
    return [_with_path_quoted(word) for word in words]


def _with_path_quoted(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals or key.lstrip("+") not in PATHS or _PLAIN.fullmatch(value) or value[:1] in ("'", '"'):
        return word
    try:
        there = Path(value).expanduser().exists()
    except (OSError, RuntimeError):  # too long for a name, or the home of nobody
        return word
    return f"{key}={quoted(value)}" if there or not _SAYS_MORE.search(value) else word
