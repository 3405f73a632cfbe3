"""Request bodies, bounded while they stream in: raw bytes, multipart files, base64 in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, WithJsonSchema
from starlette.requests import ClientDisconnect

from service.api.form import File, read_files
from service.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from starlette.requests import Request

_MAX_MEMBERS = 16  # of a JSON body with one image, which has one
_MAX_KEY = 64  # characters of a member's name that are told back to its sender


# Decoded as it is parsed, in the alphabets of RFC 4648, sections 4 and 5: never there as text.
Base64 = Annotated[
    bytes, WithJsonSchema({"type": "string", "format": "byte", "contentEncoding": "base64", "title": "Encoded image"})
]


class EncodedImage(BaseModel):
    """One image as JSON."""

    model_config = ConfigDict(extra="forbid", val_json_bytes="base64")

    image: Base64


class EncodedImages(BaseModel):
    """Several images as JSON."""

    model_config = ConfigDict(extra="forbid", val_json_bytes="base64")

    images: list[Base64]


Envelope = TypeVar("Envelope", EncodedImage, EncodedImages)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: it is longer than `limit` bytes, by its Content-Length or as it arrives.
        ClientDisconnect: the client went away.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(f"the body has {declared} bytes, the limit is {limit}")
    received = bytearray()  # a list of chunks, were they small, would take forty times their size
    receive = request.receive
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        if len(received) + len(chunk) > limit:
            raise TooLarge(f"the body is over the limit of {limit} bytes")
        if not received and not message.get("more_body", False):
            return chunk
        received += chunk
        if not message.get("more_body", False):
            return bytes(received)


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
        files = read_files(body, request.headers["content-type"], 1)
        if len(files) != 1:
            raise BadRequest("no file in the form: send one image")
        return files[0].body
    if kind == "application/json":
        return _parsed(EncodedImage, body, _MAX_MEMBERS).image
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
        files = read_files(body, request.headers["content-type"], max_images)
    elif kind == "application/json":
        images = _parsed(EncodedImages, body, max_images).images
        if len(images) > max_images:
            raise TooLarge(f"{len(images)} images, the limit is {max_images} a request")
        files = [File(None, image) for image in images]
    else:
        raise BadRequest('send multipart/form-data with files, or JSON {"images": ["<base64>", …]}')
    if not files:
        raise BadRequest("no image in the request")
    return files


def _parsed(model: type[Envelope], body: bytes, max_values: int) -> Envelope:
    # Base64 has no commas, so that they count the values before any is made: twenty megabytes of ones would be parsed
    # and complained of one by one, in gigabytes and a minute. How deep they nest, the parser bounds itself.
    if body.count(b",") > max_values:
        raise TooLarge(f"more than {max_values} values in the JSON body")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:_MAX_KEY] for part in first["loc"])
        raise BadRequest(f"malformed JSON body: {where + ': ' if where else ''}{first['msg']}") from error
