"""From a store to a broker, at start: topology, and the counts and positions of messages. Reads no message.

What is damaged is told, named and put in quarantine, and the rest goes on; a record with one flipped bit is repaired.
"""

import logging
from typing import Any

from amqpd.broker import records
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import VHOST, Broker
from amqpd.broker.ports import (
    ACKS,
    BINDINGS,
    DELAYED,
    ENTITIES,
    EXCHANGES,
    META,
    QUARANTINE,
    QUEUES,
    SEEN,
    SEGMENTS,
    STATES,
    TABLES,
    Store,
)
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.segments import (
    CorruptSegment,
    Segment,
    acks_key,
    check_segment,
    own_key,
    queue_key,
    read_acks_key,
    segment_of,
)
from amqpd.broker.vhost import VirtualHost

logger = logging.getLogger("amqpd.recovery")

FIRST_SCHEMA = b"1"  # unsealed
NUMBER_MAX = (1 << 32) - 1  # of a queue or exchange, in keys


class UnusableStore(Exception):
    """The store was written by another version of amqpd, or by something else."""


def check_schema(store: Store) -> bool:
    """Whether the store has a schema, that is, was used before. Raises UnusableStore."""
    value = store.read(META, records.SCHEMA_KEY)
    if value is None:
        return any(next(store.keys(table, b""), None) for table in (META, EXCHANGES, QUEUES, SEGMENTS))
    if value == FIRST_SCHEMA:
        raise UnusableStore("was written by an amqpd from before its first release (schema 1)")
    try:
        version = int(records.decode(records.SCHEMA_KEY, value))
    except records.CorruptRecord:
        return True  # repaired below, or told
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
        for vhost in broker.vhosts.values():
            broker.save_vhost(vhost)
        return
    _Recovery(broker, store).run()


class _Recovery:
    """One run of it."""

    def __init__(self, broker: Broker, store: Store) -> None:
        self.broker = broker
        self.store = store
        self.journal = broker.journal
        self.segments: dict[int, list[Segment]] = {}  # by queue id
        self.acks: dict[tuple[int, int], bytearray] = {}  # by queue id and first position
        self.lost_acks: set[tuple[int, int]] = set()
        self.marks: dict[int, int] = {}  # by queue id: up to where messages may have been delivered
        self.has_lost_marks = False
        self.last_keys: dict[int, int] = {}  # by queue id: the highest position in any key

    def run(self) -> None:
        self._read_meta()
        self._read_marks()
        self._read_acks()
        self._read_segments()
        self._restore_entities()
        for fact in self._facts(EXCHANGES):
            self._restore_exchange(fact)
        queues = self._facts(QUEUES)
        numbers = {number for fact in queues for number in records.queue_numbers(fact)}
        self.has_lost_marks |= not self.marks.keys() <= numbers
        for fact in queues:
            self._restore_queue(fact)
        self._report_orphans()
        for table in (DELAYED, SEEN):
            self._report_lost_exchanges(table)
        for fact in self._facts(BINDINGS):
            self._restore_binding(fact)

    # -- records --

    def _read(self, table: int, key: bytes, value: bytes) -> tuple[bytes, bytes] | None:
        """Key and body of a sealed row, repaired if need be; None when it is damaged beyond that: in quarantine."""
        try:
            return key, records.unseal(key, value)
        except records.CorruptRecord as error:
            mended = records.repair(key, value)
            if mended is None:
                self._quarantine(table, key, value)
                words = "%s: %s: it is in quarantine (key %s%s)"
                logger.error(words, TABLES[table], error, key.hex(), records.claim(value))
                return None
            self.journal.delete(table, key)
            words = "%s: a record with one flipped bit was repaired (key %s)"
            if mended[0] != key and self._is_there(table, mended[0]):
                words = "%s: a record with a flipped bit in its key was written anew since, and is removed (key %s)"
                mended = None
            else:
                self.journal.put(table, mended[0], records.seal(*mended))
            logger.warning(words, TABLES[table], key.hex())
            return mended

    def _is_there(self, table: int, key: bytes) -> bool:
        """Whether there is a sound row under ``key``."""
        value = self.store.read(table, key)
        try:
            return value is not None and len(records.unseal(key, value)) > 0
        except records.CorruptRecord:
            return False

    def _rows(self, table: int) -> list[tuple[bytes, bytes]]:
        """Keys and bodies of all rows of a table that can be read."""
        rows = [self._read(table, key, value) for key, value in list(self.store.scan(table, b""))]
        return [row for row in rows if row is not None]

    def _quarantine(self, table: int, key: bytes, value: bytes) -> None:
        self.journal.put(QUARANTINE, key, value)
        self.journal.delete(table, key)
        if table == ACKS:
            self.lost_acks.add(read_acks_key(key))  # the key may be what is damaged: only to be told
        self.has_lost_marks |= table == STATES

    def _facts(self, table: int) -> list[Any]:
        return [records.parse(body) for _, body in self._rows(table)]

    def _read_meta(self) -> None:
        rows = dict(self._rows(META))
        if records.SCHEMA_KEY not in rows:
            logger.error("the store's schema version is lost: taken for %d", records.SCHEMA_VERSION)
            self.journal.put(META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION))
        elif records.parse(rows[records.SCHEMA_KEY]) < records.SCHEMA_VERSION:  # it had fewer tables: they are empty
            self.journal.put(META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION))
        self.broker.queue_numbers.next = records.parse(rows.get(records.NEXT_QUEUE_KEY, b"1"))

    def _read_marks(self) -> None:
        self.marks = {int.from_bytes(key, "big"): int.from_bytes(body, "big") for key, body in self._rows(STATES)}
        for queue_id in self.marks:
            self._taken(queue_id)

    def _taken(self, queue_id: int) -> None:
        """No queue may get a number that the store knows."""
        numbers = self.broker.queue_numbers
        numbers.next = max(numbers.next, queue_id + 1)

    # -- entities and topology --

    def _restore_entities(self) -> None:
        facts = self._facts(ENTITIES)
        vhosts = [fact for fact in facts if fact["kind"] == VHOST]
        self.broker.restore_vhosts(vhosts)
        if not vhosts:  # written before there were others
            for vhost in self.broker.vhosts.values():
                self.broker.save_vhost(vhost)
        broker = self.broker
        registries = (broker.users, broker.permissions, broker.limits, broker.policies, broker.parameters)
        by_kind = {kind: registry for registry in registries for kind in registry.KINDS}
        for fact in facts:
            if fact["kind"] in by_kind:
                by_kind[fact["kind"]].restore(fact)

    def _restore_exchange(self, fact: Any) -> None:
        vhost = _vhost(self.broker, fact["vhost"])
        exchange_type = vhost.check_exchange_type(fact["type"])
        exchange = exchange_type(
            fact["name"],
            durable=True,
            auto_delete=fact["auto_delete"],
            internal=fact["internal"],
            arguments=records.table_from_json(fact["arguments"]),
        )
        vhost.exchanges[exchange.name] = exchange
        exchange.number = fact.get("number", 0)
        if exchange.number:
            self._taken(exchange.number)
        exchange.start(vhost)

    def _restore_queue(self, fact: Any) -> None:
        vhost = _vhost(self.broker, fact["vhost"])
        arguments = records.table_from_json(fact["arguments"])
        queue = vhost.make_queue(
            fact["name"], fact["id"], arguments, durable=True, auto_delete=fact["auto_delete"], owner=None
        )
        if isinstance(queue, ClassicQueue):
            self._restore_messages(queue)
        else:
            parts = {0: queue.queue_id, **{int(priority): number for priority, number in fact.get("parts", {}).items()}}
            for priority, number in parts.items():
                self._restore_messages(queue.add_part(priority, number))
            queue.count()
        vhost.queues[queue.name] = queue
        self._taken(queue.queue_id)

    def _restore_messages(self, queue: ClassicQueue) -> None:
        segments = self._settled_segments(queue)
        last_key = self.last_keys.get(queue.queue_id, 0)
        queue.restore(segments, self._mark(queue.queue_id, last_key), last_key)
        self._taken(queue.queue_id)

    def _mark(self, queue_id: int, last_key: int) -> int:
        """Up to where messages may have been delivered: everywhere, when a mark was lost that may have been its."""
        if queue_id not in self.marks and self.has_lost_marks:
            key = queue_key(queue_id)
            self.journal.put(STATES, key, records.seal(key, last_key.to_bytes(8, "big")))
            return last_key
        return self.marks.get(queue_id, 0)

    # -- messages --

    def _read_acks(self) -> None:
        for key, body in self._rows(ACKS):
            queue_id, first = read_acks_key(key)
            self._note_key(queue_id, first)
            self.acks[queue_id, first] = bytearray(body)

    def _read_segments(self) -> None:
        damaged: list[bytes] = []
        for key in self.store.keys(SEGMENTS, b""):
            try:
                queue_id, segment = segment_of(key)
            except CorruptSegment:
                damaged.append(key)
                continue
            self._add_segment(queue_id, segment)
        for key in damaged:
            self._restore_damaged_key(key)

    def _add_segment(self, queue_id: int, segment: Segment) -> None:
        self._note_key(queue_id, segment.last)
        self.segments.setdefault(queue_id, []).append(segment)

    def _restore_damaged_key(self, key: bytes) -> None:
        """The value knows its key."""
        value = self.store.read(SEGMENTS, key)
        true_key = own_key(value or b"")
        try:
            check_segment(true_key, value)
        except CorruptSegment as error:
            logger.error("segments: %s: it is in quarantine", error)
            self._quarantine(SEGMENTS, key, value or b"")
            return
        assert value is not None
        queue_id, segment = segment_of(true_key)
        self.journal.delete(SEGMENTS, key)
        segment.ticket = self.journal.put(SEGMENTS, true_key, value)
        self._add_segment(queue_id, segment)
        self.segments[queue_id].sort(key=_first)
        words = "segment %d-%d of queue %d: its damaged key was repaired"
        logger.warning(words, segment.first, segment.last, queue_id)

    def _note_key(self, queue_id: int, position: int) -> None:
        self.last_keys[queue_id] = max(self.last_keys.get(queue_id, 0), position)
        self._taken(queue_id)

    def _settled_segments(self, queue: ClassicQueue) -> list[Segment]:
        """The segments of a queue that hold wanted messages, in order, with what of them is settled."""
        segments = self.segments.pop(queue.queue_id, [])
        for segment in segments:
            place = (queue.queue_id, segment.first)
            if place in self.acks:
                self._apply_acks(queue, segment, self.acks.pop(place))
            elif place in self.lost_acks:
                self._tell_lost_acks(queue, segment)
        return [segment for segment in segments if segment.live > 0]

    def _apply_acks(self, queue: ClassicQueue, segment: Segment, settled: bytearray) -> None:
        if len(settled) != (segment.last - segment.first) // 8 + 1:
            self._tell_lost_acks(queue, segment)
            return
        segment.settled = settled
        segment.live -= sum(byte.bit_count() for byte in settled)

    def _tell_lost_acks(self, queue: ClassicQueue, segment: Segment) -> None:
        words = "queue %r: which messages of segment %d-%d were acked is lost: all of them are delivered again"
        logger.error(words, queue.name, segment.first, segment.last)

    def _report_orphans(self) -> None:
        for queue_id, segments in self.segments.items():
            count = sum(segment.live for segment in segments)
            logger.error(
                "queue number %d has lost its name: its messages, up to %d, are kept, but not delivered",
                queue_id,
                count,
            )
        for queue_id, first in self.acks:
            if queue_id not in self.segments:
                words = "queue number %d: acks of a segment at %d, which is not there: what they acked may come again"
                logger.error(words, queue_id, first)
                self.journal.delete(ACKS, acks_key(queue_id, first))

    def _report_lost_exchanges(self, table: int) -> None:
        """What exchanges keep, under numbers that none of them has: nobody else may get these."""
        exchanges = (exchange for vhost in self.broker.vhosts.values() for exchange in vhost.exchanges.values())
        known = {exchange.number for exchange in exchanges if exchange.number}
        first: bytes | None = b""
        while first is not None and (found := self.store.range(table, first, 1)):
            key = found[0][0]
            number = int.from_bytes(key[:4], "big")
            row = None if number in known else self._read(table, key, self.store.read(table, key) or b"")
            if row is not None and row[0] == key:
                words = "exchange number %d has lost its name: its rows of %s are kept, but not used"
                logger.error(words, number, TABLES[table])
                self._taken(number)
            first = (number + 1).to_bytes(4, "big") if number < NUMBER_MAX else None

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
    return broker.find_vhost(name) or broker.make_vhost(name)


def _first(segment: Segment) -> int:
    return segment.first
