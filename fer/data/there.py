"""Whether what `data` names is there: looked at before anything is read, or imported that reads. Never imports pandas."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fer.config import DataConfig
from fer.errors import FerError

FOLDER_NAMES = {
    "images": ("cohn-kanade-images", "extended-cohn-kanade-images"),
    "facs": ("facs", "facs_labels"),
    "emotion": ("emotion", "emotion_labels"),
    "landmarks": ("landmarks",),
}
SYSTEM_NAMES = ("thumbs.db", "desktop.ini", "__macosx")


def check_there(cfg: DataConfig) -> None:
    """Refuses a folder or a table that is not there, before anything that takes longer.

    Raises:
        FerError: says so.
    """
    if cfg.name == "ckplus" and cfg.root is not None:
        tree_folders(Path(cfg.root))
    if cfg.name == "csv" and cfg.table is not None and not (table := Path(cfg.table).expanduser()).is_file():
        what = "it is a folder: name the file" if table.is_dir() else "there is no such file"
        raise FerError(f"data.table: {cfg.table} can't be read: {what}")


def tree_folders(root: Path) -> list[str]:
    """The folders of a tree, if it is one, before any file is looked at.

    Raises:
        FerError: it is not there, or holds no folder of images.
    """
    base = Path(os.path.abspath(root.expanduser()))
    if not base.is_dir():
        raise FerError(
            f"data.root: {base} {'is a file' if base.exists() else 'does not exist'}; name the folder of the CK+ tree"
        )
    folders, names = list(_folders(base, depth=2)), FOLDER_NAMES["images"]
    if not any(os.path.basename(folder).lower() in names for folder in folders):
        above = f"; try data.root={base.parent}" if base.name.lower() in names else ""
        raise FerError(f"{base}: no folder {names[0]} in it or in its subfolders: this is no CK+ tree{above}")
    return folders


def _folders(folder: str | Path, depth: int) -> Iterator[str]:
    """All folders below `folder`, `depth` levels down, the shallow ones first."""
    here = sorted(e.path for e in os.scandir(folder) if e.is_dir() and not of_system(e.name))
    yield from here
    if depth > 1:
        for below in here:
            yield from _folders(below, depth - 1)


def of_system(name: str) -> bool:
    """Whether an operating system puts files of this name everywhere."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES
