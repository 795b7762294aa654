"""Train: a folder of faces in, a judged model out.

Reads the data, splits it by person, fits with early stopping, judges the best checkpoint on people it never saw, and leaves
a run folder with curves, scores, predictions and a report. Works without any argument, on drawn faces.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer.cli.command import Call, command
from fer.cli.processes import check_started, this_line
from fer.config import FREE, TrainConfig, as_dict, flat, from_dict, idle
from fer.errors import FerError, Interrupted
from fer.runs.folder import RunFolder, folder_of, holds_run
from fer.steps.early import check_names
from fer.steps.resuming import freely, resumed, settled

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback

    from fer.data.datamodule import FaceData
    from fer.model.module import FaceModule
    from fer.runs.jobs import Kept
    from fer.steps.team import Team

log = logging.getLogger("fer.train")  # not __name__: run with -m it is __main__


def run(cfg: TrainConfig, call: Call) -> float | None:
    """One training run, new or resumed; returns the validation score of its best checkpoint."""
    try:
        if cfg.resume:
            return resume(cfg, call)
        return again(cfg, call.sweep_dir, call) if call.sweep_dir and holds_run(call.sweep_dir) else begin(cfg, call)
    except Interrupted as stopped:
        if (Path(str(stopped)) / "checkpoints" / "last.ckpt").is_file():
            log.warning("stopped; go on with: %s", this_line("train", [f"resume={stopped}"]))
        else:
            log.warning("stopped before the first checkpoint: %s holds nothing to go on from", stopped)
        sys.exit(130)


def begin(cfg: TrainConfig, call: Call, callbacks: Sequence[Callback] = ()) -> float | None:
    """A new run, watched by `callbacks` beside its own.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; says in which run folder.
    """
    cfg = settled(cfg, call)
    check_started("train", call.overrides, cfg.trainer.devices, cfg.trainer.num_nodes)
    check_names(cfg, call.sweep_dir or (folder_of(cfg.run_dir) if cfg.run_dir else None))
    from fer.steps import (  # torch and all: only now that the settings are known to be good
        building,
        describing,
        reading,
        team,
    )

    for line in idle(cfg):
        log.warning(line)
    together = team.assemble(cfg.trainer.accelerator)
    where = Path(together.alone(lambda: str(chosen_dir(cfg, call))))
    # weights first: without a network they may not be had, and to decode pictures takes minutes
    weights, data = together.first(lambda: (building.read_weights(cfg, call.kept), reading.read_data(cfg, call.kept)))
    module = building.build_module(cfg, data, weights, call.kept)

    def described() -> RunFolder:
        own = cfg.run_dir is None and call.sweep_dir is None
        folder = RunFolder.create(where, as_dict(cfg), call.line, numbered=own)
        describing.describe(folder, cfg, data, weights)
        return folder

    folder = together.folder(described)
    return finish(
        cfg, folder, module, data, callbacks, call.kept, call.one_of_many or call.sweep_dir is not None, together
    )


def chosen_dir(cfg: TrainConfig, call: Call) -> Path:
    """Where the run goes.

    Raises:
        FerError: see `fer.steps.checks.check_early`.
    """
    from fer.steps import checks

    chosen = call.folder("train", cfg.run_dir, cfg.name)
    checks.check_early(cfg, chosen)
    return chosen


def again(cfg: TrainConfig, where: Path, call: Call) -> float | None:
    """A job of a sweep whose folder holds its run from an earlier time: the score of a finished one, else it goes on.

    Raises:
        FerError: that run has other settings.
    """
    folder = RunFolder.open(where)
    old: TrainConfig = from_dict(TrainConfig, folder.config(), str(where / "config.yaml"))
    was, now = dict(flat(as_dict(old))), dict(flat(as_dict(settled(cfg, call))))
    free = ("resume", "run_dir", *FREE)
    changed = [f"{key} was {was[key]}, now {now[key]}" for key in now if was[key] != now[key] and key not in free]
    if changed:
        raise FerError(
            f"{where} holds a run with other settings ({'; '.join(changed[:3])}): name=NAME chooses another sweep folder"
        )
    if not folder.about["finished"]:
        return go_on(dataclasses.replace(freely(old, cfg, FREE), resume=str(where)), folder, call)
    score: float | None = folder.read_json("metrics.json")["val"]["score"]
    log.info("finished earlier, validation score %s: %s", "undefined" if score is None else f"{score:.3f}", where)
    return score


def resume(cfg: TrainConfig, call: Call) -> float | None:
    """Goes on with a run that was stopped, or trains a finished one for more epochs."""
    assert cfg.resume is not None
    folder = RunFolder.open(Path(cfg.resume).expanduser().absolute())
    if "repeats" in folder.config():
        raise FerError(f"resume={cfg.resume} is a cross-validation: python -m fer.crossval resume={cfg.resume}")
    return go_on(resumed(cfg, call, folder), folder, call)


def go_on(cfg: TrainConfig, folder: RunFolder, call: Call) -> float | None:
    """Goes on in a run folder, with its settings."""
    check_started("train", call.overrides, cfg.trainer.devices, cfg.trainer.num_nodes)
    from fer.steps import building, checks, reading, team

    together = team.assemble(cfg.trainer.accelerator)
    checks.check_machine(cfg)
    folder = together.folder(folder.take_up)
    data = together.first(lambda: reading.read_data(cfg, call.kept))
    module = together.first(lambda: building.rebuild_module(cfg, folder, data, call.kept))
    folder.keep_config({**as_dict(cfg), "resume": None})
    folder.note(finished=False)
    return finish(cfg, folder, module, data, (), call.kept, call.one_of_many or call.sweep_dir is not None, together)


def finish(
    cfg: TrainConfig,
    folder: RunFolder,
    module: FaceModule,
    data: FaceData,
    callbacks: Sequence[Callback],
    kept: Kept,
    brief: bool,
    together: Team,
) -> float | None:
    """Fits, and judges in the first process, in the run folder; `brief`: without a report, if it learned from features."""
    from fer.steps import best, fitting

    try:
        folder.log_to_file("train.log")
        log.info("run folder: %s", folder.path)
        try:
            fitting.fit(cfg, folder, module, data, callbacks, kept, together)
        except Interrupted as stopped:
            if not isinstance(stopped.__cause__, SystemExit):  # then the others may not be where they would be met
                together.part()
            raise Interrupted(str(folder.path)) from stopped
        together.part()
        return best.judge_best(cfg, folder, data, module, kept, brief) if together.leads else None
    except KeyboardInterrupt as stopped:
        raise Interrupted(str(folder.path)) from stopped
    finally:
        folder.let_go(sys.exception())


def report_best(folder: Path) -> None:
    """Completes a sweep's best run by what would take longer for each than to train on features: a report, a checkpoint to take away."""
    from fer.model.finished import make_whole
    from fer.results.report import write_report
    from fer.steps.picturing import gallery_of_run

    make_whole(folder / "checkpoints" / "best.ckpt")
    path = folder / "report.html"
    if not path.is_file():
        write_report(folder, gallery_of_run(RunFolder.open(folder)))
    print(f"report of the best run: {path}", flush=True)


def compare_all(best: Path) -> None:
    """Gives the sweep of which `best` is a folder a page of its own."""
    from fer.results.comparison.report import write_sweep_page

    try:
        print(f"page of the sweep: {write_sweep_page(best.parent)}", flush=True)
    except FerError as error:
        print(f"no page of the sweep: {error}", flush=True)


main = command("train", run, (report_best, compare_all))

if __name__ == "__main__":
    main()
