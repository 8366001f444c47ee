from amqpd.clock import SystemClock
from amqpd.testing.clock import ManualClock


def test_it_stands_until_it_is_moved_and_never_goes_back() -> None:
    clock = ManualClock()
    before = clock.now()
    clock.move_to(before + 60.0)
    clock.move_to(before)
    assert clock.now() == before + 60.0


def test_it_begins_at_the_machines_date() -> None:
    machine, clock = SystemClock(), ManualClock()
    assert abs(clock.epoch() + clock.now() - machine.epoch() - machine.now()) < 5.0
