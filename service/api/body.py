"""Request bodies, bounded while they stream in: raw bytes, multipart files, base64 in JSON."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request


class File(NamedTuple):
    """One encoded image of a request, with the name its sender gave it."""

    name: str | None
    body: bytes


class EncodedImage(BaseModel):
    """One image as JSON."""

    model_config = ConfigDict(extra="forbid")

    image: str


class EncodedImages(BaseModel):
    """Several images as JSON."""

    model_config = ConfigDict(extra="forbid")

    images: list[str]


Envelope = TypeVar("Envelope", EncodedImage, EncodedImages)


class _InMemoryParser(MultiPartParser):
    """Keeps files in memory whatever their size: the body as a whole is bounded already."""

    spool_max_size = 1 << 62  # never rolls over to disk


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: it is longer than `limit` bytes, by its Content-Length or as it arrives.
        ClientDisconnect: the client went away.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(f"the body has {declared} bytes, the limit is {limit}")
    chunks: list[bytes] = []
    size = 0
    receive = request.receive
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if chunk := message.get("body"):
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the body is over the limit of {limit} bytes")
            chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_image(request: Request, limit: int) -> bytes:
    """Return the one encoded image of a request: its raw body, its one multipart file, or its JSON member.

    Any Content-Type but multipart and JSON means the image itself: what it is, its bytes tell.

    Raises:
        BadRequest: there is no image, more than one, or the envelope is malformed.
        TooLarge: the body is over `limit` bytes.
    """
    body = await read_body(request, limit)
    if not body:
        raise BadRequest("the body is empty: send an image")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        files = await _files(request, body, 1)
        if len(files) != 1:
            raise BadRequest("no file in the form: send one image")
        return files[0].body
    if kind == "application/json":
        return _decoded(_parsed(EncodedImage, body).image)
    return body


async def read_images(request: Request, limit: int, max_images: int) -> list[File]:
    """Return the encoded images of a request: its multipart files, or its JSON member `images`.

    Raises:
        BadRequest: there is no image, or the envelope is malformed.
        TooLarge: the body is over `limit` bytes, or there are more than `max_images` images.
    """
    body = await read_body(request, limit)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        files = await _files(request, body, max_images)
    elif kind == "application/json":
        encoded = _parsed(EncodedImages, body).images
        if len(encoded) > max_images:
            raise TooLarge(f"{len(encoded)} images, the limit is {max_images} a request")
        files = [File(None, _decoded(image)) for image in encoded]
    else:
        raise BadRequest('send multipart/form-data with files, or JSON {"images": ["<base64>", …]}')
    if not files:
        raise BadRequest("no image in the request")
    return files


async def _files(request: Request, body: bytes, max_files: int) -> list[File]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # One more than allowed, to tell "too many" from "malformed".
    parser = _InMemoryParser(request.headers, stream(), max_files=max_files + 1, max_fields=16, max_part_size=64 * 1024)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        message = error.message if isinstance(error, MultiPartException) else "no boundary"
        if message.startswith("Too many files"):
            raise TooLarge(f"more than {max_files} files in the form") from error
        raise BadRequest(f"malformed multipart body: {message}") from error
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if len(uploads) > max_files:
        raise TooLarge(f"{len(uploads)} files in the form, the limit is {max_files}")
    files = [File(upload.filename, await upload.read()) for upload in uploads]
    await form.close()
    return files


def _parsed(model: type[Envelope], body: bytes) -> Envelope:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRequest(f"malformed JSON body: {where + ': ' if where else ''}{first['msg']}") from error


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"the image is not base64: {error}") from error
