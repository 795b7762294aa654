"""An address on the network, and a server that answers there until Ctrl-C."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket

import uvicorn
from starlette.types import ASGIApp

from fer.errors import FerError, first_line
from fer.use.serving.patience import LimitedProtocol

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
SECONDS_TO_END = 5
"""How long requests that are under way may take after Ctrl-C; a picture that the network has begun is finished first."""


def listener(host: str, port: int) -> socket.socket:
    """A socket that holds the address; nobody is answered before `listen`.

    Args:
        host: a name or address of this machine.
        port: 0 takes a free one.

    Raises:
        FerError: the port is taken or not allowed, or the host is none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise FerError(f"host={host} is no name or address of this machine ({first_line(error)})") from error
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a restart waits for old connections
        found.bind(address)
        found.listen()  # two sockets may be bound to one port, but only one may listen there
    except OSError as error:
        found.close()
        raise FerError(f"host={host} port={port}: {(error.strerror or 'refused').lower()}; try port=0") from error
    return found


def listen(app: ASGIApp, sock: socket.socket) -> None:
    """Answers at `sock` until Ctrl-C, which is the usual end."""
    host, port = sock.getsockname()[:2]
    log.info("open http://%s:%d in a browser; Ctrl-C ends it", f"[{host}]" if ":" in host else host, port)
    if not ipaddress.ip_address(host).is_loopback:
        log.warning("host=%s: whoever reaches this machine can use it, there is no password and no encryption", host)
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[sock])
    log.info("stopped")
