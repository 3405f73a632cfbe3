"""Asking a service over HTTP: `Client` for threads, `AsyncClient` for event loops, with the same methods."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from service.client.answers import Classification, Outcome
from service.client.exchange import Answer, Send, exchange
from service.client.images import encoded
from service.client.progress import bar
from service.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from service.client.images import Source

DEFAULT_URL = "http://127.0.0.1:8000"
_AHEAD = 4  # images begun, for each one at work: one that takes long holds up nobody else


class _Common:
    """What the two clients share.

    Args:
        url: Where the service is.
        api_key: Sent where the service wants one.
        model: Which of several models is to answer; by default the service's first.
        version: Which of its versions; by default the newest.
        timeout_s: Time that one image may take, with all attempts; the service is told how much of it is left.
        max_attempts: Most attempts where a connection is refused or lost. What the service refuses for now is
            asked again as long as there is time, when it says.
    """

    _opened: ClassVar[Any]  # what makes the connections

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float = 30.0,
        max_attempts: int = 6,
    ) -> None:
        self._url = f"{url.rstrip('/')}/classify"
        self._headers = {"Content-Type": "application/octet-stream"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._params = {name: value for name, value in (("model", model), ("version", version)) if value is not None}
        self._exchange = partial(exchange, timeout_s, max_attempts)
        self._http = self._opened(limits=httpx.Limits(max_connections=None))

    def _request(self, body: bytes, top_k: int | None, send: Send) -> dict[str, Any]:
        """Return the arguments of httpx's `post`."""
        left = {"X-Request-Timeout-Ms": str(max(1, int(send.timeout_s * 1000)))}
        params = self._params | ({} if top_k is None else {"top_k": str(top_k)})
        return {"content": body, "params": params, "headers": self._headers | left, "timeout": send.timeout_s}


class Client(_Common):
    """Asks a service; may be used by several threads at once.

    with Client("http://127.0.0.1:8000") as client:
        cat = client.classify("cat.jpg", top_k=3)
        for outcome in client.classify_many(Path("photos").glob("*.jpg"), progress=True):
            print(outcome.image, outcome.unwrap().top.label)
    """

    _opened = httpx.Client
    _http: httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(self, image: Source, *, top_k: int | None = None) -> Classification:
        """Return the most probable classes of an image.

        Args:
            image: A path, bytes, a file, a Pillow image or an array of pixels; see `images.encoded`.
            top_k: How many classes; the service's default is 5.

        Raises:
            ServiceError: it was refused, or there was no answer in time.
            OSError: the file cannot be read.
        """
        body = encoded(image)
        steps = self._exchange()
        step = next(steps)
        while not isinstance(step, Classification):
            if isinstance(step, Send):
                step = steps.send(self._sent(self._request(body, top_k, step)))
            else:
                time.sleep(step.seconds)
                step = next(steps)
        return step

    def _sent(self, request: dict[str, Any]) -> Answer:
        try:
            return self._http.post(self._url, **request)
        except httpx.TransportError as error:
            return error

    def classify_many(
        self, images: Iterable[Source], *, top_k: int | None = None, concurrency: int = 8, progress: bool = False
    ) -> Iterator[Outcome]:
        """Yield what becomes of each image, in their order, `concurrency` of them at a time.

        One that fails harms no other. `images` is read no further ahead than needed, so it may be endless.

        Args:
            images: As for `classify`.
            top_k: How many classes of each.
            concurrency: Images under way at a time. The service gathers them into batches.
            progress: Whether to show a bar on stderr.
        """
        due: deque[Future[Outcome]] = deque()
        pool = ThreadPoolExecutor(concurrency, "classify")
        try:
            with bar(images, progress) as advance:
                for image in images:
                    due.append(pool.submit(self._outcome, image, top_k))
                    if len(due) >= concurrency * _AHEAD:
                        yield advance(due.popleft().result())
                while due:
                    yield advance(due.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)

    def _outcome(self, image: Source, top_k: int | None) -> Outcome:
        try:
            return Outcome(image, self.classify(image, top_k=top_k))
        except (ServiceError, OSError) as error:
            return Outcome(image, error=error)


class AsyncClient(_Common):
    """Asks a service from an event loop: as `Client`, awaited.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        cat = await client.classify("cat.jpg", top_k=3)
        async for outcome in client.classify_many(paths):
            …
    """

    _opened = httpx.AsyncClient
    _http: httpx.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(self, image: Source, *, top_k: int | None = None) -> Classification:
        """Return the most probable classes of an image; see `Client.classify`."""
        body = await asyncio.to_thread(encoded, image)
        steps = self._exchange()
        step = next(steps)
        while not isinstance(step, Classification):
            if isinstance(step, Send):
                step = steps.send(await self._sent(self._request(body, top_k, step)))
            else:
                await asyncio.sleep(step.seconds)
                step = next(steps)
        return step

    async def _sent(self, request: dict[str, Any]) -> Answer:
        try:
            async with asyncio.timeout(request["timeout"]):
                return await self._http.post(self._url, **request)
        except TimeoutError as error:
            return httpx.ReadTimeout(str(error))
        except httpx.TransportError as error:
            return error

    async def classify_many(
        self, images: Iterable[Source], *, top_k: int | None = None, concurrency: int = 8, progress: bool = False
    ) -> AsyncIterator[Outcome]:
        """Yield what becomes of each image, in their order; see `Client.classify_many`."""
        due: deque[asyncio.Task[Outcome]] = deque()
        places = asyncio.Semaphore(concurrency)
        try:
            with bar(images, progress) as advance:
                for image in images:
                    due.append(asyncio.create_task(self._outcome(image, top_k, places)))
                    if len(due) >= concurrency * _AHEAD:
                        yield advance(await due.popleft())
                while due:
                    yield advance(await due.popleft())
        finally:
            for task in due:
                task.cancel()
            await asyncio.gather(*due, return_exceptions=True)

    async def _outcome(self, image: Source, top_k: int | None, places: asyncio.Semaphore) -> Outcome:
        async with places:
            try:
                return Outcome(image, await self.classify(image, top_k=top_k))
            except (ServiceError, OSError) as error:
                return Outcome(image, error=error)
