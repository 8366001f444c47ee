"""What the load does and to what: exchanges, queues, who publishes where, which roles are at work, and how all of it
is read for an audit.
"""

import random
from typing import Final

from tests.durability.changers import Declarer, Deleter, Purger, audit_things, is_declared
from tests.durability.ledger import ACKED, SEEN, Ledger, Producer, Reader
from tests.durability.peer import Delivery, LoadPeer
from tests.durability.roles import (
    ConfirmPublisher,
    FencedConsumer,
    Hoarder,
    Mover,
    Picker,
    Role,
    Spectator,
    TransactionConsumer,
    TransactionPublisher,
    TransientPublisher,
)

QUEUES: Final = ("q0", "q1", "q2", "q3", "fences", "purged", "deleted", "source", "moved", "deep")
DEEP: Final = ("deep",)  # is emptied only now and then, and else only looked at
DRAINED_EVERY: Final = 8  # audits between those that empty it
VOLATILE: Final = ("here only",)  # queues that are not durable
MAY_BE_GONE: Final = ("deleted",)
AT_WORK_SHARE: Final = 0.8  # of most roles, in one run

BINDINGS: Final = (
    ("q0", "all", ""),
    ("q1", "all", ""),
    ("here only", "all", ""),
    ("q2", "route", "a"),
    ("q2", "route", "b"),
    ("q3", "route", "b"),
    ("deep", "route", "b"),
)


def make_producers() -> dict[int, Producer]:
    """Who publishes where."""
    everywhere = ("q0", "q1", "here only")
    all_of_them = (
        Producer(1, "all", "", everywhere),
        Producer(2, "all", "", everywhere),
        Producer(3, "route", "a", ("q2",)),
        Producer(4, "route", "b", ("q2", "q3", "deep")),
        Producer(5, "all", "", everywhere, persistent=False),
        Producer(6, "", "fences", ("fences",)),
        Producer(7, "", "fences", ("fences",)),
        Producer(8, "", "fences", ("fences",)),
        Producer(9, "", "fences", ("fences",)),
        Producer(10, "", "deep", ("deep",)),
        Producer(11, "", "purged", ("purged",)),
        Producer(12, "", "deleted", ("deleted",)),
        Producer(13, "", "source", ("source",)),
        Producer(14, "", "moved", ("moved",)),
        Producer(15, "", "moved", ("moved",)),
    )
    return {producer.number: producer for producer in all_of_them}


class Workload:
    """The clients' side of a campaign."""

    def __init__(self) -> None:
        self.producers = make_producers()
        self.ledger = Ledger(list(self.producers.values()), QUEUES, VOLATILE)
        self.things: dict[tuple[str, int], str] = {}
        self.is_declared = False  # all of it was, by a run before this one
        self.audits = 0

    def forget(self) -> None:
        """The data directory was emptied."""
        self.ledger.forget()
        self.things.clear()
        self.is_declared = False

    # -- topology --

    def declare(self, address: tuple[str, int]) -> None:
        """What is there already is declared again, as applications do; then the declarer's things are looked for."""
        with LoadPeer(*address) as peer:
            if self.is_declared:
                self._audit_topology(peer)
            self._declare(peer)
            audit_things(peer, self.things, self.ledger)
        self.ledger.excused_names.clear()

    def _declare(self, peer: LoadPeer) -> None:
        peer.call("exchange.declare", exchange="all", type="fanout", durable=True)
        peer.call("exchange.declare", exchange="route", type="direct", durable=True)
        for queue in (*QUEUES, *VOLATILE):
            peer.call("queue.declare", queue=queue, durable=queue in QUEUES)
        for queue, exchange, key in BINDINGS:
            peer.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
        self.is_declared = True

    def _audit_topology(self, peer: LoadPeer) -> None:
        """What was declared once is there at every start."""
        for exchange in ("all", "route"):
            if not is_declared(peer, "exchange.declare", exchange=exchange, passive=True):
                self.ledger.topology_differs(exchange, f"the exchange {exchange} is gone")
        for queue in (*QUEUES, *VOLATILE):
            is_there = is_declared(peer, "queue.declare", queue=queue, passive=True)
            if is_there == (queue in VOLATILE) and queue not in MAY_BE_GONE:
                self.ledger.topology_differs(queue, f"the queue {queue} is {'there' if is_there else 'gone'}")

    # -- load --

    def roles(self, address: tuple[str, int], seed: int) -> list[Role]:
        """Those at work in one run, not started."""
        made, ledger = self.producers, self.ledger
        seeds = random.Random(seed)

        def chance() -> int:
            return seeds.randrange(1 << 30)

        everyone: list[Role] = [
            ConfirmPublisher(made[1], address, ledger, chance()),
            ConfirmPublisher(made[2], address, ledger, chance(), pause_s=0.005),
            ConfirmPublisher(made[3], address, ledger, chance()),
            TransactionPublisher(made[4], address, ledger, chance()),
            TransientPublisher(made[5], address, ledger, chance()),
            FencedConsumer("q0", made[6], address, ledger, chance()),
            Hoarder("q0", address, ledger, chance()),
            TransactionConsumer("q1", address, ledger, chance()),
            FencedConsumer("q2", made[7], address, ledger, chance()),
            FencedConsumer("q2", made[8], address, ledger, chance(), nack_share=0.1),
            TransactionConsumer("fences", address, ledger, chance()),
            ConfirmPublisher(made[10], address, ledger, chance(), pause_s=0.02),
            Picker("deep", made[9], address, ledger, chance()),
            Spectator("here only", address, ledger, chance()),
            Purger(made[11], [made[4]], "q3", address, ledger, chance()),
            Deleter(made[12], address, ledger, chance()),
            Declarer(self.things, address, ledger, chance()),
        ]
        always: list[Role] = [  # the most telling ones
            ConfirmPublisher(made[13], address, ledger, chance(), pause_s=0.005),
            Mover("source", made[14], address, ledger, chance()),
            Mover("source", made[15], address, ledger, chance()),
        ]
        return [*always, *(role for role in everyone if seeds.random() < AT_WORK_SHARE)]

    # -- audits --

    def drain(self, address: tuple[str, int], *, is_final: bool = False) -> None:
        """Read everything there is, one reader a queue, and settle it in a transaction; then nothing may be missing.

        Deep queues are only looked at, most of the time, so that they become deep.
        """
        self.audits += 1
        kept = () if is_final or self.audits % DRAINED_EVERY == 0 else DEEP
        self.ledger.begin_audit()
        for queue in QUEUES:
            with LoadPeer(*address) as peer:
                self._read_queue(peer, queue, is_kept=queue in kept)
        self.ledger.audit([queue for queue in QUEUES if queue not in kept], kept)

    def _read_queue(self, peer: LoadPeer, queue: str, *, is_kept: bool) -> None:
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
