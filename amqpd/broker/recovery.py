"""From a store to a broker, at start: topology, and the counts and positions of messages. Reads no message.

What is damaged is told, named and put in quarantine, and the rest goes on; a record with one flipped bit is repaired.
"""

import logging
from collections.abc import Iterator
from typing import Any

from amqpd.broker import records
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import Broker
from amqpd.broker.ports import ACKS, BINDINGS, EXCHANGES, META, QUARANTINE, QUEUES, SEGMENTS, STATES, TABLES, Store
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.segments import CorruptSegment, Segment, acks_key, check_segment, queue_key, read_segment_key
from amqpd.broker.vhost import VirtualHost

logger = logging.getLogger("amqpd.recovery")

FIRST_SCHEMA = b"1"  # unsealed


class UnusableStore(Exception):
    """The store was written by another version of amqpd, or by something else."""


def check_schema(store: Store) -> bool:
    """Whether the store has a schema, that is, was used before. Raises UnusableStore."""
    value = store.read(META, records.SCHEMA_KEY)
    if value is None:
        return False
    if value == FIRST_SCHEMA:
        raise UnusableStore("was written by an amqpd from before its first release (schema 1)")
    try:
        version = int(records.decode(records.SCHEMA_KEY, value))
    except records.CorruptRecord:
        return True  # `_read` repairs it, or tells
    if version > records.SCHEMA_VERSION:
        raise UnusableStore(
            f"was written by a newer amqpd (its schema is {version}, this one reads up to {records.SCHEMA_VERSION})"
        )
    return True


def restore(broker: Broker) -> None:
    """Fill ``broker`` from its store; an empty store gets its schema version in the first batch."""
    store = broker.journal.store
    if not check_schema(store):
        broker.journal.put(META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION))
        return
    _Recovery(broker, store).run()


class _Recovery:
    """One run of it."""

    def __init__(self, broker: Broker, store: Store) -> None:
        self.broker = broker
        self.store = store
        self.journal = broker.journal
        self.segments: dict[int, list[Segment]] = {}  # by queue id
        self.acks: dict[int, dict[int, bytearray | None]] = {}  # by queue id and first position; None: damaged
        self.last_keys: dict[int, int] = {}  # by queue id: the highest position in any key

    def run(self) -> None:
        self._read_meta()
        for fact in self._facts(EXCHANGES):
            self._restore_exchange(fact)
        self._read_acks()
        self._read_segments()
        for fact in self._facts(QUEUES):
            self._restore_queue(fact)
        self._report_orphans()
        for fact in self._facts(BINDINGS):
            self._restore_binding(fact)

    # -- records --

    def _read(self, table: int, key: bytes, value: bytes) -> bytes | None:
        """A sealed value, repaired if need be; None when it is damaged beyond that, and then in quarantine."""
        try:
            return records.unseal(key, value)
        except records.CorruptRecord as error:
            body = records.repair(key, value)
            if body is not None:
                self.journal.put(table, key, records.seal(key, body))
                logger.warning("%s: a record with one flipped bit was repaired (key %s)", TABLES[table], key.hex())
            else:
                self._quarantine(table, key, value)
                logger.error("%s: %s: it is in quarantine (key %s)", TABLES[table], error, key.hex())
            return body

    def _quarantine(self, table: int, key: bytes, value: bytes) -> None:
        self.journal.put(QUARANTINE, key, value)
        self.journal.delete(table, key)

    def _facts(self, table: int) -> Iterator[Any]:
        for key, value in list(self.store.scan(table, b"")):
            body = self._read(table, key, value)
            if body is not None:
                yield records.parse(body)

    def _read_meta(self) -> None:
        for key, fallback in ((records.SCHEMA_KEY, records.SCHEMA_VERSION), (records.NEXT_QUEUE_KEY, 1)):
            value = self.store.read(META, key)
            body = None if value is None else self._read(META, key, value)
            if body is None:
                self.journal.put(META, *records.row(key, fallback))
            elif key == records.NEXT_QUEUE_KEY:
                self.broker.queue_numbers.next = records.parse(body)

    def _taken(self, queue_id: int) -> None:
        """No queue may get a number that the store knows."""
        numbers = self.broker.queue_numbers
        numbers.next = max(numbers.next, queue_id + 1)

    # -- topology --

    def _restore_exchange(self, fact: Any) -> None:
        vhost = _vhost(self.broker, fact["vhost"])
        exchange_type = vhost.check_exchange_type(fact["type"])
        vhost.exchanges[fact["name"]] = exchange_type(
            fact["name"],
            durable=True,
            auto_delete=fact["auto_delete"],
            internal=fact["internal"],
            arguments=records.table_from_json(fact["arguments"]),
        )

    def _restore_queue(self, fact: Any) -> None:
        vhost = _vhost(self.broker, fact["vhost"])
        queue_id: int = fact["id"]
        queue = ClassicQueue(
            fact["name"],
            queue_id,
            self.broker.turn,
            records.table_from_json(fact["arguments"]),
            durable=True,
            auto_delete=fact["auto_delete"],
            owner=None,
            window_bytes=self.broker.queue_window_bytes,
        )
        segments = self._settled_segments(queue)
        last_key = self.last_keys.get(queue_id, 0)
        queue.restore(segments, self._mark(queue_id, last_key), last_key)
        vhost.queues[queue.name] = queue
        self._taken(queue_id)

    def _mark(self, queue_id: int, last_key: int) -> int:
        """Up to where messages may have been delivered: everywhere, when that is not known any more."""
        key = queue_key(queue_id)
        value = self.store.read(STATES, key)
        if value is None:
            return 0
        body = self._read(STATES, key, value)
        return last_key if body is None else int.from_bytes(body, "big")

    # -- messages --

    def _read_acks(self) -> None:
        for key, value in list(self.store.scan(ACKS, b"")):
            body = self._read(ACKS, key, value)
            queue_id, first = int.from_bytes(key[:4], "big"), int.from_bytes(key[4:12], "big")
            self._note_key(queue_id, first)
            self.acks.setdefault(queue_id, {})[first] = None if body is None else bytearray(body)

    def _read_segments(self) -> None:
        damaged: list[bytes] = []
        for key in self.store.keys(SEGMENTS, b""):
            try:
                queue_id, first, last, count, size = read_segment_key(key)
            except CorruptSegment:
                damaged.append(key)
                continue
            self._add_segment(queue_id, Segment(first, last, count, size, 0, False))
        for key in damaged:
            self._restore_damaged_key(key)

    def _add_segment(self, queue_id: int, segment: Segment) -> None:
        self._note_key(queue_id, segment.last)
        self.segments.setdefault(queue_id, []).append(segment)

    def _restore_damaged_key(self, key: bytes) -> None:
        """The value knows its key."""
        value = self.store.read(SEGMENTS, key)
        own_key = b"" if value is None else value[8:40]
        try:
            check_segment(own_key, value)
        except CorruptSegment as error:
            logger.error("segments: %s: it is in quarantine", error)
            self._quarantine(SEGMENTS, key, value or b"")
            return
        assert value is not None
        queue_id, first, last, count, size = read_segment_key(own_key)
        self.journal.delete(SEGMENTS, key)
        ticket = self.journal.put(SEGMENTS, own_key, value)
        self._add_segment(queue_id, Segment(first, last, count, size, ticket, False))
        self.segments[queue_id].sort(key=_first)
        logger.warning("segment %d-%d of queue %d: its damaged key was repaired", first, last, queue_id)

    def _note_key(self, queue_id: int, position: int) -> None:
        self.last_keys[queue_id] = max(self.last_keys.get(queue_id, 0), position)
        self._taken(queue_id)

    def _settled_segments(self, queue: ClassicQueue) -> list[Segment]:
        """The segments of a queue that hold wanted messages, in order, with what of them is settled."""
        acks = self.acks.get(queue.queue_id, {})
        segments = self.segments.pop(queue.queue_id, [])
        for segment in segments:
            if segment.first in acks:
                self._apply_acks(queue, segment, acks[segment.first])
        return [segment for segment in segments if segment.live > 0]

    def _apply_acks(self, queue: ClassicQueue, segment: Segment, settled: bytearray | None) -> None:
        if settled is None or len(settled) != (segment.last - segment.first) // 8 + 1:
            words = "queue %r: which messages of segment %d-%d were acked is lost: all of them are delivered again"
            logger.error(words, queue.name, segment.first, segment.last)
            self.journal.delete(ACKS, acks_key(queue.queue_id, segment.first))
            return
        segment.settled = settled
        segment.live -= sum(byte.bit_count() for byte in settled)

    def _report_orphans(self) -> None:
        for queue_id, segments in self.segments.items():
            count = sum(segment.live for segment in segments)
            logger.error("queue number %d has lost its name: %d messages are kept, but not delivered", queue_id, count)

    def _restore_binding(self, fact: Any) -> None:
        vhost = _vhost(self.broker, fact["vhost"])
        binding = Binding(
            fact["source"],
            fact["destination"],
            fact["to_queue"],
            fact["key"],
            records.table_from_json(fact["arguments"]),
        )
        source = vhost.exchanges.get(binding.source)
        destinations = vhost.queues if binding.to_queue else vhost.exchanges
        if source is not None and binding.destination in destinations:
            if vhost.bindings.add(binding):
                source.add(binding)
            return
        words = "binding of %r to %r with key %r: one end of it is lost: it is removed"
        logger.error(words, binding.destination, binding.source, binding.key)
        self.journal.delete(BINDINGS, records.binding_key(vhost.name, binding))


def _vhost(broker: Broker, name: str) -> VirtualHost:
    return broker.find_vhost(name) or broker.add_vhost(name)


def _first(segment: Segment) -> int:
    return segment.first
