"""The scenarios: a name, what it is in words, and amqpload's options. Knows nothing of brokers or of figures.

``--backlog`` keeps a producer without confirms at most so far ahead of the consumers: a steady state, not a growing
queue. The floods show the same without that restraint. The scenarios called "only" have no consumer, so that a confirm
cannot come from a message that is already acked.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scenario:
    """``beside_disk``: the disk's own commits are timed right before and after; ``long_elsewhere``: too long for the
    default of peers that are not amqpd.
    """

    name: str
    what: str
    options: tuple[str, ...]
    beside_disk: bool = False
    long_elsewhere: bool = False


def _scenario(
    name: str, what: str, options: str = "", *, beside_disk: bool = False, long_elsewhere: bool = False
) -> Scenario:
    return Scenario(name, what, tuple(options.split()), beside_disk, long_elsewhere)


_PERSISTENT: Final = "--durable --persistent"

SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        _scenario("A", "transient, no-ack", "--backlog 20000"),
        _scenario("A-flood", "A, producer unrestrained"),
        _scenario("B", "transient, ack each, prefetch 200", "--backlog 20000 --ack 1 --prefetch 200"),
        _scenario("B-flood", "B, producer unrestrained", "--ack 1 --prefetch 200"),
        _scenario("C", "B with confirms, window 200", "--confirm 200 --ack 1 --prefetch 200"),
        _scenario(
            "D",
            "durable and persistent, confirms 200, prefetch 200",
            f"{_PERSISTENT} --confirm 200 --ack 1 --prefetch 200",
        ),
        _scenario("E", "D with 2000 and 2000", f"{_PERSISTENT} --confirm 2000 --ack 1 --prefetch 2000"),
        _scenario("F-1K", "B with 1 KiB bodies", "--size 1024 --backlog 20000 --ack 1 --prefetch 200"),
        _scenario("F-64K", "B with 64 KiB bodies", "--size 65536 --backlog 1000 --ack 1 --prefetch 200"),
        _scenario("G", "fanout to 10 queues, no-ack; figures per delivery", "--fanout-queues 10 --backlog 20000"),
        _scenario("H", "topic exchange, 1000 bindings", "--exchange topic --bindings 1000 --backlog 20000"),
        _scenario(
            "H-100K",
            "topic exchange, 100,000 bindings, each key in turn",
            "--exchange topic --bindings 100000 --backlog 20000",
            long_elsewhere=True,
        ),
        _scenario(
            "I",
            "B with 10 producers, queues and consumers",
            "--producers 10 --consumers 10 --queues 10 --backlog 20000 --ack 1 --prefetch 200",
        ),
        _scenario("J-B", "B at 2,000 messages a second", "--rate 2000 --ack 1 --prefetch 200"),
        _scenario(
            "J-D",
            "D at 2,000 messages a second, window 1",
            f"--rate 2000 {_PERSISTENT} --confirm 1 --ack 1 --prefetch 200",
            beside_disk=True,
        ),
        _scenario("P-B", "B with 10 priorities", "--levels 10 --backlog 20000 --ack 1 --prefetch 200"),
        _scenario(
            "P-D",
            "D with 10 priorities",
            f"--levels 10 {_PERSISTENT} --confirm 200 --ack 1 --prefetch 200",
        ),
        _scenario("T-B", "B with a time to live, an hour", "--ttl 3600000 --backlog 20000 --ack 1 --prefetch 200"),
        _scenario(
            "T-D",
            "D with a time to live, an hour",
            f"--ttl 3600000 {_PERSISTENT} --confirm 200 --ack 1 --prefetch 200",
        ),
        _scenario("D-only", "D, no consumer", f"{_PERSISTENT} --confirm 200 --consumers 0"),
        _scenario(
            "J-only",
            "J-D, no consumer",
            f"--rate 2000 {_PERSISTENT} --confirm 1 --consumers 0",
            beside_disk=True,
        ),
        _scenario(
            "K",
            "fill 200,000 of 1 KiB (window 500), then drain",
            f"--prefill 200000 --size 1024 {_PERSISTENT} --confirm 500 --ack 1 --prefetch 500",
        ),
        _scenario("L", "connect, open and close a channel, close, one after another", "--connections-only 0"),
        _scenario("M", "1,000 idle connections with a channel each", "--idle 1000"),
        _scenario("N", "fill 60,000, then basic.get one by one, no-ack", "--prefill 60000 --confirm 500 --get"),
    )
}
