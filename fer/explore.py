"""Explore: what is in a data set, before anything is trained on it.

Sizes and kinds of the files, people and sequences, how often each label occurs and which occur together, emotions against AUs, broken and
near-identical pictures, the split that fer.train would take, faces and augmented views. Leaves a page, its tables as csv files, and a
summary on the terminal.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fer.cli.command import Call, command
from fer.config import ExploreConfig, absolute, as_dict
from fer.errors import FerError
from fer.runs.folder import RunFolder, check_free

if TYPE_CHECKING:
    from fer.data.datamodule import FaceData
    from fer.results.exploration.explore import Exploration

log = logging.getLogger("fer.explore")  # not __name__: run with -m it is __main__


def run(cfg: ExploreConfig, call: Call) -> None:
    """Looks at the data and writes down what is there."""
    where = call.folder("explore", cfg.run_dir, cfg.name)
    check_free(where)
    from fer.data.cache import cache_folder
    from fer.data.datamodule import FaceData
    from fer.data.readers import read_samples
    from fer.results.exploration.explore import explore
    from fer.results.exploration.report import write_page, write_tables
    from fer.results.exploration.tables import print_exploration
    from fer.steps import describing, reading  # torch and all: only now that the settings are known to be good

    cfg = dataclasses.replace(cfg, data=absolute(cfg.data))
    cache_dir = cache_folder(cfg.cache_dir)
    # a data set that fer.train refuses as broken is the one that is looked at here
    lenient = dataclasses.replace(cfg.data, max_skipped=1.0)
    data = reading.set_up(FaceData(lenient, cfg.augment, cfg.seed, cache_dir), cfg.progress)
    if data.prepared.table.empty:
        problem = next((items[0] for _, items in data.prepared.skipped.image_items()), "none has a label")
        raise FerError(f"there is no picture left to look at, e.g. {problem}")
    found = explore(data.prepared, read_samples(cfg.data, cache_dir).table, data.emotions, data.aus)
    folder = RunFolder.create(where, as_dict(cfg), call.line, numbered=cfg.run_dir is None and call.sweep_dir is None)
    folder.log_to_file("explore.log")
    folder.note(data=describing.about_data(cfg.data, data.prepared), augment=cfg.augment.name)
    write_tables(found, folder.path)
    page = write_page(found, cfg.data, folder.path, folder.about, sheets(cfg, data, found) if cfg.pictures else {})
    folder.note(finished=True, timings={"total_s": folder.seconds()})
    print_exploration(found, cfg.data, Console())
    log.info("report: %s", page)


def sheets(cfg: ExploreConfig, data: FaceData, found: Exploration) -> dict[str, Any]:
    """The pictures of the page."""
    from fer.results.exploration import pictures
    from fer.results.exploration.report import PAIRS_SHOWN

    array, size = data.prepared.pixels.array, cfg.data.image_size
    return {
        "faces": pictures.contact_sheet(found, array, size, cfg.faces, cfg.seed),
        "views": pictures.augmentation_sheet(found, array, size, cfg.augment, cfg.seed),
        "shared": pictures.pair_sheet(found.shared.head(PAIRS_SHOWN), found, array, size),
        "contradicting": pictures.pair_sheet(found.contradicting.head(PAIRS_SHOWN), found, array, size),
    }


main = command("explore", run)

if __name__ == "__main__":
    main()
