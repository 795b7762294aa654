"""Where answers go: a file, a folder of drawn pictures, the terminal; and what is said in the end."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fer.config import PredictConfig
from fer.errors import FerError
from fer.use.drawing import draw
from fer.use.facts import Facts
from fer.use.items import Item, Source
from fer.use.rows import RowFile, columns
from fer.use.stream import Seen
from fer.use.terminal import line, print_picture

log = logging.getLogger(__name__)

NAMED_PROBLEMS = 20
"""Unreadable pictures that are named; the rest is counted."""


def refuse_taken(output: str | None, annotate: str | None, overwrite: bool) -> None:
    """Refuses to write over anything unless that is wanted.

    Raises:
        FerError: the file is there, the folder holds something, or they can't be where they are wished.
    """
    if output is not None:
        path = Path(output).expanduser()
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise FerError(f"output={output}: {'is a folder' if path.is_dir() else 'its folder does not exist'}")
        if path.exists() and not overwrite:
            raise FerError(f"output={output} is there already: choose another name, or overwrite=true")
    if annotate is not None:
        folder = Path(annotate).expanduser()
        if folder.exists() and not folder.is_dir():
            raise FerError(f"annotate={annotate} is a file: name a folder")
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise FerError(f"annotate={annotate} is not empty: choose another folder, or overwrite=true")


def _refuse_own_source(cfg: PredictConfig, source: Source) -> None:
    """`overwrite=true` is for answers, never for what they are about."""
    if cfg.output is not None and cfg.input is not None and _same(cfg.output, cfg.input):
        raise FerError(f"output={cfg.output} is the input: choose another file")
    if cfg.annotate is not None:
        drawn = PictureFolder(Path(cfg.annotate).expanduser(), source.root)
        theirs = {place.resolve() for places in source.folders.values() for place in places}
        if any((drawn.folder / drawn.inside(Path(folder))).resolve() in theirs for folder in source.folders):
            raise FerError(
                f"annotate={cfg.annotate} is where the pictures are, and they would be written over: choose another folder"
            )
        if cfg.input is not None and Path(cfg.input).expanduser().is_dir():
            looked_at = Path(cfg.input).expanduser().resolve()
            if drawn.folder.resolve().is_relative_to(looked_at) and drawn.folder.resolve() != looked_at:
                raise FerError(
                    f"annotate={cfg.annotate} lies in input={cfg.input}: the next run would look at its drawings"
                )


def _same(one: str | Path, other: str | Path) -> bool:
    first, second = Path(one).expanduser(), Path(other).expanduser()
    if first.exists() and second.exists():  # a file has several names where it is linked, or where case does not count
        return first.samefile(second)
    return first.resolve() == second.resolve()


class Destinations:
    """Takes what was seen, picture by picture; a context that ends the files and the progress bar.

    Args:
        cfg: where to.
        facts: of the model.
        source: what is looked at.

    Raises:
        FerError: what is looked at would be written over.
    """

    def __init__(self, cfg: PredictConfig, facts: Facts, source: Source) -> None:
        _refuse_own_source(cfg, source)
        self._facts, self._source = facts, source
        self._file = RowFile(Path(cfg.output).expanduser(), columns(facts, source.video)) if cfg.output else None
        self._pictures = PictureFolder(Path(cfg.annotate).expanduser(), source.root) if cfg.annotate else None
        self._n_pictures, self._n_faces, self._n_whole = 0, 0, 0
        self._problems: list[str] = []
        self._n_problems = 0
        self._unused: list[str] = []  # pictures whose landmarks or box did not say where the face is
        console = Console(stderr=True)
        shown = cfg.progress and console.is_terminal and not source.single and self._file is not None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not shown,
        )
        self._task = self._progress.add_task("pictures", total=source.total)

    def __enter__(self) -> Destinations:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._progress.stop()
        if self._file is not None:
            self._file.close()
        stopped = kind is KeyboardInterrupt
        if stopped and not self._source.live:
            log.warning("stopped after %d pictures%s", self._n_pictures, self._where())
        return stopped and self._source.live  # a camera has no other end

    def take(self, seen: Seen) -> None:
        """Writes, draws and shows one picture.

        Raises:
            FerError: a file can't be written.
        """
        self._progress.advance(self._task)
        if seen.problem is not None:
            self._count_problem(seen.problem)
            return
        self._n_pictures += 1
        self._n_faces += sum(face.how != "whole" for face in seen.faces)
        self._n_whole += sum(face.missed for face in seen.faces)
        told = seen.item.landmarks is not None or seen.item.boxes is not None
        if told and self._facts.crop != "full" and seen.faces[0].how not in ("landmarks", "box"):
            self._unused.append(seen.item.path)
        if self._file is not None:
            self._file.write(seen)
        if self._pictures is not None:
            self._pictures.add(seen)
        if self._file is None:
            self._show(seen)

    def _count_problem(self, problem: str) -> None:
        self._n_problems += 1
        if self._n_problems == 1:
            self._problems.append(problem)
        if not self._source.single and self._n_problems <= NAMED_PROBLEMS:
            log.warning("left out: %s", problem)

    def _show(self, seen: Seen) -> None:
        if self._source.single:
            print_picture(seen, self._facts, Console())
        else:
            print(line(seen), flush=True)

    def summarise(self) -> None:
        """Says how many pictures and faces there were, how many could not be read, and where the answers are.

        Raises:
            FerError: not one picture could be read.
        """
        if self._n_pictures == 0:
            raise FerError(self._nothing())
        if self._unused:
            log.warning(
                "%d landmarks or boxes could not be used (no 68 points in the picture, or the box outside of it), e.g. of %s: "
                "these faces were looked for",
                len(self._unused),
                self._unused[0],
            )
        if not self._source.single or self._file is not None:
            whole = f" ({self._n_whole} without a face, taken whole)" if self._n_whole else ""
            unread = f"; {self._n_problems} could not be read" if self._n_problems else ""
            kind = "frames" if self._source.video else "pictures"
            faces = "" if self._facts.crop == "full" else f", {self._n_faces} faces"
            log.info("%d %s%s%s%s%s", self._n_pictures, kind, faces, whole, unread, self._where())
        elif self._pictures is not None:
            log.info("drawn: %s", self._pictures.folder)

    def _nothing(self) -> str:
        if self._source.single:
            return self._problems[0]
        if not self._n_problems:
            return "there was no picture to look at"
        return f"none of the {self._n_problems} pictures could be read, e.g. {self._problems[0]}"

    def _where(self) -> str:
        places = [
            str(place)
            for place in (
                self._file and self._file.begun and self._file.path,
                self._pictures and self._pictures.folder,
            )
            if place
        ]
        return f": {', '.join(places)}" if places else ""


class PictureFolder:
    """The folder of `annotate=`: a JPEG per picture, named and placed as the original below `root`."""

    def __init__(self, folder: Path, root: Path | None) -> None:
        self.folder, self.root = folder, root
        self._taken: set[Path] = set()

    def add(self, seen: Seen) -> None:
        """Draws and writes one picture.

        Raises:
            FerError: it can't be written.
        """
        assert seen.shown is not None  # asked for by `keep_pictures`
        path = self._path(seen.item)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".tmp{os.getpid()}")
            draw(seen.shown, seen.faces).save(unfinished, "JPEG", quality=92, subsampling=0)
            os.replace(unfinished, path)  # of a link there, the link
        except OSError as error:
            raise FerError(f"annotate={path} can't be written: {error.strerror or error}") from error

    def inside(self, folder: Path) -> Path:
        """Where below this folder the pictures of an original one go."""
        if self.root is not None and folder.is_relative_to(self.root) and ".." not in folder.parts:
            return folder.relative_to(self.root)
        return Path()

    def _path(self, item: Item) -> Path:
        original = Path(item.path)
        if item.frame is not None:
            return self.folder / f"{original.stem}_{item.frame:06d}.jpg"
        inside = self.inside(original.parent) / original.name
        path, number = self.folder / inside.with_suffix(".jpg"), 2
        while path in self._taken:  # a.png beside a.jpg, or equal names from several folders
            path, number = self.folder / inside.with_name(f"{inside.stem}_{number}.jpg"), number + 1
        self._taken.add(path)
        return path
