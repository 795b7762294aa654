"""Explain: where the network looked, for each active action unit and the emotion; and how much of that lies where FACS says the unit is.

input=PICTURE, FOLDER or FILE.csv takes pictures; without it the run's own data (split=test), or data=..., is taken, and the score gets
intervals over people. Maps by Grad-CAM; leaves a figure per picture, heat.csv and heat.json.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from fer.cli.command import Call, command
from fer.config import ExplainConfig, as_dict
from fer.data.there import check_there
from fer.errors import FerError
from fer.runs.folder import RunFolder, check_free, find_checkpoint, folder_of, name_of, write_text

if TYPE_CHECKING:
    from fer.use.explaining.explain import Subject
    from fer.use.explaining.score import HeatRow
    from fer.use.heat import HeatMaps
    from fer.use.predictor import Predictor

log = logging.getLogger("fer.explain")  # not __name__: run with -m it is __main__

NAMED_PROBLEMS = 20
"""Unreadable pictures that are named; the rest is counted."""


def run(cfg: ExplainConfig, call: Call) -> float | None:
    """Explains the pictures; returns the mean share of the heat in the regions above that of a random map."""
    if cfg.run_dir:
        check_free(folder_of(cfg.run_dir))
    predictor, subjects, total = pictures(cfg, call)
    from fer.use.heat import HeatMaps  # torch and all: only now that the settings are known to be good

    maps = HeatMaps(predictor)
    problems: list[str] = []
    found = readable(subjects, problems)
    first = next(found, None)
    if first is None:
        raise FerError(problems[0] if len(problems) == 1 else f"none of the {len(problems)} pictures could be read")
    name = cfg.name or re.sub(r"[^\w+=,@-]", "-", predictor.facts.name)
    where = call.folder("explain", cfg.run_dir, name)
    folder = RunFolder.create(
        where, {**as_dict(cfg), "name": name}, call.line, numbered=cfg.run_dir is None and call.sweep_dir is None
    )
    folder.log_to_file("explain.log")
    folder.note(checkpoint=cfg.checkpoint, layer=maps.layer, places=list(maps.places))
    log.info("heat of %d x %d places, from %s", *maps.places, maps.layer)
    rows = explain_all(cfg, predictor, maps, chain([first], found), total, folder.path)
    return write_score(folder, rows, problems)


def pictures(cfg: ExplainConfig, call: Call) -> tuple[Predictor, Iterable[Subject], int | None]:
    """The model, the pictures one after the other, and how many there are.

    Raises:
        FerError: the model or the pictures can't be had, or both `input` and data were typed.
    """
    assert cfg.checkpoint is not None  # config.check
    if cfg.input is None:
        return _of_data(cfg, call)
    typed = [key for key in call.keys if key.split(".")[0] in ("data", "split")]
    if typed:
        raise FerError(f"input and {typed[0]} are two sources of pictures: give one")
    from fer.use.sources import open_source
    from fer.use.video import VIDEOS

    path = Path(cfg.input).expanduser()
    if not path.is_dir() and (path.suffix.lower() in VIDEOS or (cfg.input.isdecimal() and not path.is_file())):
        raise FerError(f"input={cfg.input}: fer.explain takes pictures, not videos or cameras")
    source = open_source(cfg.input)
    from fer.use.explaining.explain import of_source
    from fer.use.predictor import load

    predictor = load(cfg.checkpoint, accelerator=cfg.accelerator)
    return predictor, of_source(predictor, source), source.total


def _of_data(cfg: ExplainConfig, call: Call) -> tuple[Predictor, Iterable[Subject], int | None]:
    assert cfg.checkpoint is not None  # config.check
    path = find_checkpoint(cfg.checkpoint)
    if "data" in call.keys:
        check_there(cfg.data)
    from fer.config import DataConfig, from_dict
    from fer.evaluate import chosen_data
    from fer.model.finished import load_module
    from fer.steps import reading
    from fer.use.explaining.explain import of_data
    from fer.use.facts import Facts
    from fer.use.predictor import Predictor
    from fer.use.runtime_torch import TorchRuntime

    module, card = load_module(path)
    facts = Facts.of_checkpoint(module.hparams, card, path)
    if facts.warning:
        log.warning("%s", facts.warning)
    facts.refuse_pairs("fer.explain")  # before pictures are decoded
    predictor = Predictor(TorchRuntime(module, facts, cfg.accelerator))
    data_cfg = chosen_data(from_dict(DataConfig, card["data"], str(path)), cfg.data, call.keys)
    data, part = reading.read_to_judge(data_cfg, module, card, cfg.split, cfg.cache_dir, progress=cfg.progress)
    return predictor, of_data(data.prepared, part), len(data.prepared.part(part))


def readable(subjects: Iterable[Subject], problems: list[str]) -> Iterator[Subject]:
    """The pictures that could be read; adds to `problems` why others could not."""
    for subject in subjects:
        if subject.problem is None:
            yield subject
        else:
            problems.append(subject.problem)
            if len(problems) <= NAMED_PROBLEMS:
                log.warning("left out: %s", subject.problem)


def explain_all(
    cfg: ExplainConfig,
    predictor: Predictor,
    maps: HeatMaps,
    subjects: Iterable[Subject],
    total: int | None,
    folder: Path,
) -> list[HeatRow]:
    """Draws the figures; returns the rows of the score."""
    from rich.console import Console
    from rich.progress import track

    from fer.use.explaining.explain import explain, save_figure

    console = Console(stderr=True)
    rows: list[HeatRow] = []
    n_done = 0
    shown = cfg.progress and console.is_terminal and total != 1
    for subject in track(subjects, "pictures", total=total, console=console, transient=True, disable=not shown):
        explained = explain(predictor, maps, subject, cfg.top)
        rows += explained.rows
        n_done += 1
        if n_done <= cfg.max_figures:
            save_figure(explained, folder / f"{n_done:04d}_{name_of(Path(subject.path).stem)}.png")
    if n_done > cfg.max_figures:
        log.info("figures of the first %d of %d pictures: max_figures=N draws more", cfg.max_figures, n_done)
    return rows


def write_score(folder: RunFolder, rows: list[HeatRow], problems: list[str]) -> float | None:
    """Leaves `heat.csv` and `heat.json`, prints the table, and marks the run finished."""
    import pandas as pd
    from rich.console import Console

    from fer.terminal import WIDTH, fitted
    from fer.use.explaining.score import HeatRow, score_table, summarise

    table = pd.DataFrame(rows, columns=list(HeatRow._fields))
    summary = summarise(table)
    write_text(folder.path / "heat.csv", table.to_csv(index=False))
    folder.write_json("heat.json", summary)
    folder.note(finished=True, left_out=problems[:100], timings={"total_s": folder.seconds()})
    if summary["n_empty"]:
        empty = ", ".join(f"{au} {n}" for au, n in summary["n_empty"].items())
        log.info(
            "maps of active units without any heat (nothing in the picture speaks for them), not in the score: %s",
            empty,
        )
    if summary["macro"] is None:
        log.info("no unit was found active in a face with a known place: there is no score")
    else:
        console = fitted(Console())
        console.print(score_table(summary, wide=console.width >= WIDTH))
    if problems:
        log.info("%d pictures could not be read", len(problems))
    log.info("figures and heat.csv: %s", folder.path)
    return None if summary["macro"] is None else float(summary["macro"]["difference"])


main = command("explain", run)

if __name__ == "__main__":
    main()
