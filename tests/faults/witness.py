"""A service under a fault: callers who go on asking, an outsider who asks whether it is ready, and what both must find.

    with faulty(artifacts, *SHAPE) as service, witnessing(service, tmp_path) as witness:
        witness.settle()                     # all is well
        struck_s = time.monotonic()
        ...                                  # the fault
        witness.recovers(struck_s)           # by itself, and in time
    witness.outcomes()                       # nobody hung, nobody got another's answer, readiness told the truth

After the block of `faulty` nothing of the service is left: no process, no shared memory, no socket, no file.
"""

from __future__ import annotations

import bisect
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.crowd import BROKEN, HUNG, REFUSED, Asked, Crowd, crowding
from tests.faults.prober import Prober, Sample, probing
from tests.project.serving import free_port
from tests.service.cluster.processes import SHM, Cluster
from tests.service.serving import Service, command, environment

# What is promised. On a machine that has other things to do, all that starts takes longer; so it may take as long
# again as the whole service took to start in the first place.
BACK_WITHIN_S = 5.0
# What an answer and a sample that is older or younger by this much say about each other is nothing.
_BLUR_S = 0.3


class FaultyService(Service):
    """A running service, and how long it took to start."""

    started_in_s = 0.0
    _last_log = ""

    @property
    def log(self) -> str:
        """All that it has written so far, also once it has ended."""
        return self._last_log or super().log

    def ended(self) -> str:
        """Keep what it has written, and return it."""
        self._last_log = super().log
        return self._last_log

    def says(self, words: str) -> bool:
        """Whether its log has these words; asked so, a test that fails does not compare them with all of it."""
        return words in self.log

    def session(self) -> list[int]:
        """Return the processes of its session: itself and whoever descends from it."""
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return [pid for pid in pids if _session_of(pid) == self.pid]


def _session_of(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] == "Z" else int(fields[3])


@contextmanager
def faulty(
    artifacts: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    shm: Path = SHM,
    code: int = 0,
) -> Iterator[FaultyService]:
    """Serve `artifacts`; in the block it is ready, after it, it has ended with `code` and left nothing behind."""
    before = set(shm.iterdir())
    with tempfile.TemporaryDirectory() as folder:
        output, scratch = Path(folder) / "log", Path(folder) / "tmp"
        scratch.mkdir()
        started_s = time.monotonic()
        with output.open("wb") as log:
            # A port of its own, since a process that starts again listens where it did.
            process = subprocess.Popen(
                [*prefix, *command("--artifacts", str(artifacts), "--port", str(free_port()), *arguments)],
                cwd=ROOT,
                env=environment(TMPDIR=str(scratch)) | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = FaultyService(process, output)
        try:
            service.wait_until_ready()
            service.started_in_s = time.monotonic() - started_s
            yield service
        finally:
            try:
                ended = service.stop()
                _wait(lambda: not service.session())
            finally:
                for pid in service.session():
                    os.kill(pid, signal.SIGKILL)
            text = service.ended()
        assert ended == code, f"exit code {ended}:\n{text}"
        left = [path.name for path in scratch.iterdir()]
        assert not left, f"{left} left behind:\n{text}"
        # Others may be at work beside this test, but what is theirs goes by itself.
        _wait(lambda: not {path for path in shm.iterdir() if path.name in text} - before)


def _wait(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    limit_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < limit_s, "something is left behind"
        time.sleep(0.02)


class Witness:
    """What callers and the outsider have seen."""

    def __init__(self, service: FaultyService, crowd: Crowd, prober: Prober) -> None:
        self._service = service
        self._crowd = crowd
        self._prober = prober

    def settle(self) -> None:
        """Wait until requests are answered one after the other."""
        now_s = time.monotonic()
        self._until(lambda: self._crowd.answered_since(now_s), 30.0)

    def survives(self, here: Cluster, victim: str, number: signal.Signals = signal.SIGKILL) -> float:
        """Kill a process; wait until another has its place and all is well; return what `recovers` does."""
        struck_s = time.monotonic()
        pid = here.kill(victim, number)
        self._until(lambda: here.pid(victim) != pid, 10.0)
        return self.recovers(struck_s)

    def recovers(self, struck_s: float) -> float:
        """Wait until all is well again after a fault; return after how many seconds the first was answered again."""
        allowed_s = max(BACK_WITHIN_S, 2 * self._service.started_in_s)
        self._until(lambda: self._crowd.answered_since(struck_s) and self._prober.samples[-1].ready, 2 * allowed_s)
        later = [one for one in list(self._crowd.asked) if one.started_s >= struck_s]
        failed_s = max((one.ended_s for one in later if not one.right), default=struck_s)
        back_s = min(one.ended_s for one in later if one.right and one.ended_s >= failed_s) - struck_s
        assert back_s < allowed_s, f"back after {back_s:.1f} s only:\n{self._service.log}"
        return back_s

    def outcomes(self, *, broken: int = 0) -> Counter[int | str]:
        """Return how often each outcome came, once none of them is one that nobody may have.

        Args:
            broken: How many connections may have broken without an answer: those of a process that was killed.
        """
        asked, samples = list(self._crowd.asked), self._prober.samples
        log = self._service.log
        assert not [one for one in asked if one.outcome == HUNG], log
        assert not [one for one in asked if one.wrong], log
        counted = Counter(one.outcome for one in asked)
        assert set(counted) <= {200, 503, BROKEN, REFUSED}, f"{counted}\n{log}"
        assert counted[BROKEN] <= broken, f"{counted}\n{log}"
        lies = list(told_lies(samples, asked))
        assert not lies, f"{lies}\n{log}"
        return counted

    def _until(self, condition: Callable[[], bool], within_s: float) -> None:
        limit_s = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < limit_s, f"not in {within_s:.0f} s:\n{self._service.log}"
            time.sleep(0.02)


def told_lies(samples: Sequence[Sample], asked: Sequence[Asked]) -> Iterator[tuple[str, Asked]]:
    """Yield the requests whose outcome readiness, sampled all through them and a little around them, contradicts."""
    begun = [sample.asked_s for sample in samples]
    for one in asked:
        first = bisect.bisect_left(begun, one.started_s - _BLUR_S) - 1
        last = bisect.bisect_right(begun, one.ended_s + _BLUR_S)
        around = samples[max(0, first) : last + 1]
        if first < 0 or last >= len(samples):
            continue  # before the first or after the last sample: nobody looked
        if one.outcome == 503 and all(sample.ready for sample in around):
            yield "ready all the time, but", one
        if one.right and not any(sample.ready for sample in around):
            yield "never ready, but", one


@contextmanager
def witnessing(service: FaultyService, folder: Path, at_once: int = 4) -> Iterator[Witness]:
    """Have callers ask and an outsider look as long as the block lasts."""
    with probing(service.url, folder / "samples") as prober, crowding(service.url, at_once) as crowd:
        yield Witness(service, crowd, prober)
