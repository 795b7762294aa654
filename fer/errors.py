"""The one kind of error that is the user's to mend: bad settings, bad data, missing files."""


class FerError(Exception):
    """Ends a command with this message as its one line and exit status 2, without a traceback.

    The message says what is wrong, where, and what to do about it.
    """


class Interrupted(Exception):
    """Ctrl-C or SIGTERM was answered: `last.ckpt` is written and the run can be resumed."""


def printable(text: str) -> str:
    """Names of files and people as a terminal may be given them: what would steer it, or is no text, is spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """The first line of what another library says, with the next if it only announces it; the name of its error if it says nothing."""
    first, *more = (str(error).strip() or type(error).__name__).splitlines()
    return f"{first} {more[0].strip()}" if more and first.endswith(":") else first
