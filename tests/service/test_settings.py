"""Settings: command line before environment before default, each by its own name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from service.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RESNET_{name.upper()}", raising=False)


def from_command_line(*arguments: str) -> Settings:
    return CliApp.run(Settings, list(arguments))


# Where no valid value can be made of the default.
EXAMPLES = {
    "management_port": "9000",
    "cuda_options": "use_tf32=1,fuse_conv_bias=1",
    "cors_origins": "https://example.org,http://localhost:8080",
    "trusted_proxies": "10.0.0.0/8,::1",
}


def another_value(name: str) -> str:
    """Return a valid value of a setting that is not its default, as one would write it."""
    if name in EXAMPLES:
        return EXAMPLES[name]
    field = Settings.model_fields[name]
    if get_origin(field.annotation) is Literal:
        return next(str(choice) for choice in get_args(field.annotation) if choice != field.default)
    if field.annotation is bool:
        return str(not field.default).lower()
    if isinstance(field.default, tuple):
        return ",".join(str(value + 1) for value in field.default)
    if isinstance(field.default, int | float):
        most = next((limit.le for limit in field.metadata if hasattr(limit, "le")), math.inf)
        return str(field.default + 1 if field.default + 1 <= most else field.default / 2)
    return "elsewhere"


def as_written(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_a_flag_and_a_variable_and_the_flag_wins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flag, other = f"--{name.replace('_', '-')}", another_value(name)
    default = getattr(Settings(), name)
    assert as_written(getattr(from_command_line(), name)) == as_written(default) != other
    given = getattr(from_command_line(flag if other == "true" else f"{flag}={other}"), name)
    assert as_written(given) == other
    monkeypatch.setenv(f"RESNET_{name.upper()}", other)
    assert as_written(getattr(from_command_line(), name)) == other
    if isinstance(default, bool):
        assert getattr(from_command_line(flag.replace("--", "--" if default else "--no-")), name) is default
    elif default not in (None, ()):
        assert getattr(from_command_line(f"{flag}={as_written(default)}"), name) == default


def test_a_switch_needs_no_value() -> None:
    assert from_command_line("--access-log").access_log is True
    assert from_command_line("--no-access-log").access_log is False


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith(".")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("max_batch_size", 0),
        ("max_queue_delay_ms", -1),
        ("queue_capacity", 0),
        ("request_timeout_ms", 0),
        ("max_body_bytes", 0),
        ("max_image_pixels", 0),
        ("provider", "tpu"),
        ("intra_op_num_threads", -1),
        ("management_port", 65536),
        ("cors_origins", "example.org"),
        ("cors_origins", "https://example.org/"),
        ("trusted_proxies", "proxy.example.org"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("drain_delay_s", -1),
        ("shutdown_timeout_s", 0),
        ("nothing_of_the_kind", 1),
    ],
)
def test_values_that_make_no_sense_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_a_request_that_could_never_be_admitted_is_not_allowed() -> None:
    with pytest.raises(ValidationError, match="could never be admitted"):
        Settings(max_images_per_request=65, queue_capacity=64)


def test_a_drain_that_leaves_no_time_to_finish_is_not_allowed() -> None:
    with pytest.raises(ValidationError, match="no time would be left"):
        Settings(drain_delay_s=30, shutdown_timeout_s=30)


def test_the_short_names_of_the_times_to_stop_in_are_understood() -> None:
    settings = from_command_line("--drain-delay", "5", "--shutdown-timeout=20")
    assert (settings.drain_delay_s, settings.shutdown_timeout_s) == (5, 20)


def test_paths_and_names_are_taken_as_they_are() -> None:
    settings = from_command_line("--artifacts", "a/b c", "--model", "resnet18:2")
    assert (settings.artifacts, settings.model) == (Path("a/b c"), "resnet18:2")
