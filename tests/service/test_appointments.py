"""service.appointments: whoever is refused is told a time at which it will be answered."""

from __future__ import annotations

from service.appointments import Appointments


class Watch:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_first_comes_when_there_is_room_and_the_others_after_it() -> None:
    appointments = Appointments(Watch())
    assert [appointments.wait_s(2.0, 0.5) for _ in range(4)] == [2.0, 2.5, 3.0, 3.5]


def test_nobody_is_told_less_than_a_second() -> None:
    appointments = Appointments(Watch())
    assert [appointments.wait_s(0.25, 0.5) for _ in range(4)] == [1.0, 1.0, 1.25, 1.75]


def test_what_has_passed_is_free_again() -> None:
    watch = Watch()
    appointments = Appointments(watch)
    appointments.wait_s(1.0, 10.0)
    watch.now_s += 20.0
    assert appointments.wait_s(1.0, 10.0) == 1.0


def test_nobody_is_sent_away_for_long_whoever_does_not_come_back() -> None:
    appointments = Appointments(Watch())
    assert max(appointments.wait_s(1.0, 1.0) for _ in range(1000)) == 30.0
