"""An end to waiting for requests that do not come: uvicorn waits for ever for the head of one, and counts who is waited for."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_FOR_HEAD = 10.0
"""From the opening of a connection, or the first byte of a later request, to the end of the request's head; from an answer to the end
of what it was given to."""


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 that closes connections whose heads, or bodies after their answer, take longer than `SECONDS_FOR_HEAD`."""

    _give_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:  # of a body that nobody has asked for
            self._stop_waiting()
            self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.our_state is h11.DONE:  # answered before its end: every byte more is not a reason to wait longer
            return
        if self.conn.their_state is not h11.IDLE:  # a head is read, or what came was none
            self._stop_waiting()
        elif self._give_up is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._give_up = self.loop.call_later(SECONDS_FOR_HEAD, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._give_up is not None:
            self._give_up.cancel()
            self._give_up = None
