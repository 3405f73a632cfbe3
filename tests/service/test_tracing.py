"""Traces, as a real collector receives them from real processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.trace_context import TRACE, trace_id_of
from tests.service.api.greys import grey, uploads
from tests.service.apps import eventually
from tests.service.callers import ask, batcher_of
from tests.service.collector import collecting
from tests.service.fake_lanes import FakeLanes
from tests.service.serving import MAINLY_SEVERAL, environment, serving
from tests.service.virtual_time import run

TRACE_ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("shape", MAINLY_SEVERAL)
def test_a_request_is_traced_from_its_caller_to_its_batch(artifacts: Path, shape: tuple[str, ...]) -> None:
    with collecting() as collector:
        env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="50")
        with serving(artifacts, "--tracing", *shape, env=env) as service, httpx.Client(base_url=service.url) as client:
            traced = {"traceparent": f"00-{TRACE_ID}-{PARENT}-01"}
            client.post("/classify", content=grey(7), headers=traced)
            client.post(
                "/classify", content=grey(7), headers={"traceparent": f"00-{'1' * 32}-{PARENT}-00"}
            )  # unsampled
            client.post("/classify", content=b"nothing")
            # Frontends and engines send each their own, as they come to it.
            assert eventually(lambda: bool(collector.named("batch")) and len(collector.named("POST /classify")) == 2)
        (good,) = [span for span in collector.named("POST /classify") if span.trace_id.hex() == TRACE_ID]
        assert good.parent_span_id.hex() == PARENT
        children = {span.name: span for span in collector.spans if span.parent_span_id == good.span_id}
        assert set(children) == {"decode", "queue", "inference"}
        assert {span.trace_id.hex() for span in children.values()} == {TRACE_ID}
        times = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in children.values()]
        assert good.start_time_unix_nano <= min(times)[0]
        assert max(times)[1] <= good.end_time_unix_nano
        (batch,) = collector.named("batch")
        assert [(link.trace_id, link.span_id) for link in batch.links] == [(good.trace_id, good.span_id)]
        assert not [span for span in collector.spans if span.trace_id.hex() == "1" * 32]
        (bad,) = [span for span in collector.named("POST /classify") if span.trace_id.hex() != TRACE_ID]
        about = {pair.key: pair.value for pair in bad.attributes}
        assert about["http.response.status_code"].int_value == 415
        assert about["resnet.outcome"].string_value == "undecodable"
        assert bad.status.code == 0, "a client's mistake is no error of the server's"
        assert collector.services == {"resnet-serve"}


@pytest.mark.slow  # a start of its own, for what the test above sees of one request
def test_every_request_is_linked_to_from_its_batches(artifacts: Path) -> None:
    with collecting() as collector:
        env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="50")
        with serving(artifacts, "--tracing", env=env) as service:

            def images() -> int:
                about = [pair for batch in collector.named("batch") for pair in batch.attributes]
                return sum(pair.value.int_value for pair in about if pair.key == "resnet.images")

            def ask(level: int) -> None:
                assert httpx.post(f"{service.url}/classify", content=grey(level), timeout=30).status_code == 200

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(ask, range(4)))
            four = uploads(*map(grey, range(4)))
            assert httpx.post(f"{service.url}/classify/batch", files=four, timeout=30).status_code == 200
            assert eventually(lambda: images() == 8)
        requests = {span.span_id for span in collector.spans if span.name.startswith("POST ")}
        assert len(requests) == 5
        assert {link.span_id for batch in collector.named("batch") for link in batch.links} == requests


def test_a_batch_knows_the_traces_of_all_that_are_in_it() -> None:
    batches: list[tuple[list[bytes], int]] = []

    class Recorder:
        def batch(self, contexts: Iterable[bytes], images: int, seconds: float) -> None:
            batches.append((list(contexts), images))

    async def main() -> None:
        batcher = batcher_of(FakeLanes(), tracer=Recorder())

        async def call(trace: bytes) -> None:
            TRACE.set(trace)
            await ask(batcher, [1])

        await asyncio.gather(call(b"a"), call(b"b"), call(b""))

    run(main)
    assert batches == [([b"a", b"b", b""], 3)]


@pytest.mark.slow  # as long as the exporter tries at the end
def test_a_collector_that_is_gone_harms_nobody(artifacts: Path) -> None:
    with serving(artifacts, "--tracing", env=environment(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")) as service:
        for level in range(20):
            assert httpx.post(f"{service.url}/classify", content=grey(level)).status_code == 200


def test_without_it_nothing_of_opentelemetry_is_loaded() -> None:
    code = (
        "import sys; from service.app import create_app; from service.settings import Settings; import service.local;"
        "create_app(Settings()); print(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        (f"00-{TRACE_ID}-{PARENT}-01", TRACE_ID),
        (f"cc-{TRACE_ID}-{PARENT}-01-what-the-future-will-bring", TRACE_ID),
        (f"ff-{TRACE_ID}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE_ID}-{'0' * 16}-01", None),
        (f"00-{TRACE_ID.upper()}-{PARENT}-01", None),
        ("nonsense", None),
    ],
)
def test_a_trace_is_named_by_a_header_that_is_valid(header: str, trace_id: str | None) -> None:
    """W3C Trace Context, 3.2.2."""
    assert trace_id_of([(b"host", b"a"), (b"traceparent", header.encode())]) == trace_id
    assert trace_id_of([(b"host", b"a")]) is None
