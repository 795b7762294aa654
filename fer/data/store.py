"""Folders that are slow to make and quick to read: made once, by one process, whole or not there, bounded on disk.

A stored folder is `<cache_dir>/<kind>/<key>/`. It is filled under the lock `<key>.lock` as `<key>.tmp` and renamed
when it is on disk, so a folder with the final name is whole, whenever a run was killed. Deleting any of it is safe.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import AcquireReturnProxy, FileLock, Timeout

from fer.errors import FerError

log = logging.getLogger(__name__)

MAX_BYTES = 20_000_000_000
KEPT_SECONDS = 24 * 3600
"""A folder used this recently is never removed: another process may be reading it."""

MARK = "last_used"
"""An empty file in every stored folder: nothing without it is ever removed; its time stamp says when it was used."""

T = TypeVar("T")

_in_use: set[Path] = set()


def obtain(
    folder: Path, load: Callable[[Path], T], fill: Callable[[Path], None], n_bytes: int, max_bytes: int = MAX_BYTES
) -> T:
    """What `load` makes of `folder`, which is filled first if it isn't there or can't be loaded.

    Of several processes one fills, the others wait. To keep all stored folders together within `max_bytes`, the least
    recently used are removed first, but none that was used within a day, by this process, or is being filled.

    Args:
        folder: `<cache_dir>/<kind>/<key>`, where `key` names all that the content depends on and has no dot.
        load: Opens a whole folder; raises OSError, ValueError or EOFError if it is damaged.
        fill: Writes the content into a new, empty folder.
        n_bytes: About how much that will be.
        max_bytes: Bound of everything stored under `cache_dir`.

    Raises:
        FerError: `cache_dir` can't be written, or its disk is full.
    """
    cache_dir = folder.parents[1]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            try:
                content = load(folder)
            except (OSError, ValueError, EOFError):
                _make_room(folder.parent, n_bytes, max_bytes)
                _fill(folder, fill, n_bytes)
                content = load(folder)
            use(folder)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        wrong = f"the disk has no room for {n_bytes / 1e9:.2f} GB" if full else f"can't be used ({error})"
        raise FerError(f"cache_dir={cache_dir}: {wrong}; free some space or choose another cache_dir") from error
    return content


def use(folder: Path) -> None:
    """Notes that a folder of caches is used now, and by this process: what is noted so counts, and goes when it was not used for long."""
    (folder / MARK).touch()
    _in_use.add(folder)


def _locked(folder: Path) -> AcquireReturnProxy[FileLock]:
    lock = FileLock(_beside(folder, "lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is making %s; waiting for it", folder)
        return lock.acquire()


def _beside(folder: Path, ending: str) -> Path:
    return folder.parent / f"{folder.name}.{ending}"


def _fill(folder: Path, fill: Callable[[Path], None], n_bytes: int) -> None:
    unfinished = _beside(folder, "tmp")
    for old in (unfinished, folder):
        shutil.rmtree(old, ignore_errors=True)
    if shutil.disk_usage(folder.parent).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        unfinished.mkdir()
        fill(unfinished)
        (unfinished / MARK).touch()
        for path in unfinished.rglob("*"):
            _to_disk(path)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _to_disk(path: Path) -> None:
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _make_room(kind_dir: Path, n_bytes: int, max_bytes: int) -> None:
    for leftover in kind_dir.glob("*.tmp"):
        _remove(leftover.with_suffix(""), whole=False)
    cache_dir = kind_dir.parent
    stored = _stored(cache_dir)
    total = n_bytes + sum(size for _, size, _ in stored)
    for used, size, folder in stored:
        kept = folder in _in_use or used > time.time() - KEPT_SECONDS
        if total > max_bytes and not kept and _remove(folder):
            total -= size
    if total > max_bytes:
        log.warning("%s grows to %.1f GB, as nothing more in it is unused for a day", cache_dir, total / 1e9)


def _stored(cache_dir: Path) -> list[tuple[float, int, Path]]:
    """(last use, bytes, folder) of everything stored, the least recently used first."""
    found = []
    for mark in (*cache_dir.glob(f"*/*/{MARK}"), *cache_dir.glob(f"*/{MARK}")):
        # Another process may be removing it right now.
        with contextlib.suppress(OSError):
            size = sum(path.stat().st_size for path in mark.parent.rglob("*"))
            found.append((mark.stat().st_mtime, size, mark.parent))
    return sorted(found)


def _remove(folder: Path, whole: bool = True) -> bool:
    """Removes what killed processes left of `folder`, and itself if `whole`; False while a process works on it."""
    unfinished = _beside(folder, "tmp")
    try:
        with FileLock(_beside(folder, "lock")).acquire(timeout=0):
            shutil.rmtree(unfinished, ignore_errors=True)
            if whole:
                # Renamed first: with half of it gone it must not look whole.
                folder.rename(unfinished)
                shutil.rmtree(unfinished)
                log.info("removed %s: not used for a day, and the cache is full", folder)
    except (Timeout, OSError):
        return False
    return True
