"""The clients of the crash test: publishers with confirms and transactions, consumers that ack, nack, commit or hoard.

Each runs in a thread of its own until its connection ends, and writes to the ledger what it is sure of. Those that
declare, delete and purge are in ``changers.py``.
"""

import random
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from tests.durability.ledger import ACKED, ON_DISK, SETTLED, Ledger, Producer, Reader
from tests.durability.peer import Confirm, Delivery, Event, Gone, LoadPeer, publish_frames
from tests.support.raw_peer import frame, method_payload

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
    """Publishes as fast as confirms come, or a little at a time."""

    def __init__(
        self, producer: Producer, address: tuple[str, int], ledger: Ledger, seed: int, *, pause_s: float = 0.0
    ) -> None:
        super().__init__(f"publisher {producer.number}", address, ledger, seed)
        self.producer = producer
        self.pause_s = pause_s
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
            while self.waiting() > WINDOW or peer.wait(self.pause_s):
                self.take(peer.read())

    def waiting(self) -> int:
        return len(self.producer.sent) - 1 - self.base - self.confirmed

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            assert isinstance(event, Confirm), f"{self.name} got {event}"
            first = self.confirmed + 1 if event.multiple else event.tag
            assert first == self.confirmed + 1, f"{self.name}: confirmed {event.tag} behind {self.confirmed}"
            if event.is_nack:
                self.ledger.counts["nacked by the broker"] += event.tag - self.confirmed
            else:
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
        if confirm.is_nack:
            return  # what comes behind it still proves the acks
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


class Picker(FencedConsumer):
    """Takes many, settles some here and there with ack or reject, gives the rest back, and comes again: it leaves
    holes."""

    def __init__(self, queue: str, fence: Producer, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(queue, fence, address, ledger, seed)
        self.name = f"picker of {queue}"

    def work(self, peer: LoadPeer) -> None:
        self.base = len(self.fence.sent) - 1
        peer.call("confirm.select")
        while True:
            self.reader = Reader(self.reader.queue, self.name)
            tag = f"picker-{self.random.random()}"
            peer.call("basic.qos", prefetch_count=self.random.choice((50, 300, 1000)))
            self.take(peer, peer.call("basic.consume", queue=self.reader.queue, consumer_tag=tag)[1])
            self.up.set()
            for _ in range(self.random.randint(1, 10)):
                if peer.wait(0.01):
                    self.take(peer, peer.read())
            self.take(peer, peer.call("basic.cancel", consumer_tag=tag)[1])
            self.take(peer, peer.call("basic.recover", requeue=True)[1])
            if self.acked:
                self.send_fence(peer)

    def settle(self, peer: LoadPeer, delivery: Delivery, name: tuple[int, int]) -> None:
        chance = self.random.random()
        if chance > 0.3:
            return  # kept until basic.recover
        self.ledger.mark(self.reader.queue, *name, ACKED)
        if chance > 0.2:
            peer.send_method("basic.reject", delivery_tag=delivery.tag, requeue=False)
        elif chance > 0.1:
            peer.send_method("basic.nack", delivery_tag=delivery.tag, requeue=False)
        else:
            peer.send_method("basic.ack", delivery_tag=delivery.tag)
        self.acked.append(name)


class Visitor(Role):
    """Consumes for a while, again and again, and acks nothing."""

    def __init__(self, kind: str, queue: str, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(f"{kind} of {queue}", address, ledger, seed)
        self.reader = Reader(queue, self.name)

    def visit(self, peer: LoadPeer, rounds: int, *, no_ack: bool) -> None:
        """One consumer from start to end: everything that it was sent is read then."""
        tag = f"visitor-{self.random.random()}"
        self.take(peer.call("basic.consume", queue=self.reader.queue, consumer_tag=tag, no_ack=no_ack)[1])
        self.up.set()
        for _ in range(self.random.randint(1, rounds)):
            if peer.wait(0.01):
                self.take(peer.read())
        self.take(peer.call("basic.cancel", consumer_tag=tag)[1])

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Delivery):
                self.ledger.deliver(self.reader, event)

    def last_words(self, peer: LoadPeer) -> None:
        if self.fault is None:
            self.take(peer.read_to_end())


class Spectator(Visitor):
    """Reads without acks, in fits and starts: deliveries are settled as they leave."""

    def __init__(self, queue: str, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__("spectator", queue, address, ledger, seed)

    def work(self, peer: LoadPeer) -> None:
        while True:
            self.visit(peer, 5, no_ack=True)
            peer.wait(self.random.uniform(0.0, 0.2))


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


class Mover(Role):
    """Takes from one queue and publishes to another, both in one transaction: what it moves is in one of the two,
    whenever the broker ends."""

    def __init__(self, queue: str, producer: Producer, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__(f"mover from {queue}", address, ledger, seed)
        self.reader = Reader(queue, self.name)
        self.producer = producer
        self.taken: deque[tuple[int, tuple[int, int]]] = deque()  # delivery tag and name

    def work(self, peer: LoadPeer) -> None:
        peer.call("tx.select")
        peer.call("basic.qos", prefetch_count=50)
        self.take(peer.call("basic.consume", queue=self.reader.queue)[1])
        self.up.set()
        while True:
            if not self.taken or peer.wait(0.0):
                self.take(peer.read())
            self.move(peer, self.random.randint(1, 5))

    def move(self, peer: LoadPeer, count: int) -> None:
        chosen = [self.taken.popleft() for _ in range(min(count, len(self.taken)))]
        first = len(self.producer.sent)
        for tag, name in chosen:
            number, properties, body = self.producer.next_message()
            self.ledger.moves.setdefault((self.reader.queue, *name), []).append((self.producer, number))
            self.ledger.mark(self.reader.queue, *name, ACKED)
            peer.send(publish_frames(self.producer.exchange, self.producer.key, properties, body))
            peer.send_method("basic.ack", delivery_tag=tag)
        self.ledger.counts["published"] += len(chosen)
        events = peer.call("tx.commit")[1]
        self.producer.confirm(first, first + len(chosen) - 1)
        self.ledger.counts["confirmed"] += len(chosen)
        for _, name in chosen:
            self.ledger.mark(self.reader.queue, *name, SETTLED)
        self.ledger.counts[ON_DISK] += len(chosen)
        self.take(events)

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Delivery):
                name = self.ledger.deliver(self.reader, event)
                if name is not None:
                    self.taken.append((event.tag, name))

    def last_words(self, peer: LoadPeer) -> None:
        if self.fault is None:
            self.take(peer.read_to_end())


class Hoarder(Visitor):
    """Takes a hundred and keeps them, then leaves and comes again."""

    def __init__(self, queue: str, address: tuple[str, int], ledger: Ledger, seed: int) -> None:
        super().__init__("hoarder", queue, address, ledger, seed)

    def work(self, peer: LoadPeer) -> None:
        while True:
            peer.call("basic.qos", prefetch_count=100)
            self.visit(peer, 30, no_ack=False)
            self.take(peer.call("basic.recover", requeue=True)[1])
            self.reader = Reader(self.reader.queue, self.name)
