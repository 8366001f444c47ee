"""What the load does and to what: exchanges, queues, who publishes where, which roles are at work, and how all of it
is read for an audit.
"""

import random
from typing import Final

from tests.durability.ledger import ACKED, SEEN, Ledger, Producer, Reader
from tests.durability.peer import Delivery, LoadPeer
from tests.durability.roles import (
    ConfirmPublisher,
    Declarer,
    FencedConsumer,
    Hoarder,
    Role,
    TransactionConsumer,
    TransactionPublisher,
    TransientPublisher,
    audit_things,
    is_declared,
)

QUEUES: Final = ("q0", "q1", "q2", "q3", "fences")
DRAINED_EVERY: Final = 8  # audits between those that empty the deep queues as well
DEEP: Final[tuple[str, ...]] = ()


def make_producers() -> dict[int, Producer]:
    """Who publishes where."""
    all_of_them = (
        Producer(1, "all", "", ("q0", "q1")),
        Producer(2, "all", "", ("q0", "q1")),
        Producer(3, "route", "a", ("q2",)),
        Producer(4, "route", "b", ("q2", "q3")),
        Producer(5, "all", "", ("q0", "q1"), persistent=False),
        Producer(6, "", "fences", ("fences",)),
        Producer(7, "", "fences", ("fences",)),
        Producer(8, "", "fences", ("fences",)),
    )
    return {producer.number: producer for producer in all_of_them}


class Workload:
    """The clients' side of a campaign."""

    def __init__(self) -> None:
        self.producers = make_producers()
        self.ledger = Ledger(list(self.producers.values()), QUEUES)
        self.things: dict[tuple[str, int], str] = {}
        self.is_declared = False  # all of it was, by a run before this one
        self.audits = 0

    # -- topology --

    def declare(self, address: tuple[str, int]) -> None:
        """What is there already is declared again, as applications do; then the declarer's things are looked for."""
        peer = LoadPeer(*address)
        if self.is_declared:
            self._audit_topology(peer)
        peer.call("exchange.declare", exchange="all", type="fanout", durable=True)
        peer.call("exchange.declare", exchange="route", type="direct", durable=True)
        for queue in QUEUES:
            peer.call("queue.declare", queue=queue, durable=True)
        for queue in ("q0", "q1"):
            peer.call("queue.bind", queue=queue, exchange="all")
        for queue, key in (("q2", "a"), ("q2", "b"), ("q3", "b")):
            peer.call("queue.bind", queue=queue, exchange="route", routing_key=key)
        self.is_declared = True
        audit_things(peer, self.things, self.ledger)
        self.ledger.excused_names.clear()
        peer.abort()

    def _audit_topology(self, peer: LoadPeer) -> None:
        """What was declared once is there at every start."""
        for exchange in ("all", "route"):
            if not is_declared(peer, "exchange.declare", exchange=exchange, passive=True):
                self.ledger.topology_differs(exchange, f"the exchange {exchange} is gone")
        for queue in QUEUES:
            if not is_declared(peer, "queue.declare", queue=queue, passive=True):
                self.ledger.topology_differs(queue, f"the queue {queue} is gone")

    # -- load --

    def roles(self, address: tuple[str, int], seed: int) -> list[Role]:
        """Those at work in one run, not started."""
        made = self.producers
        seeds = random.Random(seed)

        def chance() -> int:
            return seeds.randrange(1 << 30)

        return [
            ConfirmPublisher(made[1], address, self.ledger, chance()),
            ConfirmPublisher(made[2], address, self.ledger, chance()),
            ConfirmPublisher(made[3], address, self.ledger, chance()),
            TransactionPublisher(made[4], address, self.ledger, chance()),
            TransientPublisher(made[5], address, self.ledger, chance()),
            FencedConsumer("q0", made[6], address, self.ledger, chance()),
            Hoarder("q0", address, self.ledger, chance()),
            TransactionConsumer("q1", address, self.ledger, chance()),
            FencedConsumer("q2", made[7], address, self.ledger, chance()),
            FencedConsumer("q2", made[8], address, self.ledger, chance(), nack_share=0.1),
            TransactionConsumer("fences", address, self.ledger, chance()),
            Declarer(self.things, address, self.ledger, chance()),
        ]

    # -- audits --

    def drain(self, address: tuple[str, int], *, is_final: bool = False) -> None:
        """Read everything there is, one reader a queue, and settle it in a transaction; then nothing may be missing.

        Deep queues are only looked at, most of the time, so that they become deep.
        """
        self.audits += 1
        kept = () if is_final or self.audits % DRAINED_EVERY == 0 else DEEP
        self.ledger.begin_audit()
        for queue in QUEUES:
            self._read_queue(address, queue, is_kept=queue in kept)
        self.ledger.audit([queue for queue in QUEUES if queue not in kept], kept)

    def _read_queue(self, address: tuple[str, int], queue: str, *, is_kept: bool) -> None:
        peer = LoadPeer(*address)
        reader = Reader(queue, is_alone=True)
        said = peer.call("queue.declare", queue=queue, passive=True)[0]["message_count"]
        peer.call("tx.select")
        _, events = peer.call("basic.consume", queue=queue)
        found = 0
        names = []
        while True:
            for event in events:
                if isinstance(event, Delivery):
                    found += 1
                    name = self.ledger.deliver(reader, event)
                    if name is not None:
                        names.append(name)
                        self.ledger.mark(queue, *name, SEEN)
            if events:
                events = list(peer.read()) if peer.wait(0.02) else []
                continue
            answer, events = peer.call("queue.declare", queue=queue, passive=True)
            if answer["message_count"] == 0 and not events:
                break
        if found != said and queue not in self.ledger.excuses:
            self.ledger.violated("count is wrong", f"queue {queue} says {said} and has {found}")
        if not is_kept:
            for name in names:
                self.ledger.mark(queue, *name, ACKED)
            peer.send_method("basic.ack", delivery_tag=0, multiple=True)
            peer.call("tx.commit")
        self.ledger.counts["read in audits"] += found
        peer.abort()
