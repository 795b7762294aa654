"""What keeps pages of other sites out of a server on one's own machine, and holds its pages to their own files."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Wraps an application: checks Host and Origin, and adds `HEADERS` to every answer.

    A page of another site can make the browser of somebody at this machine send requests here. Directly: then Origin (or
    Sec-Fetch-Site) says so. Or under a name of its own that it lets point to 127.0.0.1 (DNS rebinding): then Host says so. An address
    in numbers can't be pointed elsewhere, so those are all let in.

    Args:
        app: what is wrapped.
        host: the name that the server was told to answer at, beside localhost and the machine's own.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        problem = self._problem(Headers(scope=scope), scope["method"]) if scope["type"] == "http" else None
        if problem is not None:
            await JSONResponse({"error": problem}, 403)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _problem(self, headers: Headers, method: str) -> str | None:
        host = headers.get("host", "").lower()
        if not self._is_own(host):
            return "this server does not answer under that name: use its address in numbers"
        if method in ("GET", "HEAD"):
            return None  # these change nothing, and no other site may read the answer
        if self._is_foreign(headers.get("origin"), host) or headers.get("sec-fetch-site") in (
            "cross-site",
            "same-site",
        ):
            return "asked by a page of another site"
        return None

    @staticmethod
    def _is_foreign(origin: str | None, host: str) -> bool:
        try:
            return origin is not None and urlsplit(origin.lower()).netloc != host
        except ValueError:
            return True

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True
