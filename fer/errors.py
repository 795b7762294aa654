"""The one kind of error that is the user's to mend: bad settings, bad data, missing files."""


class FerError(Exception):
    """Ends a command with this message as its one line and exit status 2, without a traceback.

    The message says what is wrong, where, and what to do about it.
    """
