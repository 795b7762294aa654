"""Compare: run folders in, a ranking out that says which differences are above noise.

Takes runs, or folders that hold some such as a sweep's: python -m fer.compare outputs/sweeps/NAME. Holds every run against the best,
or against reference=RUN, on the same people, and names a winner by a rule that it states. Leaves compare.csv, compare.md and compare.html.
"""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path

from hydra._internal.utils import get_args_parser

from fer.cli.command import Call, command
from fer.cli.quoting import quoted
from fer.config import CompareConfig, as_dict
from fer.errors import FerError
from fer.runs.folder import RunFolder, check_free, write_text

log = logging.getLogger("fer.compare")  # not __name__: run with -m it is __main__


def run(cfg: CompareConfig, call: Call) -> None:
    """One comparison."""
    from fer.results.comparison.judged_runs import read_runs  # pandas: only now that the settings are known to be good

    if call.keys.count("runs") > 1:
        raise FerError("give the runs as words or as runs=[...], not both")
    name = cfg.name or default_name(cfg.runs)
    where = call.folder("compare", cfg.run_dir, name)
    check_free(where)
    runs = read_runs(cfg.runs)
    from rich.console import Console

    from fer.results.comparison.findings import find
    from fer.results.comparison.report import write_page
    from fer.results.comparison.tables import as_markdown, print_comparison

    line = shlex.join(["python", "-m", "fer.compare", *cfg.runs, *others(call)])
    findings = find(runs, cfg)
    folder = RunFolder.create(where, {**as_dict(cfg), "name": name}, line, numbered=cfg.run_dir is None)
    folder.log_to_file("compare.log")
    write_text(folder.path / "compare.csv", findings.table().to_csv(index=False))
    write_text(folder.path / "compare.md", as_markdown(findings, name))
    page = folder.path / "compare.html"
    write_page(findings, page, name, line)
    print_comparison(findings, Console())
    folder.note(
        finished=True,
        winner=next((str(run.path) for k, run in enumerate(findings.runs) if findings.won(k)), None),
        split=findings.split,
    )
    log.info("page: %s", page)


def default_name(runs: list[str]) -> str:
    """The name of the one folder that was given, which is a sweep's, or `runs`."""
    return Path(runs[0]).absolute().name if len(runs) == 1 else "runs"


def others(call: Call) -> list[str]:
    """What was typed beside the runs."""
    return [word for word, key in zip(call.overrides, call.keys, strict=True) if key != "runs"]


def as_overrides(words: list[str]) -> list[str]:
    """Words that are neither options nor `key=value` become one `runs=[...]`; a folder that exists is a run whatever its name.

    Names of runs hold commas and `=`, which mean something to Hydra: they are quoted here, the reference's too.
    """
    valued = {name for option in get_args_parser()._actions if option.nargs is None for name in option.option_strings}
    of_options = {k + 1 for k, word in enumerate(words) if word in valued}
    is_run = [
        k not in of_options and not word.startswith("-") and ("=" not in word or Path(word).is_dir())
        for k, word in enumerate(words)
    ]
    runs = [word for word, run in zip(words, is_run, strict=True) if run]
    rest = [word for word, run in zip(words, is_run, strict=True) if not run]
    plain = "reference="
    rest = [
        plain + quoted(word.removeprefix(plain)) if word.startswith(plain) and word != "reference=null" else word
        for word in rest
    ]
    return [*rest, *([f"runs=[{','.join(map(quoted, runs))}]"] if runs else [])]


def main() -> None:
    """`python -m fer.compare RUN_OR_SWEEP...`."""
    sys.argv[1:] = as_overrides(sys.argv[1:])
    command("compare", run)()


if __name__ == "__main__":
    main()
