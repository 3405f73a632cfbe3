"""Scores of answers whose figures can be worked out by hand."""

from __future__ import annotations

import pytest

from export.scores import BINS, Answered, score


def answered(class_index: int, leading: tuple[int, ...], probability: float = 0.5) -> Answered:
    return Answered("a.jpg", class_index, leading, probability)


def test_top_1_and_top_5_count_the_first_and_the_first_five() -> None:
    first, third, nowhere = (answered(c, (1, 2, 3, 4, 5)) for c in (1, 3, 9))
    scores = score([first, third, nowhere, first])
    assert (scores.images, scores.top1, scores.top5) == (4, 0.5, 0.75)


def test_the_calibration_error_is_the_gap_of_each_bin_weighted_by_its_images() -> None:
    # Two at 0.95, one right: |0.5 - 0.95|. Two at 0.2, both wrong: |0 - 0.2|.
    answers = [answered(1, (1,), 0.95), answered(2, (1,), 0.95), answered(2, (1,), 0.2), answered(3, (1,), 0.2)]
    scores = score(answers)
    assert scores.calibration_error == pytest.approx((0.45 + 0.2) / 2)
    assert [(each.images, each.accuracy) for each in scores.bins] == [(2, 0.0), (2, 0.5)]


def test_a_bin_takes_what_is_above_its_lower_edge_up_to_its_upper_one() -> None:
    (inside,) = score([answered(1, (1,), 1 / BINS)]).bins
    assert (inside.lower, inside.upper) == (0, pytest.approx(1 / BINS))
    (last,) = score([answered(1, (1,), 1.0)]).bins
    assert last.upper == 1
    (first,) = score([answered(1, (1,), 0.0)]).bins
    assert first.lower == 0


def test_the_worst_classes_are_those_with_the_smallest_part_right_and_say_what_they_are_taken_for() -> None:
    answers = [answered(1, (2,)), answered(1, (2,)), answered(1, (3,)), answered(2, (2,)), answered(2, (1,))]
    answers += [answered(5, (5,))]
    worst = score(answers).worst
    assert [(each.class_index, each.right, each.images) for each in worst] == [(1, 0, 3), (2, 1, 2)]  # 5 is never wrong
    assert worst[0].taken_for == ((2, 2), (3, 1))
    assert len(score(answers, worst=1).worst) == 1
