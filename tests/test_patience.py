"""Connections that never ask for anything do not keep others out of `fer.serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("uvicorn")

HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LIMIT_S = 0.3


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """An application that takes longer than a head may take, which is its right."""
    await asyncio.sleep(2 * LIMIT_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def _converse(
    monkeypatch: pytest.MonkeyPatch,
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]],
) -> bytes:
    """What `talk` returns of a connection to a server that gives heads `LIMIT_S`."""
    import uvicorn
    from uvicorn.server import ServerState

    from fer.use.serving import patience

    monkeypatch.setattr(patience, "SECONDS_FOR_HEAD", LIMIT_S)
    config = uvicorn.Config(_answer, http=patience.LimitedProtocol, lifespan="off", log_config=None)
    config.load()

    async def main() -> bytes:
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: patience.LimitedProtocol(config, state, {}), "127.0.0.1", 0)
        async with server, asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                return await talk(reader, writer)
            finally:
                writer.close()

    return asyncio.run(main())


@pytest.mark.parametrize("said", [b"", HEAD], ids=["nothing", "half a head"])
def test_a_connection_that_does_not_ask_is_closed(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(said)
        return await reader.read()

    assert _converse(monkeypatch, talk) == b""


def test_a_slow_answer_is_waited_for_and_a_second_half_head_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"\r\n")
        answered = await reader.readuntil(b"ok")
        writer.write(HEAD)
        return answered + await reader.read()

    said = _converse(monkeypatch, talk)
    assert said.startswith(b"HTTP/1.1 200") and said.endswith(b"ok")


def test_a_body_that_goes_on_after_its_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD.replace(b"GET", b"POST") + b"Content-Length: 1000000\r\n\r\n")
        answered = await reader.readuntil(b"ok")
        for _ in range(40):  # a byte now and then must not count
            writer.write(b"x")
            await asyncio.sleep(LIMIT_S / 4)
            if reader.at_eof():
                return answered
        return b"still open"

    assert _converse(monkeypatch, talk).startswith(b"HTTP/1.1 200")


def test_heads_in_pieces_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for _ in range(2):
            writer.write(HEAD)
            await asyncio.sleep(LIMIT_S / 2)
            writer.write(b"\r\n")
            answered = await reader.readuntil(b"ok")
        return answered

    assert _converse(monkeypatch, talk).startswith(b"HTTP/1.1 200")
