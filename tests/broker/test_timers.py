"""The heap of deadlines."""

from amqpd import limits
from amqpd.broker.timers import Deadline, Timers


class Note(Deadline):
    def __init__(self, timers: Timers, notes: list[tuple[int, str]], name: str, again_at: int = 0) -> None:
        super().__init__()
        self.timers, self.notes, self.name, self.again_at = timers, notes, name, again_at

    def on_deadline(self, now_ms: int) -> None:
        self.notes.append((now_ms, self.name))
        if self.again_at:
            self.timers.set(self, self.again_at)


def test_in_order_of_their_time_and_then_of_setting() -> None:
    timers, notes = Timers(), list[tuple[int, str]]()
    for name, at in (("c", 30), ("a", 10), ("b", 10)):
        timers.set(Note(timers, notes, name), at)
    assert timers.next_ms() == 10
    assert timers.run(9) is False
    assert timers.run(30) is True
    assert notes == [(30, "a"), (30, "b"), (30, "c")]
    assert timers.next_ms() == 0


def test_set_anew_and_cleared() -> None:
    timers, notes = Timers(), list[tuple[int, str]]()
    one, other = Note(timers, notes, "one"), Note(timers, notes, "other")
    timers.set(one, 10)
    timers.set(one, 20)
    timers.set(other, 15)
    timers.clear(other)
    assert timers.next_ms() == 20
    timers.run(15)
    assert notes == []
    timers.run(20)
    assert notes == [(20, "one")]


def test_what_a_deadline_sets_waits_for_the_next_run() -> None:
    timers, notes = Timers(), list[tuple[int, str]]()
    timers.set(Note(timers, notes, "again", again_at=5), 5)
    timers.run(5)
    assert notes == [(5, "again")]
    assert timers.run(5) is True
    assert len(notes) == 2


def test_stale_entries_do_not_pile_up() -> None:
    timers, notes = Timers(), list[tuple[int, str]]()
    one = Note(timers, notes, "one")
    for at in range(1, 10 * limits.STALE_TIMERS_MAX):
        timers.set(one, at)
    assert len(timers.heap) <= limits.STALE_TIMERS_MAX + 2
    timers.run(10 * limits.STALE_TIMERS_MAX)
    assert len(notes) == 1
