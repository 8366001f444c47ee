"""Those that declare, bind, unbind, delete and purge, and what must be so once they were answered."""

from typing import Final

from tests.durability.ledger import ACKED, CONFIRMED, SETTLED, Ledger, Producer
from tests.durability.peer import Confirm, LoadPeer, publish_frames
from tests.durability.roles import ConfirmPublisher, Role
from tests.support.raw_peer import Method

THERE: Final = "there"
GONE: Final = "gone"
UNKNOWN: Final = "unknown"
THING_KINDS: Final = ("queue", "exchange", "binding")


class Declarer(Role):
    """Declares, binds and deletes durable things, and knows which of that was answered with -ok."""

    def __init__(self, things: dict[tuple[str, int], str], address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__("declarer", address, ledger, seed)
        self.things = things

    def work(self, peer: LoadPeer) -> None:
        self.up.set()
        while True:
            kind, number = self.random.choice(THING_KINDS), self.random.randrange(12)
            is_there = self.things.get((kind, number), GONE) == THERE
            state, self.things[kind, number] = self.things.get((kind, number), GONE), UNKNOWN
            if kind == "queue" and is_there:
                self.things["binding", number] = UNKNOWN
            if not self.change(peer, kind, number, is_there=is_there):
                self.things[kind, number] = state  # there was nothing to bind
            peer.wait(0.002)

    def change(self, peer: LoadPeer, kind: str, number: int, *, is_there: bool) -> bool:
        name = f"thing-{number}"
        if kind == "queue":
            if is_there:
                peer.call("queue.delete", queue=name)
                self.things["binding", number] = GONE
            else:
                peer.call("queue.declare", queue=name, durable=True)
        elif kind == "exchange":
            if is_there:
                peer.call("exchange.delete", exchange=name)
            else:
                peer.call("exchange.declare", exchange=name, type="topic", durable=True)
        elif self.things.get(("queue", number)) != THERE:
            return False
        elif is_there:
            peer.call("queue.unbind", queue=name, exchange="route", routing_key=name)
        else:
            peer.call("queue.bind", queue=name, exchange="route", routing_key=name)
        self.things[kind, number] = GONE if is_there else THERE
        self.ledger.counts["declared, bound, deleted"] += 1
        return True


def audit_things(peer: LoadPeer, things: dict[tuple[str, int], str], ledger: Ledger) -> None:
    """Compare what was answered with -ok with what is there, and learn what the crash left undecided."""
    for (kind, number), state in sorted(things.items()):
        name = f"thing-{number}"
        if kind == "binding":
            is_there = _is_bound(peer, name)
        elif kind == "queue":
            is_there = is_declared(peer, "queue.declare", queue=name, passive=True)
        else:
            is_there = is_declared(peer, "exchange.declare", exchange=name, passive=True)
        found = THERE if is_there else GONE
        if state not in (UNKNOWN, found):
            ledger.topology_differs(name, f"{kind} {name} is {found}, but was confirmed {state}")
        things[kind, number] = found


def is_declared(peer: LoadPeer, method: str, **arguments: object) -> bool:
    """Whether a passive declaration succeeds."""
    answer, _ = peer.call(method, **arguments)
    if answer.name == "channel.close":
        peer.send_method("channel.close-ok")
        peer.call("channel.open")
        return False
    return True


def _is_bound(peer: LoadPeer, name: str) -> bool:
    """Whether a mandatory message comes back."""
    peer.send(publish_frames("route", name, b"\x00\x00", b"", mandatory=True))
    _, before = peer.call("basic.qos")
    return not any(isinstance(event, Method) and event.name == "basic.return" for event in before)


class Purger(ConfirmPublisher):
    """Publishes to a queue of its own and purges it; now and then it purges one that others publish to.

    What was purged may come back until something behind it is on disk: a message of its own, confirmed.
    """

    def __init__(
        self, own: Producer, others: list[Producer], shared: str, address: tuple[str, int], ledger: Ledger, seed: int
    ) -> None:
        super().__init__(own, address, ledger, seed)
        self.name = "purger"
        self.queue = own.queues[0]
        self.shared = shared  # nobody consumes from it
        self.others = others  # those that publish there
        self.oldest = 0  # of its own messages that are not over
        self.is_counted = False  # what is in its queue is known

    def work(self, peer: LoadPeer) -> None:
        self.oldest = self.ledger.open_from[self.queue][self.producer.number]
        peer.call("confirm.select")
        self.base = len(self.producer.sent) - 1
        self.up.set()
        while True:
            count = self.random.choice((0, 1, 5, 30, 200))
            self.publish(peer, count)
            self.purge_own(peer, count)
            if self.random.random() < 0.2:
                self.purge_shared(peer)
            peer.wait(self.random.uniform(0.0, 0.02))

    def publish(self, peer: LoadPeer, count: int) -> None:
        """So many, and wait until they are confirmed."""
        for _ in range(count):
            _, properties, body = self.producer.next_message()
            peer.send(publish_frames(self.producer.exchange, self.producer.key, properties, body))
            self.ledger.counts["published"] += 1
        while self.waiting():
            self.take(peer.read())

    def purge_own(self, peer: LoadPeer, count: int) -> None:
        newest = len(self.producer.sent) - 1
        self.ledger.mark_all(self.queue, self.producer.number, self.oldest, newest, ACKED)
        purged = peer.call("queue.purge", queue=self.queue)[0]["message_count"]
        if self.is_counted and purged != count + 1:  # the one is the fence of the purge before
            self.ledger.violated("count is wrong", f"{purged} were purged from {self.queue}, not {count + 1}")
        self.is_counted = True
        self.publish(peer, 1)
        self.ledger.mark_all(self.queue, self.producer.number, self.oldest, newest, SETTLED)
        self.oldest = newest + 1
        self.ledger.counts["purged and known to be on disk"] += purged

    def purge_shared(self, peer: LoadPeer) -> None:
        """What was confirmed before is gone; what is published meanwhile may be."""
        before = [self.confirmed_of(producer) for producer in self.others]
        try:
            purged = peer.call("queue.purge", queue=self.shared)[0]["message_count"]
        finally:  # even when the answer is lost
            for producer in self.others:
                oldest = self.ledger.open_from[self.shared][producer.number]
                self.ledger.mark_all(self.shared, producer.number, oldest, len(producer.sent) - 1, ACKED)
        self.publish(peer, 1)
        for producer, numbers in zip(self.others, before, strict=True):
            for number in numbers:
                self.ledger.mark(self.shared, producer.number, number, SETTLED)
        self.is_counted = False
        self.ledger.counts["purged and known to be on disk"] += purged

    def confirmed_of(self, producer: Producer) -> list[int]:
        oldest = self.ledger.open_from[self.shared][producer.number]
        return [number for number in range(oldest, len(producer.sent)) if producer.sent[number] == CONFIRMED]

    def last_words(self, peer: LoadPeer) -> None:
        if self.fault is None:
            self.take(event for event in peer.read_to_end() if isinstance(event, Confirm))


class Deleter(Purger):
    """Publishes to a queue of its own, deletes it with all there is in it, and declares it again."""

    def __init__(self, own: Producer, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(own, [], "", address, ledger, seed)
        self.name = "deleter"

    def work(self, peer: LoadPeer) -> None:
        self.oldest = self.ledger.open_from[self.queue][self.producer.number]
        peer.call("confirm.select")
        self.base = len(self.producer.sent) - 1
        self.up.set()
        while True:
            count = self.random.choice((0, 1, 10, 300))
            self.publish(peer, count)
            if self.random.random() < 0.3:  # the broker may end with messages in it
                peer.wait(self.random.uniform(0.0, 0.3))
            self.delete(peer, count)

    def delete(self, peer: LoadPeer, count: int) -> None:
        newest = len(self.producer.sent) - 1
        self.ledger.mark_all(self.queue, self.producer.number, self.oldest, newest, ACKED)
        deleted = peer.call("queue.delete", queue=self.queue)[0]["message_count"]
        if self.is_counted and deleted != count:
            self.ledger.violated("count is wrong", f"{deleted} were deleted with {self.queue}, not {count}")
        self.is_counted = True
        self.ledger.mark_all(self.queue, self.producer.number, self.oldest, newest, SETTLED)
        self.oldest = newest + 1
        peer.call("queue.declare", queue=self.queue, durable=True)
        self.ledger.counts["deleted with their queue"] += deleted
