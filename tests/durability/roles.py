"""The clients of the crash test: publishers with confirms and transactions, consumers that ack, nack, commit or hoard.

Each runs in a thread of its own until its connection ends, and writes to the ledger what it is sure of. One more
declares and deletes.
"""

import random
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from tests.durability.ledger import ACKED, ON_DISK, SETTLED, Ledger, Producer, Reader
from tests.durability.peer import Confirm, Delivery, Event, Gone, LoadPeer, publish_frames
from tests.support.raw_peer import Method, frame, method_payload

BURST: Final = 40  # publishes in one write
WINDOW: Final = 600  # publishes without a confirm yet
ACK_EVERY: Final = 60
NACK_SHARE: Final = 0.1


class Role(threading.Thread):
    """One connection and what it does there. ``up`` is set once it works; ``fault`` is an error of the role's own."""

    def __init__(self, name: str, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.address = address
        self.ledger = ledger
        self.random = random.Random(seed)
        self.up = threading.Event()
        self.fault: BaseException | None = None
        self.said = ""  # the broker's last words

    def run(self) -> None:
        peer: LoadPeer | None = None
        try:
            peer = LoadPeer(*self.address)
            self.work(peer)
        except Gone as error:
            self.said = error.said
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: the cycle reports it
            self.fault = error
        finally:
            self.up.set()
            if peer is not None:
                self.last_words(peer)
                peer.abort()

    def work(self, peer: LoadPeer) -> None:
        raise NotImplementedError

    def last_words(self, peer: LoadPeer) -> None:
        """What a killed broker has sent before is still to be read: it counts."""


class ConfirmPublisher(Role):
    """Publishes as fast as confirms come."""

    def __init__(self, producer: Producer, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(f"publisher {producer.number}", address, ledger, seed)
        self.producer = producer
        self.base = 0  # the producer's number is the sequence number of the channel and this
        self.confirmed = 0

    def work(self, peer: LoadPeer) -> None:
        peer.call("confirm.select")
        self.base = len(self.producer.sent) - 1
        self.up.set()
        while True:
            batch = []
            for _ in range(self.random.randint(1, BURST)):
                _, properties, body = self.producer.next_message()
                batch.append(publish_frames(self.producer.exchange, self.producer.key, properties, body))
            peer.send(b"".join(batch))
            self.ledger.counts["published"] += len(batch)
            while self.waiting() > WINDOW or peer.wait(0.0):
                self.take(peer.read())

    def waiting(self) -> int:
        return len(self.producer.sent) - 1 - self.base - self.confirmed

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            assert isinstance(event, Confirm), f"{self.name} got {event}"
            first = self.confirmed + 1 if event.multiple else event.tag
            assert first == self.confirmed + 1, f"{self.name}: confirmed {event.tag} behind {self.confirmed}"
            self.producer.confirm(self.base + first, self.base + event.tag)
            self.ledger.counts["confirmed"] += event.tag - self.confirmed
            self.confirmed = event.tag

    def last_words(self, peer: LoadPeer) -> None:
        if self.fault is None:
            self.take(peer.read_to_end())


class TransactionPublisher(Role):
    """Publishes a few and commits, again and again; rolls one in ten back."""

    def __init__(self, producer: Producer, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(f"transactions {producer.number}", address, ledger, seed)
        self.producer = producer

    def work(self, peer: LoadPeer) -> None:
        peer.call("tx.select")
        self.up.set()
        while True:
            is_rollback = self.random.random() < 0.1
            if is_rollback:  # numbers that were never sent: their coming back would be a phantom
                number = len(self.producer.sent) + 1_000_000
                peer.send(publish_frames(self.producer.exchange, self.producer.key, *self.producer.content(number)))
                peer.call("tx.rollback")
                continue
            first = len(self.producer.sent)
            batch = [self.producer.next_message() for _ in range(self.random.randint(1, 20))]
            last = len(self.producer.sent) - 1
            self.producer.transactions.append((first, last))
            peer.send(b"".join(publish_frames(self.producer.exchange, self.producer.key, *each[1:]) for each in batch))
            self.ledger.counts["published"] += len(batch)
            peer.call("tx.commit")
            self.producer.transactions.pop()
            self.producer.confirm(first, last)
            self.ledger.counts["confirmed"] += len(batch)


class TransientPublisher(Role):
    """Messages that must not outlive the broker, among those that must."""

    def __init__(self, producer: Producer, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(f"transient {producer.number}", address, ledger, seed)
        self.producer = producer

    def work(self, peer: LoadPeer) -> None:
        self.up.set()
        while True:
            batch = [self.producer.next_message() for _ in range(10)]
            peer.send(b"".join(publish_frames(self.producer.exchange, self.producer.key, *each[1:]) for each in batch))
            self.ledger.counts["published"] += len(batch)
            peer.wait(0.02)
            if peer.wait(0.0):
                deque(peer.read(), maxlen=0)


class FencedConsumer(Role):
    """Acks, then publishes a fence on the same channel: once that is confirmed, so are the acks. May nack some."""

    def __init__(
        self,
        queue: str,
        fence: Producer,
        address: tuple[str, int],
        ledger: Ledger,
        seed: int,
        *,
        nack_share: float = 0.0,
    ) -> None:
        super().__init__(f"consumer of {queue}", address, ledger, seed)
        self.reader = Reader(queue, self.name)
        self.fence = fence
        self.nack_share = nack_share
        self.fences: deque[tuple[int, list[tuple[int, int]]]] = deque()  # sequence number, the acks that it proves
        self.acked: list[tuple[int, int]] = []
        self.base = 0
        self.sequence = 0

    def work(self, peer: LoadPeer) -> None:
        self.base = len(self.fence.sent) - 1
        peer.call("confirm.select")
        peer.call("basic.qos", prefetch_count=400)
        peer.send_method("basic.consume", queue=self.reader.queue)
        self.up.set()
        while True:
            self.take(peer, peer.read())

    def take(self, peer: LoadPeer | None, events: Iterable[Event]) -> None:
        """``peer`` None: it is gone, only what it said counts."""
        for event in events:
            if isinstance(event, Confirm):
                self.on_confirm(event)
            elif isinstance(event, Delivery):
                name = self.ledger.deliver(self.reader, event)
                if peer is not None and name is not None:
                    self.settle(peer, event, name)
        if peer is not None and len(self.acked) >= ACK_EVERY:
            self.send_fence(peer)

    def settle(self, peer: LoadPeer, delivery: Delivery, name: tuple[int, int]) -> None:
        if self.random.random() < self.nack_share:
            peer.send_method("basic.nack", delivery_tag=delivery.tag, requeue=True)
            return
        self.ledger.mark(self.reader.queue, *name, ACKED)
        peer.send(frame(1, 1, method_payload("basic.ack", delivery_tag=delivery.tag)))
        self.acked.append(name)

    def send_fence(self, peer: LoadPeer) -> None:
        _, properties, body = self.fence.next_message()
        self.sequence += 1
        self.fences.append((self.sequence, self.acked))
        self.acked = []
        peer.send(publish_frames(self.fence.exchange, self.fence.key, properties, body))
        self.ledger.counts["published"] += 1

    def on_confirm(self, confirm: Confirm) -> None:
        while self.fences and self.fences[0][0] <= confirm.tag:
            sequence, names = self.fences.popleft()
            self.fence.confirm(self.base + sequence, self.base + sequence)
            self.ledger.counts["confirmed"] += 1
            for name in names:
                self.ledger.mark(self.reader.queue, *name, SETTLED)
            self.ledger.counts[ON_DISK] += len(names)

    def last_words(self, peer: LoadPeer) -> None:
        if self.fault is None:
            self.take(None, peer.read_to_end())


class TransactionConsumer(Role):
    """Acks in transactions; rolls some back, after which the same deliveries are acked in the next one."""

    def __init__(self, queue: str, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(f"transactions of {queue}", address, ledger, seed)
        self.reader = Reader(queue, self.name)
        self.held: list[tuple[int, int]] = []
        self.newest_tag = 0

    def work(self, peer: LoadPeer) -> None:
        peer.call("tx.select")
        peer.call("basic.qos", prefetch_count=300)
        _, events = peer.call("basic.consume", queue=self.reader.queue)
        self.up.set()
        self.take(events)
        while True:
            self.take(peer.read())
            if len(self.held) < ACK_EVERY:
                continue
            if self.random.random() < 0.2:
                peer.send_method("basic.ack", delivery_tag=self.newest_tag, multiple=True)
                self.take(peer.call("tx.rollback")[1])
            self.commit(peer)

    def commit(self, peer: LoadPeer) -> None:
        names, self.held = self.held, []
        for name in names:
            self.ledger.mark(self.reader.queue, *name, ACKED)
        peer.send_method("basic.ack", delivery_tag=self.newest_tag, multiple=True)
        _, events = peer.call("tx.commit")
        for name in names:
            self.ledger.mark(self.reader.queue, *name, SETTLED)
        self.ledger.counts[ON_DISK] += len(names)
        self.take(events)

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Delivery):
                name = self.ledger.deliver(self.reader, event)
                self.newest_tag = event.tag
                if name is not None:
                    self.held.append(name)

    def last_words(self, peer: LoadPeer) -> None:
        if self.fault is None:
            self.take(peer.read_to_end())


class Hoarder(Role):
    """Takes a hundred and keeps them, then leaves and comes again."""

    def __init__(self, queue: str, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(f"hoarder of {queue}", address, ledger, seed)
        self.reader = Reader(queue, self.name)

    def work(self, peer: LoadPeer) -> None:
        while True:
            tag = f"hoarder-{self.random.random()}"
            peer.call("basic.qos", prefetch_count=100)
            self.take(peer.call("basic.consume", queue=self.reader.queue, consumer_tag=tag)[1])
            self.up.set()
            for _ in range(self.random.randint(1, 30)):
                if peer.wait(0.01):
                    self.take(peer.read())
            self.take(peer.call("basic.cancel", consumer_tag=tag)[1])  # everything that was delivered is read now
            self.take(peer.call("basic.recover", requeue=True)[1])
            self.reader = Reader(self.reader.queue, self.name)

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Delivery):
                self.ledger.deliver(self.reader, event)

    def last_words(self, peer: LoadPeer) -> None:
        if self.fault is None:
            self.take(peer.read_to_end())


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
