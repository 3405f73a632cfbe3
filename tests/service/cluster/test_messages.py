"""Messages survive the trip, alone and many at a time."""

from __future__ import annotations

import math

import pytest

from service.cluster import messages
from service.cluster.messages import Outcome, Sender, Submission
from service.errors import DeadlineExceeded, EngineFailed, EngineLost, NotFound, QueueFull, ServiceError, Unavailable


def test_submissions_survive() -> None:
    sent = [
        Submission(0, math.inf, 0, (7,)),
        Submission(2**63, 12345.678901, 5, tuple(range(64))),
        Submission(3, -1.5, 1, (2**32 - 1, 0)),
    ]
    message = messages.SUBMIT + b"".join(map(messages.pack_submission, sent))
    assert list(messages.unpack_submissions(message)) == sent


def test_cancellations_survive() -> None:
    numbers = [0, 1, 2**64 - 1]
    message = messages.CANCEL + b"".join(map(messages.pack_cancellation, numbers))
    assert list(messages.unpack_cancellations(message)) == numbers


@pytest.mark.parametrize(
    ("error", "arrives_as"),
    [
        (QueueFull("512 of 512 places", retry_after_s=2.5), QueueFull),
        (DeadlineExceeded("zu spät"), DeadlineExceeded),
        (EngineFailed(""), EngineFailed),
        (Unavailable("stopping", retry_after_s=1.0), Unavailable),
        (EngineLost("hangs", retry_after_s=1.0), EngineLost),
        (NotFound("nothing a batcher says"), EngineFailed),
    ],
)
def test_outcomes_survive_with_their_errors(error: ServiceError, arrives_as: type[ServiceError]) -> None:
    sent = [Outcome(1, None, 0.25, 0.5), Outcome(2, error), Outcome(3, None)]
    first, failed, last = messages.unpack_outcomes(b"".join(map(messages.pack_outcome, sent)))
    assert (first, last) == (sent[0], sent[2])
    assert failed.number == 2
    assert type(failed.error) is arrives_as
    assert failed.error.detail == error.detail
    assert failed.error.retry_after_s == error.retry_after_s


def test_the_cause_of_a_failure_arrives_with_it_for_the_log() -> None:
    failure = EngineFailed("inference failed")
    failure.__cause__ = ValueError("die Karte brennt")
    outcomes = [Outcome(1, failure), Outcome(2, None)]
    (_, error, *_), last = messages.unpack_outcomes(b"".join(map(messages.pack_outcome, outcomes)))
    assert error is not None
    assert error.detail == "inference failed"
    assert repr(error.__cause__) == "ValueError('die Karte brennt')"
    assert last == outcomes[1]


def test_a_sender_survives_as_a_routing_id_that_zeromq_accepts() -> None:
    for sender in (Sender(0, 0), Sender(255, 2**32 - 1)):
        identity = sender.to_bytes()
        assert Sender.from_bytes(identity) == sender
        assert identity[0] != 0
        assert len(identity) <= 255
