"""Commands in processes of their own, as users start them, but forked from one that has imported torch and all before: that takes seconds.

What `python -m` itself does, and what is imported when, is for `test_package.py` and `test_imports.py`. What `atexit` would do at the
end does not happen: jobs of joblib, which waits for it, are for `test_launchers.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

PRELOADED = ("fer.steps.building", "fer.steps.fitting", "fer.steps.best", "fer.use.runtime_torch", "fer.tuning.worker")
"""What commands import when they know their settings to be good; not the commands themselves: as `__main__` they are imported anew."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(list(PRELOADED))


class Started:
    """A command at work, with as much of `subprocess.Popen` as tests need; both streams are text."""

    def __init__(self, words: tuple[str, ...], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.words, self.said = words, Path(tempfile.mkdtemp(prefix="started-"))
        self.process = CONTEXT.Process(target=_command, args=(words, str(cwd), dict(env or os.environ), str(self.said)))
        self.process.start()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Standard output and standard error, when it has ended; `timeout` is in seconds, after which it is killed."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise subprocess.TimeoutExpired(list(self.words), timeout)
        out, err = ((self.said / name).read_text(encoding="utf-8") for name in ("out", "err"))
        shutil.rmtree(self.said)
        return out, err


def start_command(module: str, *words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Started:
    """`python -m <module> <words>` in a folder, at work."""
    return Started((module, *words), cwd, env)


def run_command(
    module: str, *words: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python -m <module> <words>` in a folder, ended."""
    process = start_command(module, *words, cwd=cwd, env=env)
    out, err = process.communicate()
    assert process.returncode is not None
    return subprocess.CompletedProcess([module, *words], process.returncode, out, err)


def _command(words: tuple[str, ...], cwd: str, env: dict[str, str], said: str) -> None:
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(f"{said}/{name}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = cwd
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
