"""From a store to a broker, at start: topology, and the counts and positions of messages. Reads no message."""

import logging

from amqpd.broker import records
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import Broker
from amqpd.broker.ports import ACKS, BINDINGS, EXCHANGES, META, QUEUES, SEGMENTS, STATES, Store
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.segments import (
    SEGMENT_HEADER_BYTES,
    CorruptSegment,
    Segment,
    queue_key,
    read_acks,
    read_segment_header,
)
from amqpd.broker.vhost import VirtualHost

logger = logging.getLogger("amqpd.recovery")


class UnusableStore(Exception):
    """The store was written by a newer amqpd, or by something else."""


def check_schema(store: Store) -> bool:
    """Whether the store has a schema, that is, was used before. Raises UnusableStore."""
    value = store.read(META, records.SCHEMA_KEY)
    if value is None:
        return False
    try:
        version = int(records.decode(value))
    except ValueError as error:
        raise UnusableStore(f"has a schema version that cannot be read: {value[:40]!r}") from error
    if version > records.SCHEMA_VERSION:
        raise UnusableStore(
            f"was written by a newer amqpd (its schema is {version}, this one reads up to {records.SCHEMA_VERSION})"
        )
    return True


def restore(broker: Broker) -> None:
    """Fill ``broker`` from its store; an empty store gets its schema version in the first batch."""
    store = broker.journal.store
    if not check_schema(store):
        broker.journal.put(META, records.SCHEMA_KEY, records.encode(records.SCHEMA_VERSION))
        return
    for _, value in store.scan(EXCHANGES, b""):
        fact = records.decode(value)
        vhost = _vhost(broker, fact["vhost"])
        exchange_type = vhost.check_exchange_type(fact["type"])
        vhost.exchanges[fact["name"]] = exchange_type(
            fact["name"],
            durable=True,
            auto_delete=fact["auto_delete"],
            internal=fact["internal"],
            arguments=records.table_from_json(fact["arguments"]),
        )
    broker.queue_numbers.next = records.decode(store.read(META, records.NEXT_QUEUE_KEY) or b"1")
    for _, value in store.scan(QUEUES, b""):
        _restore_queue(broker, store, records.decode(value))
    for _, value in store.scan(BINDINGS, b""):
        _restore_binding(broker, records.decode(value))


def _vhost(broker: Broker, name: str) -> VirtualHost:
    return broker.find_vhost(name) or broker.add_vhost(name)


def _restore_queue(broker: Broker, store: Store, fact: dict[str, object]) -> None:
    vhost = _vhost(broker, str(fact["vhost"]))
    queue_id = fact["id"]
    rows = fact["arguments"]
    assert isinstance(queue_id, int)
    assert isinstance(rows, list)
    queue = ClassicQueue(
        str(fact["name"]),
        queue_id,
        broker.turn,
        records.table_from_json(rows),
        durable=True,
        auto_delete=bool(fact["auto_delete"]),
        owner=None,
        window_bytes=broker.queue_window_bytes,
    )
    state = store.read(STATES, queue_key(queue_id))
    segments, last_key = _segments(store, queue)
    queue.restore(segments, int.from_bytes(state or b"", "big"), last_key)
    vhost.queues[queue.name] = queue


def _segments(store: Store, queue: ClassicQueue) -> tuple[list[Segment], int]:
    """The segments of a queue that hold wanted messages, in order, counted by their fronts; the last key's position.

    What is damaged keeps its key for itself: nothing new may be written over it, or be taken for acked by its acks.
    """
    acks = dict(store.scan(ACKS, queue_key(queue.queue_id)))
    last_key = max((_position(key) for key in acks), default=0)
    segments: list[Segment] = []
    for key, value in store.scan(SEGMENTS, queue_key(queue.queue_id), SEGMENT_HEADER_BYTES):
        last_key = max(last_key, _position(key))
        try:
            first, last, count = read_segment_header(value)
            if first != _position(key):
                raise CorruptSegment("a segment lies under another one's key")
            segment = Segment(first, last, count, 0, False)
            if key in acks:
                segment.settled = read_acks(acks[key])
                segment.live -= sum(byte.bit_count() for byte in segment.settled)
        except CorruptSegment as error:
            logger.error("queue %r: segment %s: %s: kept, but not delivered", queue.name, key.hex(), error)
            continue
        if segment.live > 0:
            segments.append(segment)
    return segments, last_key


def _position(key: bytes) -> int:
    return int.from_bytes(key[4:12], "big")


def _restore_binding(broker: Broker, fact: dict[str, object]) -> None:
    vhost = _vhost(broker, str(fact["vhost"]))
    rows = fact["arguments"]
    assert isinstance(rows, list)
    binding = Binding(
        str(fact["source"]),
        str(fact["destination"]),
        bool(fact["to_queue"]),
        str(fact["key"]),
        records.table_from_json(rows),
    )
    source = vhost.exchanges.get(binding.source)
    destinations = vhost.queues if binding.to_queue else vhost.exchanges
    if source is not None and binding.destination in destinations and vhost.bindings.add(binding):
        source.add(binding)
