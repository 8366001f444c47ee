"""The broker as it would be if nothing mattered but being right: queues are lists, routing tries every binding.

A method of ``Model`` does what the AMQP method does and notes in ``channel.expected`` what the client must be answered.
Deliveries are not foretold: ``delivered`` judges each one that is seen, and ``check_quiet`` that none is missing.
Messages die when ``die`` is asked, one at a time, once all deliveries that could come before were seen. Refusals are
raised as ``Refused``.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

ENDLESS = 1 << 30


class Refused(Exception):
    """The channel is closed with this reply code."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


@dataclass
class Entry:
    """A message in one queue. ``redelivered`` None: after a crash, either answer is right. ``death``: where it died,
    and of what; of two reasons either one is right."""

    number: int
    body: bytes
    address: tuple[str, str]
    persistent: bool
    redelivered: bool | None = False
    priority: int = 0
    ttl: int | None = None
    expires_at: int | None = None
    death: tuple[str, set[str]] | None = None


@dataclass(frozen=True)
class Traits:
    """What arguments make of a queue. ``grave``: the queue that its dead messages go to."""

    ttl: int | None = None
    limit: int | None = None
    refuses: bool = False
    grave: str = ""
    levels: int = 0
    single: bool = False


PLAIN = Traits()


@dataclass(eq=False)
class Exchange:
    kind: str
    durable: bool = False
    auto_delete: bool = False


@dataclass(eq=False)
class Queue:
    """``ready`` is in the order of service. ``ring``: consumers in the order of their turns. ``active``: the one that
    gets messages, where there is to be only one."""

    name: str
    durable: bool
    auto_delete: bool
    owner: "Connection | None"
    traits: Traits = PLAIN
    active: "Consumer | None" = None
    ready: list[Entry] = field(default_factory=list)
    consumers: list["Consumer"] = field(default_factory=list)
    ring: list["Consumer"] = field(default_factory=list)
    deleted: bool = False

    def next_consumer(self) -> "Consumer | None":
        """Whose turn it is. Those without credit lose their place until they have some again."""
        for consumer in self.turns():
            self.ring.remove(consumer)
            if consumer.has_credit():
                self.ring.append(consumer)
                return consumer
        return None

    def turns(self) -> list["Consumer"]:
        """The ring, the highest priority first."""
        return sorted(self.ring, key=lambda consumer: -consumer.priority)

    def put(self, entry: Entry) -> None:
        if not self.deleted:
            self.ready.append(entry)
            self.ready.sort(key=lambda entry: (-min(entry.priority, self.traits.levels), entry.number))

    def put_back(self, entry: Entry) -> None:
        entry.redelivered = True
        self.put(entry)

    def is_full(self) -> bool:
        """Whether it refuses one more, once consumers have what they could take."""
        limit = self.traits.limit
        if limit is None or not self.traits.refuses:
            return False
        return len(self.ready) - sum(consumer.room() for consumer in self.ring) >= limit

    def choose_active(self) -> None:
        """The oldest of the highest priority."""
        self.active = max(self.consumers, key=lambda consumer: consumer.priority, default=None)
        if self.active:
            self.active.wake()


@dataclass(eq=False)
class Consumer:
    tag: str
    queue: Queue
    channel: "Channel"
    no_ack: bool
    exclusive: bool
    prefetch: int
    priority: int = 0
    unacked: int = 0

    def is_limited(self) -> bool:
        return not self.no_ack and 0 < self.prefetch <= self.unacked

    def could_take(self) -> bool:
        return not self.is_limited() and not 0 < self.channel.prefetch_all <= self.channel.outstanding

    def room(self) -> int:
        """How many messages it could take now."""
        if not self.could_take():
            return 0
        pairs = ((self.prefetch, self.unacked), (self.channel.prefetch_all, self.channel.outstanding))
        return min([limit - count for limit, count in pairs if limit and not self.no_ack], default=ENDLESS)

    def has_credit(self) -> bool:
        """``could_take``, and the channel remembers that it was the one to blame."""
        if not self.is_limited() and not self.could_take():
            self.channel.is_full = True
        return self.could_take()

    def wake(self) -> None:
        queue = self.queue
        if self in queue.consumers and self not in queue.ring and (not queue.traits.single or self is queue.active):
            queue.ring.append(self)


@dataclass(eq=False)
class Connection:
    channels: dict[int, "Channel"] = field(default_factory=dict)


@dataclass
class Held:
    """A publish of a transaction."""

    queues: list[Queue]
    entry: Entry
    mandatory: bool


# Delivery tag, what was delivered, and whether it is to be requeued, None for an ack.
Settled = tuple[int, tuple[Queue, Entry, Consumer | None], bool | None]


@dataclass(eq=False)
class Channel:
    connection: Connection
    consumers: dict[str, Consumer] = field(default_factory=dict)
    unacked: dict[int, tuple[Queue, Entry, Consumer | None]] = field(default_factory=dict)
    next_tag: int = 1
    prefetch: int = 0
    prefetch_all: int = 0
    outstanding: int = 0
    is_full: bool = False
    confirms: bool = False
    published: int = 0
    confirmed: int = 0
    refused: set[int] = field(default_factory=set)  # publishes to be nacked
    tx: bool = False
    held: list[Held] = field(default_factory=list)
    settled: "list[Settled]" = field(default_factory=list)
    expected: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    returns: dict[bytes, int] = field(default_factory=dict)  # bodies to be returned -> before which confirm

    def answer(self, name: str, **args: Any) -> None:
        self.expected.append((name, args))


class Model:
    """All of it. Names as in the methods of the standard."""

    def __init__(self) -> None:
        self.exchanges = {"": Exchange("direct", True), "amq.topic": Exchange("topic", True)}
        self.queues: dict[str, Queue] = {}
        self.bindings: list[tuple[str, bool, str, str, str]] = []  # source, whether to a queue, destination, key, wish
        self.connections: list[Connection] = []
        self.count = 0
        self.now_ms = 0

    # -- topology --

    def exchange_declare(self, channel: Channel, name: str, kind: str, durable: bool, auto_delete: bool) -> None:
        there = self.exchanges.setdefault(name, Exchange(kind, durable, auto_delete))
        if (there.kind, there.durable, there.auto_delete) != (kind, durable, auto_delete):
            raise Refused(406)
        channel.answer("exchange.declare-ok")

    def exchange_delete(self, channel: Channel, name: str, if_unused: bool) -> None:
        if if_unused and any(source == name for source, *_ in self.bindings):
            raise Refused(406)
        if name in self.exchanges:
            self.drop_exchange(name)
        channel.answer("exchange.delete-ok")

    def drop_exchange(self, name: str) -> None:
        del self.exchanges[name]
        self.bindings = [binding for binding in self.bindings if binding[0] != name]
        self.unbind_all(lambda binding: binding[1:3] == (False, name))

    def unbind_all(self, is_wanted: Any) -> None:
        """Remove bindings; auto-delete exchanges go with their last one."""
        gone = [binding for binding in self.bindings if is_wanted(binding)]
        self.bindings = [binding for binding in self.bindings if not is_wanted(binding)]
        for source, *_ in gone:
            exchange = self.exchanges.get(source)
            if exchange and exchange.auto_delete and not any(binding[0] == source for binding in self.bindings):
                self.drop_exchange(source)

    def bind(self, channel: Channel, to_queue: bool, source: str, name: str, key: str, wish: str) -> None:
        if source not in self.exchanges or name not in (self.queues if to_queue else self.exchanges):
            raise Refused(404)
        if to_queue:
            self.queue(channel, name)
        if (source, to_queue, name, key, wish) not in self.bindings:
            self.bindings.append((source, to_queue, name, key, wish))
        channel.answer("queue.bind-ok" if to_queue else "exchange.bind-ok")

    def unbind(self, channel: Channel, to_queue: bool, source: str, name: str, key: str, wish: str) -> None:
        self.unbind_all(lambda binding: binding == (source, to_queue, name, key, wish))
        channel.answer("queue.unbind-ok" if to_queue else "exchange.unbind-ok")

    def queue(self, channel: Channel, name: str) -> Queue:
        queue = self.queues.get(name)
        if queue is None:
            raise Refused(404)
        if queue.owner not in (None, channel.connection):
            raise Refused(405)
        return queue

    def queue_declare(
        self, channel: Channel, name: str, durable: bool, exclusive: bool, auto_delete: bool, traits: Traits = PLAIN
    ) -> None:
        if name in self.queues:
            queue = self.queue(channel, name)
            if exclusive != (queue.owner is not None):
                raise Refused(405)
            if queue.auto_delete != auto_delete or (queue.durable != durable and not exclusive):
                raise Refused(406)
        else:
            queue = Queue(name, durable, auto_delete, channel.connection if exclusive else None, traits)
            self.queues[name] = queue
        self.answer_declare(channel, queue)

    def queue_declare_passive(self, channel: Channel, name: str) -> None:
        self.answer_declare(channel, self.queue(channel, name))

    def answer_declare(self, channel: Channel, queue: Queue) -> None:
        count = {"message_count": len(queue.ready), "consumer_count": len(queue.consumers)}
        channel.answer("queue.declare-ok", queue=queue.name, **count)

    def queue_delete(self, channel: Channel, name: str, if_unused: bool, if_empty: bool) -> None:
        count = 0
        if name in self.queues:
            queue = self.queue(channel, name)
            count = len(queue.ready)
            if (if_unused and queue.consumers) or (if_empty and count):
                raise Refused(406)
            self.drop_queue(queue)
        channel.answer("queue.delete-ok", message_count=count)

    def drop_queue(self, queue: Queue) -> None:
        del self.queues[queue.name]
        queue.deleted = True
        queue.ready = []
        for consumer in queue.consumers:
            if consumer.channel.consumers.pop(consumer.tag, None):
                consumer.channel.cancels.append(consumer.tag)
        queue.consumers, queue.ring, queue.active = [], [], None
        self.unbind_all(lambda binding: binding[1:3] == (True, queue.name))

    def queue_purge(self, channel: Channel, name: str) -> None:
        queue = self.queue(channel, name)
        channel.answer("queue.purge-ok", message_count=len(queue.ready))
        queue.ready = []

    # -- messages --

    def route(self, source: str, key: str, header: str) -> list[Queue]:
        """Every queue that can be reached from the exchange by bindings that match."""
        if source == "":
            return [self.queues[key]] if key in self.queues else []
        names = {source}
        found: dict[str, Queue] = {}
        while True:
            before = (len(names), len(found))
            for start, to_queue, name, pattern, wish in self.bindings:
                if start in names and matches(self.exchanges[start].kind, pattern, key, wish, header):
                    if to_queue:
                        found[name] = self.queues[name]
                    else:
                        names.add(name)
            if before == (len(names), len(found)):
                return list(found.values())

    def publish(self, channel: Channel, entry: Entry, header: str, *, mandatory: bool) -> None:
        exchange, key = entry.address
        if exchange not in self.exchanges:
            raise Refused(404)
        held = Held(self.route(exchange, key, header), entry, mandatory)
        if channel.tx:
            channel.held.append(held)
        else:
            channel.published += 1
            if not self.enqueue(channel, held):
                channel.refused.add(channel.published)

    def enqueue(self, channel: Channel, held: Held) -> bool:
        """Whether all of its queues take it."""
        queues = [queue for queue in held.queues if not queue.deleted]
        if held.mandatory and not queues:
            channel.returns[held.entry.body] = channel.published
        refused = [queue for queue in queues if not self.put(queue, held.entry)]
        for queue in refused:
            self.bury(queue, held.entry, {"maxlen"})
        return not refused

    def put(self, queue: Queue, entry: Entry) -> bool:
        if queue.is_full():
            return False
        self.count += 1
        times = [time for time in (entry.ttl, queue.traits.ttl) if time is not None]
        expires_at = self.now_ms + min(times) if times else None
        queue.put(replace(entry, number=self.count, expires_at=expires_at))
        return True

    # -- deaths --

    def die(self) -> bool:
        """A message that must not stay is gone; False when there is none, or consumers must have theirs first."""
        for queue in self.queues.values():
            reasons = self.reasons(queue)
            if reasons == {"maxlen"}:
                if any(consumer.could_take() for consumer in queue.ring):
                    continue
                queue.next_consumer()  # all were asked
            if reasons:
                self.bury(queue, queue.ready.pop(0), reasons)
                return True
        return False

    def reasons(self, queue: Queue) -> set[str]:
        """Why the head must not stay."""
        limit = ENDLESS if queue.traits.limit is None or queue.traits.refuses else queue.traits.limit
        is_expired = bool(queue.ready) and self.is_expired(queue.ready[0])
        return ({"expired"} if is_expired else set()) | ({"maxlen"} if len(queue.ready) > limit else set())

    def is_expired(self, entry: Entry) -> bool:
        return entry.expires_at is not None and entry.expires_at < self.now_ms

    def bury(self, queue: Queue, entry: Entry, reasons: set[str]) -> None:
        grave = self.queues.get(queue.traits.grave)
        if grave is not None:
            self.put(
                grave,
                replace(entry, address=("", grave.name), ttl=None, redelivered=False, death=(queue.name, reasons)),
            )

    def consume(self, channel: Channel, name: str, tag: str, no_ack: bool, exclusive: bool, priority: int) -> None:
        queue = self.queue(channel, name)
        if exclusive and (queue.consumers or queue.traits.single):
            raise Refused(403)
        if queue.consumers and queue.consumers[0].exclusive:
            raise Refused(403)
        consumer = Consumer(tag, queue, channel, no_ack, exclusive, channel.prefetch, priority)
        channel.consumers[tag] = consumer
        queue.consumers.append(consumer)
        queue.active = queue.active or consumer
        consumer.wake()
        channel.answer("basic.consume-ok", consumer_tag=tag)

    def cancel(self, channel: Channel, tag: str) -> None:
        if tag in channel.consumers:
            self.drop_consumer(channel.consumers.pop(tag))
        channel.answer("basic.cancel-ok", consumer_tag=tag)

    def drop_consumer(self, consumer: Consumer) -> None:
        queue = consumer.queue
        if queue.deleted:
            return
        queue.consumers.remove(consumer)
        queue.ring = [other for other in queue.ring if other is not consumer]
        if queue.active is consumer:
            queue.choose_active()
        if queue.auto_delete and not queue.consumers:
            self.drop_queue(queue)

    def qos(self, channel: Channel, count: int, for_all: bool) -> None:
        if for_all:
            channel.prefetch_all = count
        else:
            channel.prefetch = count
            channel.prefetch_all = 0  # RabbitMQ: the later of the two kinds lifts a limit of the channel
            for consumer in channel.consumers.values():
                consumer.wake()
            channel.prefetch_all = 0  # RabbitMQ: it lifts the limit of the channel
        self.wake_all(channel)
        channel.answer("basic.qos-ok")

    def get(self, channel: Channel, name: str, no_ack: bool) -> None:
        queue = self.queue(channel, name)
        if not queue.ready:
            channel.answer("basic.get-empty")
            return
        entry = queue.ready.pop(0)
        channel.answer(
            "basic.get-ok",
            delivery_tag=self.hand_out(channel, queue, entry, None, keep=not no_ack),
            message_count=len(queue.ready),
            entry=Entry(**vars(entry)),
        )

    def hand_out(self, channel: Channel, queue: Queue, entry: Entry, consumer: Consumer | None, *, keep: bool) -> int:
        tag = channel.next_tag
        channel.next_tag += 1
        if keep:
            channel.unacked[tag] = (queue, entry, consumer)
            if consumer:
                consumer.unacked += 1
                channel.outstanding += 1
        return tag

    def can_be_delivered(self, channel: Channel, tag: str, body: bytes) -> bool:
        """Whether the delivery comes at all, and no other delivery of its queue must be seen before."""
        consumer = channel.consumers.get(tag)
        if consumer is None or not consumer.queue.ready or consumer.queue.ready[0].body != body:
            return False
        if self.is_expired(consumer.queue.ready[0]):
            return False
        return next((other for other in consumer.queue.turns() if other.could_take()), None) is consumer

    def delivered(self, channel: Channel, tag: str) -> tuple[int, Entry]:
        """The client saw a delivery to this consumer: which it should have been."""
        consumer = channel.consumers[tag]
        consumer.queue.next_consumer()
        entry = consumer.queue.ready.pop(0)
        return self.hand_out(channel, consumer.queue, entry, consumer, keep=not consumer.no_ack), entry

    def check_quiet(self) -> None:
        """Nothing is ready for a consumer that could have it."""
        for queue in self.queues.values():
            if queue.ready:
                idle = queue.next_consumer()
                assert idle is None, f"{len(queue.ready)} messages are ready in {queue.name}, and {idle.tag} has none"

    # -- settling --

    def settle(self, channel: Channel, tag: int, *, multiple: bool, requeue: bool | None) -> None:
        """ack (requeue None), nack, reject."""
        if not (multiple and tag == 0) and tag not in channel.unacked:
            raise Refused(406)
        tags = [known for known in channel.unacked if known == tag or (multiple and (tag == 0 or known < tag))]
        settled = [(known, channel.unacked.pop(known), requeue) for known in tags]
        if channel.tx:
            channel.settled += settled
        else:
            self.finish(settled)

    def finish(self, settled: "list[Settled]") -> None:
        back: dict[Queue, None] = {}
        for _, (queue, entry, consumer), requeue in settled:
            if consumer:
                channel = consumer.channel
                consumer.unacked -= 1
                channel.outstanding -= 1
                consumer.wake()
                if channel.is_full:
                    self.wake_all(channel)
            if requeue:
                queue.put_back(entry)
                back[queue] = None
            elif requeue is False and not queue.deleted:
                self.bury(queue, entry, {"rejected"})
        for queue in back:  # what is too much now goes before it finds a consumer
            while reasons := self.reasons(queue):
                self.bury(queue, queue.ready.pop(0), reasons)

    def wake_all(self, channel: Channel) -> None:
        channel.is_full = False
        for consumer in channel.consumers.values():
            consumer.wake()

    def recover(self, channel: Channel) -> None:
        self.put_back_all(channel)
        channel.answer("basic.recover-ok")

    def put_back_all(self, channel: Channel) -> None:
        settled: list[Settled] = [(tag, unacked, True) for tag, unacked in channel.unacked.items()]
        channel.unacked = {}
        self.finish(settled)

    # -- confirms and transactions --

    def confirm_select(self, channel: Channel) -> None:
        if channel.tx:
            raise Refused(406)
        if not channel.confirms:
            channel.confirms = True
            channel.published, channel.refused = 0, set()
        channel.answer("confirm.select-ok")

    def tx_select(self, channel: Channel) -> None:
        if channel.confirms:
            raise Refused(406)
        channel.tx = True
        channel.answer("tx.select-ok")

    def tx_commit(self, channel: Channel) -> None:
        if not channel.tx:
            raise Refused(406)
        held, channel.held = channel.held, []
        settled, channel.settled = channel.settled, []
        taken = [self.enqueue(channel, publish) for publish in held]
        for each in settled:
            self.finish([each])
        if not all(taken):
            raise Refused(406)
        channel.answer("tx.commit-ok")

    def tx_rollback(self, channel: Channel) -> None:
        if not channel.tx:
            raise Refused(406)
        self.roll_back(channel)
        channel.answer("tx.rollback-ok")

    def roll_back(self, channel: Channel) -> None:
        channel.held = []
        channel.unacked |= {tag: unacked for tag, unacked, _ in channel.settled}
        channel.unacked = dict(sorted(channel.unacked.items()))
        channel.settled = []

    # -- ends --

    def release(self, channels: list[Channel]) -> None:
        """These channels end: first all consumers go, so that what goes back does not come back to them."""
        for channel in channels:
            consumers, channel.consumers = channel.consumers, {}
            for consumer in consumers.values():
                self.drop_consumer(consumer)
        for channel in channels:
            self.roll_back(channel)
            self.put_back_all(channel)
            channel.expected, channel.cancels, channel.returns = [], [], {}

    def disconnect(self, connection: Connection) -> None:
        self.release(list(connection.channels.values()))
        for queue in list(self.queues.values()):
            if queue.owner is connection:
                self.drop_queue(queue)

    def restart(self, *, is_crash: bool) -> None:
        """What is durable is left. Unless it was a crash, everybody had left in good order."""
        if is_crash:
            for queue, entry in self.unacked():
                queue.put_back(entry)
        self.connections = []
        self.queues = {name: queue for name, queue in self.queues.items() if queue.durable and queue.owner is None}
        for queue in self.queues.values():
            queue.consumers, queue.ring, queue.active = [], [], None
            queue.ready = [entry for entry in queue.ready if entry.persistent]
            for entry in queue.ready:
                if is_crash and not entry.redelivered:
                    entry.redelivered = None
        self.exchanges = {name: exchange for name, exchange in self.exchanges.items() if exchange.durable}
        self.bindings = [
            binding
            for binding in self.bindings
            if binding[0] in self.exchanges and binding[2] in (self.queues if binding[1] else self.exchanges)
        ]

    def unacked(self) -> list[tuple[Queue, Entry]]:
        """What all channels have, acks that wait for a commit included."""
        return [
            unacked[:2]
            for connection in self.connections
            for channel in connection.channels.values()
            for unacked in (*channel.unacked.values(), *(settled[1] for settled in channel.settled))
        ]


def matches(kind: str, pattern: str, key: str, wish: str, header: str) -> bool:
    """``wish`` and ``header`` are the value of the one header that there is."""
    if kind == "headers":
        return wish in ("", header)
    if kind == "topic":
        words = [{"*": "[^.]+", "#": ".*"}.get(word, re.escape(word)) for word in pattern.split(".")]
        expression = r"\.".join(words).replace(r"\..*", r"(\..*)?").replace(r".*\.", r"(.*\.)?")
        return re.fullmatch(expression, key) is not None
    return kind == "fanout" or pattern == key
