"""One picture at a time through the network; a bounded number of requests wait for it, for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Refused(Exception):
    """A request that is not answered, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Turns:
    """Hands out turns to requests. Everything here but the work itself runs on the event loop.

    Args:
        most: requests that may be under way, waiting ones among them.
        seconds: that one may take, its upload included.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds, self._under_way = most, seconds, 0
        self._thread = ThreadPoolExecutor(1, "network")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place among those under way, for the time limit at most.

        Raises:
            Refused: there is none, or the time is over. Work that has begun can't be stopped: its result is then dropped.
        """
        if self._under_way >= self._most:
            raise Refused(503, f"{self._most} requests are under way already: try again")
        self._under_way += 1
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError as error:
            raise Refused(
                503, f"took longer than {self._seconds:g} seconds: try again, or a smaller picture"
            ) from error
        finally:
            self._under_way -= 1

    async def work(self, job: Callable[[In], Out], about: In) -> Out:
        """`job(about)` in the one thread that works."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, job, about)
