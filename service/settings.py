"""Every setting of the service: one frozen object; command line > environment > default.

A field `max_batch_size` is the flag `--max-batch-size` and the environment variable `RESNET_MAX_BATCH_SIZE`.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Serve a ResNet artefact over HTTP: POST an image to /classify, get its ImageNet classes."""

    model_config = SettingsConfigDict(
        env_prefix="RESNET_",
        env_ignore_empty=True,  # compose files pass on variables that nobody set
        frozen=True,
        extra="forbid",
        cli_prog_name="resnet-serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_shortcuts={"drain-delay-s": "drain-delay", "shutdown-timeout-s": "shutdown-timeout"},
    )

    # What is served
    artifacts: Path = Field(Path("artifacts"), description="Model repository: a folder of NAME/VERSION/model.onnx.")
    model: str | None = Field(
        None,
        description="NAME or NAME:VERSION; several with commas between, the first the default, * for every other name. "
        "Without a version the highest; without a name the only one there is.",
    )
    repository_poll_s: float = Field(
        0.0,
        ge=0,
        description="Seconds between looks for newer versions and replaced files, which are then served; 0 for never.",
    )
    model_admin: bool = Field(
        False,
        description="Let models be loaded and unloaded over HTTP (/v2/repository), by who has an API key: needs "
        "--api-keys-file.",
    )

    # Where
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 for any free one.")

    management_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="TCP port for health and metrics alone, which then are not to be had at the other; 0 for any free "
        "one. Without it they share that one.",
    )

    # Who may ask
    api_keys_file: Path | None = Field(
        None,
        description="File of API keys, one a line, that may be changed while the service runs: who has none is "
        "answered 401. Without it nobody needs one.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may call the service from a browser, such as https://example.org; or *."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )

    # What computes
    provider: Literal["auto", "cuda", "tensorrt", "cpu"] = Field(
        "auto",
        description="Execution provider. auto takes CUDA where it works, else the CPU; cuda and tensorrt refuse to "
        "start without.",
    )
    intra_op_num_threads: int = Field(
        0, ge=0, description="Threads per run on the CPU; 0 for the fastest arrangement of the cores at hand."
    )
    devices: Annotated[tuple[NonNegativeInt, ...], NoDecode] = Field(
        (0,), description="CUDA devices, such as 0,1: with --frontends, one engine process of each model for each."
    )
    cuda_graphs: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether runs on a card are replayed from CUDA graphs; auto for each batch size that is faster so, "
        "as measured at the start. Only with --frontends, where nothing else uses the card from the same process.",
    )
    cuda_memory_mib: int = Field(
        0, ge=0, description="Most MiB of a card's memory that runs may take for weights and activations; 0 for all."
    )
    cuda_options: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Options of ONNX Runtime's CUDA execution provider, such as use_tf32=1,fuse_conv_bias=1, before "
        "the service's own choice.",
    )
    tensorrt_cache: Path | None = Field(
        None,
        description="Folder in which --provider tensorrt keeps the engines that it builds, which takes minutes; "
        "without it they are built at each start.",
    )
    frontends: int = Field(
        0, ge=0, le=256, description="Processes for HTTP and decoding, beside the engine's; 0 for all in one process."
    )
    decoder: Literal["cpu", "gpu"] = Field(
        "cpu",
        description="What decodes JPEGs: the CPU, or the card, which takes upright ones in grey or YCbCr of less than "
        "12 megapixels (with --frontends: and of 256 KiB at most), and leaves the rest to the CPU.",
    )
    decode_threads: int = Field(0, ge=0, description="Threads that decode images; 0 for one a core at hand.")

    # Batching
    max_batch_size: int = Field(32, ge=1, le=1024, description="Images in one run of the engine at most.")
    max_queue_delay_ms: float = Field(
        0.0, ge=0, le=10_000, description="How long a batch that is not full waits for company; 0 for never."
    )
    queue_capacity: int = Field(
        512, ge=1, description="Images that may wait, or be decoded in order to wait; more are answered 429."
    )
    request_timeout_ms: float = Field(
        30_000.0,
        gt=0,
        description="Deadline of a request, from its arrival to its answer; then 504. A client can shorten it.",
    )

    cache_entries: int = Field(
        0,
        ge=0,
        description="Answers that each model keeps for pixels that come again, in each process for HTTP; 0 for none. "
        "One takes 4 bytes a class.",
    )
    engine_timeout_s: float = Field(
        20.0,
        ge=1,
        description="How long a run of the engine may take, or with --frontends any process stand still, before it "
        "counts as hung and its process is replaced.",
    )

    # Limits on what a client sends
    max_body_bytes: int = Field(
        20 * 1024 * 1024, ge=1024, description="Largest request body in bytes; larger ones are answered 413."
    )
    max_image_pixels: int = Field(
        1 << 26, ge=1, description="Largest image in pixels, checked before it is decoded; then 413."
    )
    max_images_per_request: int = Field(
        64, ge=1, description="Images in one /classify/batch request at most; then 413."
    )

    header_timeout_s: float = Field(
        10.0, gt=0, description="How long a client may take to send a request's head; then 408, and it is disconnected."
    )
    body_timeout_s: float = Field(
        20.0, gt=0, description="How long it may take to send the body, or to take in a large answer; likewise."
    )
    keep_alive_timeout_s: float = Field(
        75.0, gt=0, description="How long a connection is kept for a client that asks nothing."
    )
    max_connections: int = Field(
        4096,
        ge=1,
        description="Connections of one process at most, and half of its file descriptors: then the one that has kept "
        "it waiting longest is closed.",
    )

    # Operation
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log messages written."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines for a person, or JSON objects, one a line, for whatever collects them."
    )
    access_log: bool = Field(False, description="Write a log line for every request, with its outcome and times.")
    access_log_share: float = Field(
        1.0, gt=0, le=1, description="Share of requests that the access log has; those answered 500 all are in it."
    )
    tracing: bool = Field(
        False,
        description="Send traces by OTLP over HTTP, for which the extra [otel] must be installed. OpenTelemetry's own "
        "variables say where to and how many, such as OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER.",
    )
    drain_delay_s: float = Field(
        0.0,
        ge=0,
        description="How long requests are still answered after SIGTERM, while readiness says no already: until "
        "whoever sends them has noticed. 5 suits Kubernetes.",
    )
    shutdown_timeout_s: float = Field(
        30.0, gt=0, description="How long after SIGTERM the service has ended: the drain, and what is in flight."
    )

    @field_validator("devices", "cuda_options", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("cuda_options")
    @classmethod
    def _are_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not re.fullmatch(r"\w+=[^=]+", option):
                raise ValueError(f"{option!r} is no option with its value, such as use_tf32=1")
        return options

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not (origin == "*" or re.fullmatch(r"https?://[^/?#\s*]+", origin)):
                raise ValueError(f"{origin!r} is not an origin, such as https://example.org or http://localhost:8080")
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)  # raises a ValueError that says what is wrong
        return networks

    @model_validator(mode="after")
    def _several_devices_need_frontends(self) -> Settings:
        if not self.devices:
            raise ValueError("devices: name one at least")
        if len(self.devices) > 1 and not self.frontends:
            raise ValueError(f"{len(self.devices)} devices need an engine process each: give --frontends as well")
        return self

    @model_validator(mode="after")
    def _a_drain_leaves_time_to_finish(self) -> Settings:
        if self.drain_delay_s >= self.shutdown_timeout_s:
            raise ValueError(
                f"drain_delay_s ({self.drain_delay_s:g}) is not shorter than shutdown_timeout_s "
                f"({self.shutdown_timeout_s:g}): no time would be left for what is in flight"
            )
        return self

    @model_validator(mode="after")
    def _a_request_fits_the_queue(self) -> Settings:
        if self.max_images_per_request > self.queue_capacity:
            raise ValueError(
                f"max_images_per_request ({self.max_images_per_request}) is larger than "
                f"queue_capacity ({self.queue_capacity}): such a request could never be admitted"
            )
        return self
