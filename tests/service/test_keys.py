"""service.keys: who is admitted, and how the file may change."""

from __future__ import annotations

import logging
import os
import secrets
import time
from pathlib import Path

import pytest

from service.errors import StartError
from service.keys import Keys


def key() -> str:
    return secrets.token_hex(16)


class Watch:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_every_key_of_the_file_is_admitted_and_nothing_else(tmp_path: Path) -> None:
    first, second = key(), key()
    path = tmp_path / "keys"
    path.write_text(f"# of the shop\n{first}\n\n  {second}  \r\n# {'x' * 20}\n")
    keys = Keys(path)
    for good in (first, second):
        assert keys.admit(good.encode())
    for bad in ("", "#", first[:-1], first + "0", first.upper() + "g", f"{first}\n{second}", f"# {'x' * 20}", key()):
        assert not keys.admit(bad.encode())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has none in it"),
        ("# nothing but a remark\n\n", "has none in it"),
        ("0123456789abcdef\ntooshort\n", "line 2"),
        ("two words, long enough\n", "line 1"),
        ("schlüssel-mit-umlauten\n", "line 1"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_without_a_word_of_what_is_in_it(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(StartError, match=complaint) as refused:
        Keys(path)
    assert not [line for line in text.splitlines() if line and line in str(refused.value)]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file"):
        Keys(tmp_path / "keys")


def test_keys_change_with_the_file_within_a_second(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, both, new = key(), key(), key()
    path, clock = tmp_path / "keys", Watch()
    path.write_text(f"{old}\n{both}\n")
    keys = Keys(path, clock)
    path.write_text(f"{both}\n{new}\n")
    with caplog.at_level(logging.INFO):
        clock.now_s += 1
        assert [keys.admit(each.encode()) for each in (old, both, new)] == [False, True, True]
    assert "2 API keys are valid now" in caplog.text
    assert not [each for each in (old, both, new) if each in caplog.text]


def test_a_mounted_secret_is_replaced_by_way_of_its_link(tmp_path: Path) -> None:
    old, new = key(), key()
    for name, text in (("first", old), ("second", new)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(text)
        os.utime(tmp_path / name / "keys", (1, 1))  # all that differs is which file it is
    (tmp_path / "data").symlink_to("first")
    clock = Watch()
    keys = Keys(tmp_path / "data" / "keys", clock)
    (tmp_path / "next").symlink_to("second")
    (tmp_path / "next").rename(tmp_path / "data")
    clock.now_s += 1
    assert [keys.admit(each.encode()) for each in (old, new)] == [False, True]


@pytest.mark.parametrize("trouble", ["gone", "empty"])
def test_a_file_that_becomes_useless_is_complained_of_once_and_the_keys_from_before_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    old, new = key(), key()
    path, clock = tmp_path / "keys", Watch()
    path.write_text(old)
    keys = Keys(path, clock)
    if trouble == "gone":
        path.unlink()
    else:
        path.write_text("")
    for _ in range(5):
        clock.now_s += 1
        assert keys.admit(old.encode())
    assert len(caplog.records) == 1
    path.write_text(new)
    clock.now_s += 1
    assert keys.admit(new.encode())
    assert not keys.admit(old.encode())


def test_the_time_does_not_tell_how_much_of_a_key_was_right(tmp_path: Path) -> None:
    """Not a proof, but a comparison that ends at the first difference would differ by far more with keys this long."""
    long = "k" * 100_000
    path = tmp_path / "keys"
    path.write_text(long)
    keys = Keys(path)

    def least_s(presented: bytes) -> float:
        def once() -> float:
            started_s = time.perf_counter()
            keys.admit(presented)
            return time.perf_counter() - started_s

        return min(once() for _ in range(50))

    right, wrong = least_s(long.encode()), least_s(b"x" * len(long))
    assert 0.5 < right / wrong < 2
