"""Benchmark: images/s of every stage, and what is lost to anything but the network.

Stages are measured in turn, block by block, on the settings of fer.train (by default the drawn faces of few people), so that the
ratios hold on a machine that has other things to do, too. Leaves benchmark.json and prints a table: ratios first.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from fer.cli.command import Call, command
from fer.config import BenchmarkConfig, as_dict, resolve
from fer.runs.folder import RunFolder, check_place

log = logging.getLogger("fer.benchmark")

PARTS = ("startup", "train", "predict", "sweep")
"""Of `what=all`, in this order: the quiet ones first."""


def run(cfg: BenchmarkConfig, call: Call) -> None:
    """Measures, writes, prints."""
    from fer.benchmarking import of_choices, of_growth, of_predict, of_settings, of_startup, of_sweep, of_training
    from fer.benchmarking.bench import Bench
    from fer.benchmarking.findings import Findings
    from fer.benchmarking.table import print_findings
    from fer.runs.surroundings import usable_cores

    other = of_settings.other_settings(cfg, call) if cfg.against else None
    where = call.folder("benchmark", cfg.run_dir, cfg.name)
    check_place(where)
    found, load = Findings(), os.getloadavg()[0]
    resolved: BenchmarkConfig = resolve(cfg)  # type: ignore[assignment]  # the same class with settled values
    with tempfile.TemporaryDirectory(prefix="fer-benchmark-") as name, _alone():
        scratch = Path(name)
        for part in () if other else PARTS if cfg.what == "all" else (cfg.what,):
            log.info("measuring: %s", part)
            match part:
                case "startup":
                    of_startup.measure(resolved, scratch, found)
                case "train":
                    of_training.measure(Bench(resolved, scratch / "train"), cfg.budget, found)
                case "predict":
                    of_predict.measure(Bench(resolved, scratch / "predict"), cfg.budget, found)
                case "sweep":
                    of_sweep.measure(resolved, scratch, cfg.budget, found)
                case "choices":
                    of_choices.measure(Bench(resolved, scratch / "choices"), cfg.budget, found)
                case _:
                    of_growth.measure(resolved, scratch, found)
        if other:
            of_settings.measure(cfg, other, scratch, cfg.budget, found)
    folder = RunFolder.create(where, as_dict(cfg), call.line, numbered=cfg.run_dir is None)
    folder.log_to_file("benchmark.log")
    machine = {"cores": usable_cores(), "load_at_start": round(load, 2), "against": cfg.against}
    folder.write_json("benchmark.json", {"command": call.line, "machine": machine, **found.as_json()})
    folder.note(finished=True)
    print_findings(found, Console())
    log.info("benchmark: %s", folder.path / "benchmark.json")


@contextmanager
def _alone() -> Iterator[None]:
    """Lets this command speak and nothing that it measures: a run says what it does, and logs to its own folder."""
    everything = logging.getLogger("fer")
    own = everything.handlers[:]
    log.handlers[:], log.propagate, everything.handlers[:] = own, False, [logging.NullHandler()]
    try:
        yield
    finally:
        for opened in everything.handlers:
            opened.close()
        log.handlers[:], log.propagate, everything.handlers[:] = [], True, own


main = command("benchmark", run)

if __name__ == "__main__":
    main()
