"""Synthesize: writes a CK+ tree of drawn faces, with FACS, emotion and landmark files."""

from __future__ import annotations

import logging
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from fer.cli.command import Call, command
from fer.cli.processes import this_line
from fer.config import SynthesizeConfig

log = logging.getLogger("fer.synthesize")  # not __name__: run with -m it is __main__


def run(cfg: SynthesizeConfig, call: Call) -> None:
    """Draws and writes the whole set, or nothing."""
    from fer.data.synthetic import write_tree

    assert cfg.root is not None  # config.check
    root = Path(cfg.root).expanduser().absolute()
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("drawing faces", total=None)
        write_tree(root, cfg.subjects, cfg.seed, progress=lambda n, total: bar.update(task, completed=n, total=total))
    next_line = this_line("train", ["data=ckplus", f"data.root={root}"])
    log.info("%d people in %s; train on them: %s", cfg.subjects, root, next_line)


main = command("synthesize", run)

if __name__ == "__main__":
    main()
