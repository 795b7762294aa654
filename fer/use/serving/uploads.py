"""A request in, the bytes of its picture out: counted while they arrive, kept in memory, never on disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from fer.use.serving.turns import Refused

READ_OVER_LIMIT = 4
"""A larger body is read and dropped up to so many times the limit: who is still sending can't hear the answer."""

_FILE = {"type": "string", "format": "binary"}
BODIES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "PNG, JPEG, BMP, TIFF, WEBP, GIF (first frame) or PPM; told apart by content, whatever the type says",
        "content": {
            "image/*": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE}},
            },
        },
    }
}
"""For OpenAPI: what `read_upload` takes."""


async def read_upload(request: Request, limit: int) -> bytes:
    """The picture, as yet unread: the body itself, or the only file of a form, whatever its field is called.

    Args:
        request: its content type tells a form from a picture.
        limit: bytes of the whole body.

    Raises:
        Refused: 413 for too many bytes, 400 for none, for a broken form, or for one without exactly one file.
    """
    body = await _body(request, limit)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        body = await _only_file(request, body)
    if not body:
        raise Refused(400, "no picture: send one as the body, or as the file of a form")
    return body


async def _body(request: Request, limit: int) -> bytes:
    kept, size = bytearray(), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                kept += chunk
            elif size > READ_OVER_LIMIT * limit:
                break
    except ClientDisconnect as gone:  # nobody hears it, and it is no bug of the server
        raise Refused(400, "the upload broke off") from gone
    if size > limit:
        raise Refused(413, f"more than the limit of {limit / 1_000_000:g} MB")
    return bytes(kept)


async def _only_file(request: Request, body: bytes) -> bytes:
    class InMemory(MultiPartParser):
        spool_max_size = len(body) + 1

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await InMemory(request.headers, whole(), max_files=2, max_fields=20).parse()
    except (MultiPartException, HTTPException, KeyError, UnicodeError) as error:
        raise Refused(400, "the form can't be read: is it multipart/form-data with a boundary?") from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise Refused(400, f"the form must hold one file, and holds {len(files) or 'none'}")
        return await files[0].read()
    finally:
        await form.close()
