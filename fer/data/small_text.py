"""Text files of a few lines, labels and landmarks, that come from strangers: read within a bound."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 65_536
"""Ten times what 68 points take."""


def read_small(path: Path) -> str:
    """The text of a file, UTF-8 with or without a byte order mark.

    Raises:
        OSError: it can't be read.
        ValueError: it is longer than any file of labels or points, or no text.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
        raise ValueError(f"{path} is no file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} is longer than {MOST_BYTES} bytes")
    return content.decode("utf-8-sig")
