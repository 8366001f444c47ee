"""A broker's turns in threads: one small run, and the line that is printed of it."""

import re

from tests.bench import threads
from tests.bench.threads import Work


def test_a_small_run() -> None:
    done = threads.measure(2, 0.01)
    assert len(done) == 2
    assert all(work.messages > 0 and work.wall_s >= 0.01 for work in done)


def test_what_is_said_of_it() -> None:
    line = threads.describe([Work(1000, 1.0, 0.5), Work(3000, 2.0, 1.5)])
    assert line == "2 threads: 2,500 messages a second, 500.000 us of processor time each, 1.25 cores busy"
    assert re.fullmatch(
        r"amqpd (pure|compiled), Python \S+( free-threaded)?, (a|no) global lock", threads.interpreter()
    )
