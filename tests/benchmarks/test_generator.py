from __future__ import annotations

import pytest

from benchmarks.generator import Answer, Arrivals, Order, sum_up


def test_an_order_survives_json() -> None:
    order = Order("127.0.0.1", 1, "/classify", ["a.jpg"], [(0.0, 1.0)], arrivals=(Arrivals(10.0, 0.0, 1.0),))
    again = Order.from_json(order.to_json())
    assert again.arrivals == order.arrivals
    assert [tuple(window) for window in again.windows] == order.windows


def test_latency_counts_from_when_a_request_was_due_and_a_refusals_from_when_it_was_sent() -> None:
    answers = [
        *(Answer(due_s=t, sent_s=t + 0.1, done_s=t + 0.3, status=200) for t in (1.0, 1.1, 1.2)),
        Answer(due_s=1.0, sent_s=1.2, done_s=1.25, status=429),
        Answer(due_s=1.0, sent_s=1.1, done_s=1.5, status=503),
        Answer(due_s=1.0, sent_s=1.1, done_s=1.5, status=0),
        Answer(due_s=0.0, sent_s=0.0, done_s=0.9, status=200),  # before the window
    ]
    summary = sum_up(answers, 1.0, 2.0)
    assert summary.images_per_s == pytest.approx(10)
    assert summary.p50_ms == pytest.approx(300)
    assert summary.refused_per_s == 1
    assert summary.refused_p99_ms == pytest.approx(50)
    assert summary.failed == 2
    assert summary.late_p99_ms == pytest.approx(200)


def test_an_empty_window_says_nothing() -> None:
    summary = sum_up([], 0.0, 1.0)
    assert (summary.images_per_s, summary.p50_ms, summary.refused_p99_ms, summary.failed) == (0.0, None, None, 0)
