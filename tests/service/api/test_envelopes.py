"""Forms and JSON that ask for more than their bytes: refused before memory or the event loop's time is spent."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import BadRequest, TooLarge
from tests.service.api.envelopes import END, IMAGES, PART, envelopes, read
from tests.service.api.greys import grey, top
from tests.service.api.problems import assert_problem
from tests.service.costs import costs

# Are what they seem: what they hold is copied out, and nothing else is.
HONEST = {"form-file", "form-near-line", "form-near-dashes", "form-near-other", "form-epilogue", "json-escapes"}
FORM = "multipart/form-data; boundary=x"


@pytest.mark.slow  # twenty megabytes of each kind, six seconds
def test_reading_20_megabytes_costs_less_than_48_mebibytes_and_150_milliseconds(tmp_path: Path) -> None:
    """CPU time on the event loop, where nobody else is served meanwhile. (Numbers in a list once took 8.8 GiB.)"""
    for cost in costs("tests.service.api.envelopes", envelopes(), tmp_path, allowed_ms=150):
        expected = {"accepted"} if cost.name in HONEST else {"BadRequest", "TooLarge"}
        assert cost.outcome in expected, cost
        assert cost.mebibytes < 48, cost  # what is wrong base64, once as text and once decoded
        assert cost.milliseconds < 150, cost


def test_a_body_in_tiny_chunks_takes_a_few_times_its_size() -> None:
    """Kept in a list, each would take some fifty bytes more."""
    body = PART + bytes(300_000) + END
    read(body, chunk_bytes=3)
    tracemalloc.start()
    try:
        read(body, chunk_bytes=3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(body)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1000, 1 << 20])
def test_however_it_is_cut_a_body_is_read_as_far_as_the_limit(chunk_bytes: int) -> None:
    body = PART + grey(5) + END
    assert read(body, chunk_bytes=chunk_bytes, limit=len(body))[0].body == grey(5)
    with pytest.raises(TooLarge):
        read(body, chunk_bytes=chunk_bytes, limit=len(body) - 1)


def test_a_large_file_never_touches_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file was opened")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    assert len(read(PART + bytes(5_000_000) + END, chunk_bytes=65536)[0].body) == 5_000_000


def test_as_many_images_as_are_allowed_are_read_and_not_one_more() -> None:
    form = [PART + b"%d" % number + b"\r\n" for number in range(IMAGES + 1)]
    assert [file.body for file in read(b"".join(form[:-1]) + END[2:])] == [b"%d" % number for number in range(IMAGES)]
    images = ['"AAAA"'] * IMAGES
    assert len(read(f'{{"images": [{", ".join(images)}]}}'.encode())) == IMAGES
    for body in (b"".join(form) + END[2:], f'{{"images": [{", ".join([*images, images[0]])}]}}'.encode()):
        with pytest.raises(TooLarge):
            read(body)


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n--x", b"\r\n--x\r\n", b"\r\n--x-"])
def test_a_form_that_ends_early_is_malformed(end: bytes) -> None:
    with pytest.raises(BadRequest):
        read(PART + grey(5) + end)


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [("ü.png".encode(), "ü.png"), (b"\xfc.png", "ü.png"), (b"\xed\xa0\x80", "í\xa0\x80"), (b"+2AA-", "+2AA-")],
)
def test_a_name_is_read_as_utf_8_or_latin_1(sent: bytes, read_as: str) -> None:
    (file,) = read(PART.replace(b'"a"', b'"' + sent + b'"') + b"body" + END)
    assert file.name == read_as


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "undefined", "idna", "utf-16", "no-such", "\xfc"])
def test_a_charset_of_the_senders_choice_is_not_run(url: str, charset: str) -> None:
    """Once +2AA- in utf-7 was a lone surrogate, which no answer can be written with: 500."""
    body = PART.replace(b'"a"', rb'"+2AA- \ud800.png"') + grey(9) + END
    headers = {"Content-Type": f"{FORM}; charset={charset}".encode("latin-1")}
    response = httpx.post(f"{url}/classify/batch", content=body, headers=headers)
    assert response.status_code == 200, response.text
    (result,) = response.json()["results"]
    assert top(result["predictions"]) == 9


def test_what_was_wrong_with_json_is_told_in_few_words(url: str) -> None:
    document = {"image": "AAAA", "a" * 100_000: 1}
    assert len(assert_problem(httpx.post(f"{url}/classify", json=document), 400)) < 200
