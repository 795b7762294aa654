"""The program's own messages: to the terminal, one plain line each, and kept for the log of the run folder. Never imports torch."""

from __future__ import annotations

import copy
import logging
import sys
import warnings
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import TextIO

from fer.cli.processes import started
from fer.errors import printable

KEPT_ONLY = "kept_only"
"""With `extra={KEPT_ONLY: True}` a message goes to the log of the run folder alone: the terminal shows the same in another form."""

ONCE = "once"
"""With `extra={ONCE: True}` the terminal shows the same line once, however many jobs of this process say it."""


class _Terminal(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment: a progress bar puts itself there to keep lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The message, names in it such that they steer nothing; on a terminal its paths can be clicked."""
        if not isinstance(record.args, tuple):
            return super().format(record)
        shown = copy.copy(record)
        shown.args = tuple(_shown(value, self.stream.isatty()) for value in record.args)
        return super().format(shown)


def _shown(value: object, terminal: bool) -> object:
    if isinstance(value, Path) and terminal:
        from rich.style import Style

        return Style(link=value.absolute().as_uri()).render(printable(str(value)))
    return printable(str(value)) if isinstance(value, (str, Path)) else value


_shown_before = set[str]()


def _first_time(record: logging.LogRecord) -> bool:
    """Whether no job of this process has shown the same line."""
    line = record.getMessage()
    new = line not in _shown_before
    _shown_before.add(line)
    return new


def show_messages(beside: str | None = None) -> None:
    """Sends the program's own messages to the terminal, one plain line each, and keeps them for the log of the run folder.

    Of several processes the first one speaks for all.

    Args:
        beside: the name of a job that runs beside others: it comes before each line, and no line is shown but warnings that are new.
    """
    terminal = _Terminal()
    terminal.setFormatter(logging.Formatter(f"{beside.replace('%', '%%')}: %(message)s" if beside else "%(message)s"))
    terminal.addFilter(lambda record: not getattr(record, KEPT_ONLY, False))
    terminal.addFilter(lambda record: _first_time(record) or not (beside or getattr(record, ONCE, False)))
    if beside:
        terminal.setLevel(logging.WARNING)
    logger = logging.getLogger("fer")
    for old in logger.handlers:  # of an earlier job of a sweep
        old.close()
    kept = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1)
    logger.handlers[:] = [terminal, kept] if started().rank == 0 else [logging.NullHandler()]
    logger.setLevel(logging.INFO)
    # Pillow warns of large pictures beside the line that refuses them: fer.data.images has a lower limit of its own
    warnings.filterwarnings("ignore", r"Image size .* could be decompression bomb")
