"""Work done ahead by threads: results in order, a bounded number of them in memory, however long the source."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def in_background(source: Iterator[In], work: Callable[[In], Out], jobs: int, ahead: int) -> Generator[Out]:
    """`work` of each item, in order, done by `jobs` threads while the caller is busy with earlier ones.

    At most `2 * jobs` items wait for a thread or are in one, and at most about `ahead` results wait for the caller. What `source` or
    `work` raises is raised here, in its place.
    """
    slots = threading.Semaphore(2 * jobs)
    results: queue.Queue[Future[Out] | None] = queue.Queue(ahead)
    stopped = threading.Event()

    def feed() -> None:
        try:
            for item in source:
                slots.acquire()
                if stopped.is_set():
                    return
                future = pool.submit(work, item)
                future.add_done_callback(lambda _: slots.release())
                results.put(future)
        except BaseException as error:  # it belongs to the caller, whose thread is another
            failed: Future[Out] = Future()
            failed.set_exception(error)
            results.put(failed)
        finally:
            results.put(None)

    with ThreadPoolExecutor(jobs) as pool:
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        try:
            while (future := results.get()) is not None:
                yield future.result()
        finally:
            stopped.set()
            while feeder.is_alive():  # it may be waiting for room
                slots.release()
                _drain(results)


def _drain(results: queue.Queue[Future[Out] | None]) -> None:
    try:
        results.get(timeout=0.05)
    except queue.Empty:
        return
