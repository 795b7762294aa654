"""The one kind of error that is the user's to mend: bad settings, bad data, missing files."""

import unicodedata

_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class FerError(Exception):
    """Ends a command with this message as its one line and exit status 2, without a traceback.

    The message says what is wrong, where, and what to do about it.
    """


class Taken(FerError):
    """A folder that was to be this process's own holds something, or another process is at work there."""


class NotWritten(FerError):
    """A file could not be written: the disk is full, or the folder is read-only."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM was answered: `last.ckpt` is written and the run can be resumed."""


def printable(text: str) -> str:
    """Names of files and people as a terminal may be given them: what would steer it, or is no text, is spelled out."""
    return "".join(c.encode("unicode_escape").decode() if _steers(c) else c for c in text)


def _steers(character: str) -> bool:
    # controls, halves of pairs (bytes that were no text), ends of lines, and what turns the direction of writing
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _TURNS


def first_line(error: BaseException) -> str:
    """The first line of what another library says, with the next if it only announces it; the name of its error if it says nothing."""
    first, *more = (str(error).strip() or type(error).__name__).splitlines()
    return f"{first} {more[0].strip()}" if more and first.endswith(":") else first
