"""What a soak found, in words and in an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.faults.crowd import BROKEN, HUNG, REFUSED
from tests.soak.clients import VANISHED, Sent
from tests.soak.meter import Reading

# Who had asked somebody that was then killed, or stood still until it was, could not be answered.
_MARGIN_S = 0.5
_ROWS = 12  # of the table of memory and descriptors
# What a service may say to anybody while a fault lasts: the engine failed, or there is none.
_TOLD = (500, 503, 504)


@dataclass(frozen=True)
class Struck:
    """One fault: from when until the service was well again, on `time.monotonic`, or was given up.

    Attributes:
        breaking: Whether connections may have broken, since whoever had them was killed.
        overcome: Whether it was well again.
    """

    name: str
    from_s: float
    to_s: float
    breaking: bool
    overcome: bool


@dataclass
class Report:
    """Everything that is counted.

    Attributes:
        answered: Rightly, or told rightly what was wrong with the image.
        refused: By status, while a fault lasted.
        cut: Connections that broke with the process that had them.
        lost: Nothing was heard, or a connection broke for no reason.
        wrong: Somebody else's answer, or a status that it should not have had.
    """

    sent: int
    answered: int
    refused: Counter[int]
    vanished: int
    cut: int
    lost: list[Sent]
    wrong: list[Sent]
    struck: Sequence[Struck]
    readings: Sequence[Reading]

    @property
    def exit_code(self) -> int:
        """0 if nothing was lost, nothing wrong, and every fault overcome."""
        return 1 if self.lost or self.wrong or not all(each.overcome for each in self.struck) else 0

    def lines(self) -> Iterator[str]:
        """Yield the report, line by line."""
        yield f"sent                 {self.sent}"
        yield f"answered right       {self.answered}"
        for status, count in sorted(self.refused.items()):
            yield f"refused with {status}     {count}"
        yield f"hung up themselves   {self.vanished}"
        yield f"cut with a process   {self.cut}"
        yield f"lost                 {len(self.lost)}"
        yield f"wrong                {len(self.wrong)}"
        yield from (f"  {one}" for one in [*self.lost, *self.wrong][:20])
        yield ""
        yield "fault                                    well again after"
        for each in self.struck:
            yield f"{each.name:<40} " + (f"{each.to_s - each.from_s:5.1f} s" if each.overcome else "never")
        yield ""
        yield "     s  processes  memory MiB  descriptors"
        step = max(1, len(self.readings) // _ROWS)
        for reading in self.readings[::step]:
            elapsed_s, processes, resident, descriptors = reading
            yield f"{elapsed_s:6.0f}  {processes:9}  {resident:10.0f}  {descriptors:11}"


def judge(sent: Iterable[Sent], struck: Sequence[Struck], readings: Sequence[Reading]) -> Report:
    """Sort what became of every request into what it means."""
    report = Report(0, 0, Counter(), 0, 0, [], [], struck, readings)
    for one in sent:
        report.sent += 1
        _sort(one, report)
    return report


def _sort(one: Sent, report: Report) -> None:
    outcome = one.asked.outcome
    if outcome == VANISHED:
        report.vanished += 1
    elif one.asked.wrong:
        report.wrong.append(one)
    elif outcome in one.right:
        report.answered += 1
    elif outcome in _TOLD and _during(one, report.struck):
        report.refused[int(outcome)] += 1
    elif outcome == BROKEN and _during(one, [each for each in report.struck if each.breaking]):
        report.cut += 1
    elif outcome in (HUNG, BROKEN, REFUSED):
        report.lost.append(one)
    else:
        report.wrong.append(one)


def _during(one: Sent, struck: Sequence[Struck]) -> bool:
    started_s, ended_s = one.asked.started_s, one.asked.ended_s
    return any(each.from_s - _MARGIN_S <= ended_s and started_s <= each.to_s + _MARGIN_S for each in struck)
