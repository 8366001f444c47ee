"""A publisher floods a queue whose consumer has stopped reading: what it costs the broker and everybody else.

    python -m tests.server.flood --seconds 30 [--persistent]

Prints the broker's peak memory and its course, round trips of another connection every 10 ms (queue.declare passive,
and a publish with its get), and, after the consumer has gone on, how many messages are missing, out of order or there
twice (0 each).
"""
# ruff: noqa: T201 - a program, it prints

import argparse
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.durability.peer import Delivery, Gone, LoadPeer, publish_frames
from tests.server.serving import Served
from tests.support.raw_peer import TIMEOUT_S, RawPeer, frame, method_payload, properties

BURST: Final = 50
PROBE_EVERY_S: Final = 0.01
SAMPLE_EVERY_S: Final = 0.1
NUMBER: Final = struct.Struct(">Q")


@dataclass
class Result:
    """What was seen."""

    sent: int = 0
    received: int = 0
    missing: int = 0
    wrong: int = 0  # twice, or out of order
    flood_s: float = 0.0
    drain_s: float = 0.0
    rss_bytes: list[tuple[float, int]] = field(default_factory=list)  # (seconds, bytes)
    declares_s: list[float] = field(default_factory=list)
    gets_s: list[float] = field(default_factory=list)

    def peak_bytes(self, first_s: float = 0.0, last_s: float = float("inf")) -> int:
        return max(size for at, size in self.rss_bytes if first_s <= at <= last_s)

    def lines(self) -> list[str]:
        quarter = self.flood_s / 4
        course = [f"{self.peak_bytes(quarter * each, quarter * each + quarter) / 1e6:.0f}" for each in range(4)]
        return [
            f"{self.sent:,} messages in {self.flood_s:.1f} s, drained in {self.drain_s:.1f} s",
            f"memory: {self.rss_bytes[0][1] / 1e6:.0f} MB at first, peak {self.peak_bytes() / 1e6:.0f} MB; "
            f"by quarters of the flood {', '.join(course)} MB",
            f"queue.declare passive: {summary(self.declares_s)}",
            f"publish and get:       {summary(self.gets_s)}",
            f"lost {self.missing}, twice or out of order {self.wrong}",
        ]


def summary(seconds: list[float]) -> str:
    return (
        f"p50 {percentile(seconds, 50) * 1e3:.2f} ms, p99 {percentile(seconds, 99) * 1e3:.2f} ms, "
        f"max {max(seconds) * 1e3:.2f} ms ({len(seconds)} round trips)"
    )


def percentile(seconds: list[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100)[percent - 1]


class Flood:
    """One flood of a broker. ``size`` is that of a body."""

    def __init__(self, broker: Served, *, seconds: float, is_persistent: bool, size: int = 1000) -> None:
        self.broker = broker
        self.seconds = seconds
        self.is_persistent = is_persistent
        self.size = size
        self.result = Result()
        self.is_flooding = threading.Event()
        self.ended = threading.Event()
        self.faults: list[BaseException] = []

    def run(self) -> Result:
        consumer = LoadPeer(*self.broker.addresses[0])
        consumer.call("queue.declare", queue="flood", durable=True)
        consumer.send_method("basic.consume", queue="flood")
        threads = [
            threading.Thread(target=self._guarded, args=(work,), name=work.__name__)
            for work in (self.publish, self.probe, self.sample)
        ]
        self.began = time.monotonic()
        self.is_flooding.set()
        for thread in threads:
            thread.start()
        threads[0].join(self.seconds + TIMEOUT_S + 30.0)
        self.result.flood_s = time.monotonic() - self.began
        began = time.monotonic()
        self.drain(consumer)
        self.result.drain_s = time.monotonic() - began
        self.ended.set()
        for thread in threads:
            thread.join(30.0)
        consumer.abort()
        if self.faults:
            raise self.faults[0]
        return self.result

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the edge of a thread
            self.faults.append(error)

    def publish(self) -> None:
        peer = LoadPeer(*self.broker.addresses[0])
        mode = properties(delivery_mode=2 if self.is_persistent else 1)
        sample = publish_frames("", "flood", mode, NUMBER.pack(0) + b"x" * (self.size - NUMBER.size))
        before, after = sample[: -self.size - 1], sample[-self.size - 1 + NUMBER.size :]
        until = time.monotonic() + self.seconds
        number = 0
        while time.monotonic() < until:
            burst = b"".join(before + NUMBER.pack(number + each) + after for each in range(BURST))
            peer.send(burst)
            number += BURST
        peer.call("basic.qos")  # all has arrived
        self.result.sent = number
        peer.abort()

    def drain(self, consumer: LoadPeer) -> None:
        """Go on reading, ack every hundred, until all that was sent is here or nothing comes any more."""
        expected = 0
        while expected < self.result.sent and consumer.wait(TIMEOUT_S):
            last = None
            for event in consumer.read():
                if not isinstance(event, Delivery):
                    continue
                (number,) = NUMBER.unpack_from(event.body)
                self.result.received += 1
                self.result.wrong += number != expected or event.redelivered
                expected = number + 1
                if event.tag % 100 == 0:
                    last = event.tag
            if last is not None:
                consumer.send(frame(1, 1, method_payload("basic.ack", delivery_tag=last, multiple=True)))
        self.result.missing = self.result.sent - self.result.received

    def probe(self) -> None:
        """One connection that does a little now and then, as most do."""
        with RawPeer(*self.broker.addresses[0]) as peer:
            peer.login()
            peer.open_channel(1)
            own = peer.call(1, "queue.declare", exclusive=True)["queue"]
            while not self.ended.is_set():
                began = time.perf_counter()
                peer.call(1, "queue.declare", queue="flood", passive=True)
                middle = time.perf_counter()
                peer.publish(1, "", own, b"a")
                peer.get(1, own, b"a", no_ack=True)
                self.result.declares_s.append(middle - began)
                self.result.gets_s.append(time.perf_counter() - middle)
                time.sleep(PROBE_EVERY_S)

    def sample(self) -> None:
        while not self.ended.is_set():
            self.result.rss_bytes.append((time.monotonic() - self.began, self.broker.rss_bytes()))
            time.sleep(SAMPLE_EVERY_S)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.server.flood", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--persistent", action="store_true")
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--backend", default="asyncio")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="amqpd-flood-") as name:
        directory = Path(name)
        with Served(directory, "--data-dir", str(directory / "data"), "--backend", options.backend) as broker:
            broker.wait_ready()
            flood = Flood(broker, seconds=options.seconds, is_persistent=options.persistent, size=options.size)
            try:
                result = flood.run()
            except (Gone, OSError) as error:
                print(f"{error!r}\n{broker.log()}")
                return 1
    print("\n".join(result.lines()))
    return 1 if result.missing or result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
