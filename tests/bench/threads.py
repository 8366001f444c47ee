"""``python -m tests.bench.threads``: a broker's turns in one thread, and in several, each with a broker of its own.

Nothing is shared and nothing waits: a chunk of publishes goes in, the turn delivers them to a consumer, again and
again. With one lock for all threads the sum stays that of one; in a Python without it the sum grows with the cores, and
one thread shows what going without costs. It needs neither LMDB nor a C compiler, so it runs in any Python that has
librt, and measures what is imported: PYTHONPATH chooses between a source tree and a compiled one.
"""

import argparse
import sys
import sysconfig
import threading
import time
from dataclasses import dataclass
from typing import Final

from amqpd import limits
from amqpd.broker import journal
from tests.support.wire import Peer, Server, publish

BODY: Final = b"0123456789abcdef"
WARM_CHUNKS: Final = 20


@dataclass(frozen=True, slots=True)
class Work:
    """What one thread did."""

    messages: int
    wall_s: float
    cpu_s: float


class World:
    """A broker, a producer and a consumer. Made by the thread that uses it: a Python without a global lock counts
    references to what another thread made more slowly."""

    def __init__(self) -> None:
        self.server = Server()
        self.producer = self.server.peer(1)
        self.consumer: Peer = self.server.peer(1)
        self.producer.call(1, "queue.declare", queue="q")
        self.consumer.call(1, "basic.consume", queue="q", consumer_tag="consumer", no_ack=True)
        one = publish(1, "", "q", BODY)
        self.count = limits.RECEIVE_BYTES // len(one)
        self.chunk = one * self.count

    def step(self) -> int:
        """A chunk of publishes in, as many deliveries out; how many."""
        self.producer.feed(self.chunk)
        self.server.turn()
        assert len(self.consumer.take_bytes()) > self.count * len(BODY)
        return self.count


def measure(thread_count: int, seconds: float) -> list[Work]:
    """All threads begin at the same moment."""
    together = threading.Barrier(thread_count)
    done: list[Work] = []

    def work() -> None:
        world = World()
        for _ in range(WARM_CHUNKS):
            world.step()
        together.wait()
        messages, since, busy = 0, time.perf_counter(), time.thread_time()
        while time.perf_counter() - since < seconds:
            messages += world.step()
        done.append(Work(messages, time.perf_counter() - since, time.thread_time() - busy))

    threads = [threading.Thread(target=work) for _ in range(thread_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def describe(done: list[Work]) -> str:
    messages = sum(work.messages for work in done)
    rate = sum(work.messages / work.wall_s for work in done)
    cpu_s = sum(work.cpu_s for work in done)
    cores = sum(work.cpu_s / work.wall_s for work in done)
    return (
        f"{len(done)} threads: {rate:,.0f} messages a second, {cpu_s / messages * 1e6:.3f} us of processor time each, "
        f"{cores:.2f} cores busy"
    )


def interpreter() -> str:
    is_free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    lock = "a global lock" if has_lock else "no global lock"
    kind = "pure" if str(journal.__file__).endswith(".py") else "compiled"
    return f"amqpd {kind}, Python {sys.version.split()[0]}{' free-threaded' if is_free else ''}, {lock}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.threads", description="A broker's turns, in threads.")
    parser.add_argument("--threads", type=int, default=2, help="at once, at most (2)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run (1)")
    parser.add_argument("--runs", type=int, default=3, help="of each (3)")
    arguments = parser.parse_args()
    print(interpreter())
    for _ in range(arguments.runs):
        for count in range(1, arguments.threads + 1):
            print(describe(measure(count, arguments.seconds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
