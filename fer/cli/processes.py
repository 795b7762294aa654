"""The processes that train one run together: how this one was started, and what is refused or typed instead. Never imports torch.

They are started by torchrun or by Slurm's srun, which set the environment that is read here; the program itself starts none.
"""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from fer.errors import FerError

GRACE = 5.0
"""Seconds in which the first process says what all of them found, before another one says it."""


@dataclass(frozen=True)
class Started:
    """How this process was started.

    Attributes:
        by: `torchrun`, `srun`, or `python` for one that stands alone.
        rank: its number; the first one, 0, is the only one that writes and speaks.
        per_node, nodes: processes on each machine, and machines.
    """

    by: str = "python"
    rank: int = 0
    per_node: int = 1
    nodes: int = 1

    @property
    def count(self) -> int:
        """Processes in all."""
        return self.per_node * self.nodes


@cache
def started() -> Started:
    """As the environment says it."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        count, per_node = int(env["WORLD_SIZE"]), int(env["LOCAL_WORLD_SIZE"])
        return Started("torchrun", int(env["RANK"]), per_node, count // per_node)
    # set by srun alone; a batch script has SLURM_NTASKS too, where one process would wait forever for the others
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        count, nodes = int(env["SLURM_STEP_NUM_TASKS"]), int(env.get("SLURM_STEP_NUM_NODES", 1))
        return Started("srun", int(env["SLURM_PROCID"]), count // nodes, nodes)
    return Started()


def line(command: str, words: Sequence[str], devices: int = 1, nodes: int = 1) -> str:
    """What to type to run a command on so many processors of so many machines."""
    module = ["-m", f"fer.{command}", *words]
    if devices * nodes == 1:
        return shlex.join(["python", *module])
    if started().by == "srun" or ("SLURM_JOB_ID" in os.environ and started().by == "python"):
        tasks = [f"--nodes={nodes}", f"--ntasks-per-node={devices}", "--kill-on-bad-exit=1"]
        return shlex.join(["srun", *tasks, "python", *module])
    if nodes == 1:
        return shlex.join(["torchrun", f"--nproc-per-node={devices}", *module])
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={platform.node()}:29500"]
    return shlex.join(["torchrun", f"--nnodes={nodes}", f"--nproc-per-node={devices}", *meeting, *module])


def this_line(command: str, words: Sequence[str]) -> str:
    """What to type to run a command as this process was started."""
    return line(command, words, started().per_node, started().nodes)


def check_started(command: str, words: Sequence[str], devices: int, nodes: int) -> None:
    """Refuses settings that were not started in as many processes as they take.

    Raises:
        FerError: says what to type.
    """
    here = started()
    if (here.per_node, here.nodes) == (devices, nodes):
        return
    wanted = f"trainer.devices={devices}" + (f" trainer.num_nodes={nodes}" if nodes > 1 else "")
    if here.count == 1:
        typed = line(command, words, devices, nodes)
        where = " on each machine" if nodes > 1 and typed.startswith("torchrun") else ""
        raise FerError(f"{wanted} takes {devices * nodes} processes; type{where}: {typed}")
    machines = f" on each of {here.nodes} machines" if here.nodes > 1 else ""
    fits = f"trainer.devices={here.per_node}" + (f" trainer.num_nodes={here.nodes}" if here.nodes > 1 else "")
    raise FerError(
        f"{here.by} started {here.per_node} processes{machines}, and {wanted}: type {fits}, or start it by: "
        f"{line(command, words, devices, nodes)}"
    )


def check_alone(what: str) -> None:
    """Refuses to do in several processes what is done in one.

    Raises:
        FerError: says so.
    """
    if started().count > 1:
        raise FerError(f"{what} runs in one process: start it without {started().by}")


def say_once(refusal: str) -> None:
    """Prints why the command ends: of several processes that end for the same reason the first one does.

    torchrun (and srun with --kill-on-bad-exit) ends the others as soon as the first one has ended; one that is not ended had a reason of
    its own.
    """
    if started().rank > 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
        time.sleep(GRACE)
        refusal = f"{refusal} (process {started().rank})"
    print(refusal, file=sys.stderr, flush=True)
