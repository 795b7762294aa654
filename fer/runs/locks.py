"""One process at a time in a folder: in, the folder; out, a lock that lives as long as its object. Never imports torch."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from weakref import WeakValueDictionary

from filelock import FileLock, Timeout

from fer.errors import FerError, Taken

log = logging.getLogger(__name__)

LOCK = ".lock"
"""The file in a folder that the process at work there holds."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)

_held: WeakValueDictionary[Path, FileLock] = WeakValueDictionary()
"""Those of this process, which may go on in a folder that it was at work in before."""


def hold(folder: Path) -> FileLock | None:
    """Makes sure that no other process is at work in a folder while the result lives; None where the file system has no locks.

    Raises:
        Taken: one is.
        FerError: the folder can't be written.
    """
    lock = _held.get(folder) or FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Taken(
            f"{folder}: another process is at work in this run folder (if none is, remove {folder / LOCK})"
        ) from error
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise FerError(f"{folder} can't be written: {error.strerror}") from error
        log.warning("%s: its file system has no locks; see to it that no two processes work there", folder)
        return None
    _held[folder] = lock
    return lock


def check_idle(folder: Path) -> None:
    """Refuses a folder that another process is at work in.

    Raises:
        Taken: says so.
    """
    if folder not in _held and (folder / LOCK).exists() and (lock := hold(folder)) is not None:
        lock.release()
