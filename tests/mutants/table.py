"""The mutants: one rule of the broker broken each, and the tests that must notice."""

from dataclasses import dataclass
from typing import Final

CHANNEL: Final = "tests/protocols/amqp091/test_channel.py"
CONNECTION: Final = "tests/protocols/amqp091/test_connection.py"
FRAMES: Final = "tests/twins/test_frames.py"
SEGMENTS: Final = "tests/broker/queues/test_segments.py"
BACKLOG: Final = "tests/broker/queues/test_backlog.py"
ON_DISK: Final = "tests/broker/queues/test_classic_on_disk.py"
RECOVERY: Final = "tests/broker/test_recovery.py"
BASE: Final = "tests/broker/queues/test_base.py"
PRIORITY: Final = "tests/broker/queues/test_priority.py"
DEAD_LETTER: Final = "tests/broker/test_dead_letter.py"
CONFIRMS: Final = "tests/broker/test_confirms.py"
CONSUMERS: Final = "tests/broker/test_consumers.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """``old``, which is in ``file`` exactly once, becomes ``new``; ``tests`` must go red."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS: Final = (
    Mutant(
        "requeue at the tail instead of the original place",
        "amqpd/broker/queues/classic.py",
        "self.return_count if self.counts_returns else message.position, message))\n",
        "self.next_position + self.return_count, message))\n",
        (CHANNEL,),
    ),
    Mutant(
        "redelivered not set by a requeue",
        "amqpd/broker/queues/base.py",
        "            message.redelivered = True\n",
        "",
        (CHANNEL,),
    ),
    Mutant(
        "confirm before the commit",
        "amqpd/broker/turn.py",
        "waiter.on_durable(self.journal.durable)",
        "waiter.on_durable(self.journal.ticket)",
        (CHANNEL,),
    ),
    Mutant(
        "the answer to a durable declaration before the commit",
        "amqpd/protocols/amqp091/connection.py",
        "        if ticket <= self.turn.journal.durable:\n",
        "        if ticket <= self.turn.journal.ticket:\n",
        (CONNECTION,),
    ),
    Mutant(
        "ack multiple one short",
        "amqpd/broker/unacked.py",
        "            if known > tag:\n",
        "            if known >= tag:\n",
        (CHANNEL, "tests/broker/test_unacked.py"),
    ),
    Mutant(
        "topic: # does not match zero words",
        "amqpd/broker/exchanges/trie.py",
        "    if root.many is None:\n",
        "    if True:\n",
        ("tests/broker/exchanges/test_topic.py",),
    ),
    Mutant(
        "tx.rollback drops acks instead of restoring them",
        "amqpd/protocols/amqp091/channel.py",
        "            by_tag[tag] = message\n",
        "            self._settle(message)\n",
        (CHANNEL,),
    ),
    Mutant(
        "prefetch one too many",
        "amqpd/broker/consumers.py",
        "0 < self.prefetch <= self.unacked",
        "0 < self.prefetch < self.unacked",
        (CHANNEL, "tests/broker/test_consumers.py"),
    ),
    Mutant(
        "the channel's prefetch one too many",
        "amqpd/protocols/amqp091/channel.py",
        "0 < self.channel_prefetch <= self.outstanding",
        "0 < self.channel_prefetch < self.outstanding",
        (CHANNEL,),
    ),
    Mutant(
        "a corrupt segment is delivered",
        "amqpd/broker/queues/segments.py",
        'len(value) != size or zlib.crc32(memoryview(value)[8:]) != int.from_bytes(value[4:8], "big")',
        "len(value) != size",
        (CHANNEL, SEGMENTS),
    ),
    Mutant(
        "a segment is taken for the one whose key it lies under",
        "amqpd/broker/queues/segments.py",
        "    if own_key(value) != key:\n",
        "    if False:\n",
        (SEGMENTS,),
    ),
    Mutant(
        "the seal of a record is not checked",
        "amqpd/broker/records.py",
        'if not body or zlib.crc32(body, zlib.crc32(key)) != int.from_bytes(value[:4], "big"):',
        "if not body:",
        ("tests/broker/test_records.py", RECOVERY),
    ),
    Mutant(
        "compaction forgets what is settled",
        "amqpd/broker/queues/segments.py",
        "        if not segment.is_settled(position):\n            writer.add(",
        "        if True:\n            writer.add(",
        (SEGMENTS, BACKLOG, "tests/broker/queues/test_compaction.py"),
    ),
    Mutant(
        "compaction forgets what is settled while it reads",
        "amqpd/broker/queues/compaction.py",
        "        if segment.live > 0:\n            copy_live(",
        "        if True:\n            copy_live(",
        ("tests/broker/queues/test_compaction.py", BACKLOG),
    ),
    Mutant(
        "a joined segment is read before it is durable",
        "amqpd/broker/queues/backlog.py",
        "            if segment.ticket > self.journal.durable:\n                break\n            #",
        "            #",
        (BACKLOG,),
    ),
    Mutant(
        "what is being read is joined",
        "amqpd/broker/queues/backlog.py",
        "            if segment in self.uses and segment not in self.values:\n",
        "            if False:\n",
        (BACKLOG,),
    ),
    Mutant(
        "an ack goes to a segment that was joined",
        "amqpd/broker/queues/backlog.py",
        "        if segment.successor is not None:\n            segment = segment.current()\n        segment.settle",
        "        segment.settle",
        (BACKLOG,),
    ),
    Mutant(
        "what is read for a queue that was purged since is delivered",
        "amqpd/broker/queues/backlog.py",
        "        if number == self.coming_number:\n",
        "        if number != self.compacting_number:\n",
        (ON_DISK,),
    ),
    Mutant(
        "what is in quarantine comes back at the next start",
        "amqpd/broker/queues/backlog.py",
        "            self.journal.delete(_table(segment), key)\n            self.journal.delete(ACKS",
        "            self.journal.delete(ACKS",
        (ON_DISK,),
    ),
    Mutant(
        "what is damaged is lost instead of put in quarantine",
        "amqpd/broker/queues/backlog.py",
        "            self.journal.put(QUARANTINE, key, value)\n",
        "            pass\n",
        (ON_DISK,),
    ),
    Mutant(
        "the next queue's number is not above those of messages",
        "amqpd/broker/recovery.py",
        "self.last_keys.get(queue_id, 0), position)\n        self._taken(queue_id)\n",
        "self.last_keys.get(queue_id, 0), position)\n",
        (RECOVERY,),
    ),
    Mutant(
        "a lost schema makes an empty store",
        "amqpd/broker/recovery.py",
        '        return any(next(store.keys(table, b""), None) for table in (META, EXCHANGES, QUEUES, SEGMENTS))\n',
        "        return False\n",
        (RECOVERY,),
    ),
    Mutant(
        "a lost mark is a mark of nothing",
        "amqpd/broker/recovery.py",
        "        if queue_id not in self.marks and self.has_lost_marks:\n",
        "        if False:\n",
        (RECOVERY,),
    ),
    Mutant(
        "a mandatory message is returned after its confirm",
        "amqpd/protocols/amqp091/channel.py",
        "        if not is_routed and mandatory:\n",
        "        if self.confirms is not None and not is_routed and mandatory:\n"
        "            self.confirms.record(ticket)\n"
        "            self.on_durable(ticket)\n"
        "            self.confirms.last -= 1\n"
        "        if not is_routed and mandatory:\n",
        (CHANNEL,),
    ),
    Mutant(
        "an exclusive queue outlives its connection",
        "amqpd/protocols/amqp091/connection.py",
        "                self._vhost.remove_queue(queue)\n",
        "                queue.owner = None\n",
        (CHANNEL, CONNECTION),
    ),
    Mutant(
        "what comes behind a waiting declaration is not held",
        "amqpd/protocols/amqp091/connection.py",
        "        self.stalled_command = method\n        self._pause()\n",
        "        self.stalled_command = method\n",
        (CONNECTION,),
    ),
    Mutant(
        "routes are kept when the topology changes",
        "amqpd/protocols/amqp091/connection.py",
        "        if vhost is not None and vhost.version != self.routes_version:\n            self._forget_routes()\n",
        "        if vhost is not None and vhost.version != self.routes_version:\n",
        (CONNECTION,),
    ),
    Mutant(
        "the fast path takes a property list that is malformed",
        "amqpd/protocols/amqp091/frames.py",
        "        facts = read_facts(buffer, after + 19, header_end - 1)\n",
        "        facts = max(0, read_facts(buffer, after + 19, header_end - 1))\n",
        (FRAMES,),
    ),
    Mutant(
        "what has expired is delivered",
        "amqpd/broker/queues/base.py",
        "            if message.expires_at and self._is_too_late(message):\n",
        "            if False:\n",
        (BASE,),
    ),
    Mutant(
        "the longer of two times to live counts",
        "amqpd/broker/queues/base.py",
        "        if ttl_ms < 0 or 0 <= self.ttl_ms < ttl_ms:\n",
        "        if ttl_ms < 0 or ttl_ms < self.ttl_ms:\n",
        (BASE,),
    ),
    Mutant(
        "nobody looks at the head again when it expires",
        "amqpd/broker/queues/base.py",
        "            self._expire_at((int(message.expires_at) + 999) // 1000)\n",
        "            pass\n",
        (BASE,),
    ),
    Mutant(
        "when a message expires is lost over a restart",
        "amqpd/broker/queues/backlog.py",
        "                message.expires_at = expires_at\n",
        "",
        (RECOVERY,),
    ),
    Mutant(
        "a queue has one message more than its limit",
        "amqpd/broker/queues/base.py",
        "        return 0 <= self.max_length < self.ready_count or",
        "        return 0 <= self.max_length < self.ready_count - 1 or",
        (BASE,),
    ),
    Mutant(
        "a full queue takes one more before it refuses",
        "amqpd/broker/queues/base.py",
        "        if 0 <= self.max_length <= self.ready_count:\n",
        "        if 0 <= self.max_length < self.ready_count:\n",
        (BASE,),
    ),
    Mutant(
        "a message comes back once too often",
        "amqpd/broker/queues/base.py",
        "            if limit is not None and message.returns > limit:\n",
        "            if limit is not None and message.returns > limit + 1:\n",
        (BASE,),
    ),
    Mutant(
        "a queue that has a consumer expires",
        "amqpd/broker/queues/base.py",
        "        if not queue.deleted and not queue.consumers.all and queue.home is not None:\n",
        "        if not queue.deleted and queue.home is not None:\n",
        (BASE,),
    ),
    Mutant(
        "a message is gone before it is a dead letter",
        "amqpd/broker/queues/base.py",
        "            self.home.dead_letter(self, message, reason)\n        self.settle(message)\n",
        "            pass\n        self.settle(message)\n",
        (BASE,),
    ),
    Mutant(
        "dead letters go round without an end",
        "amqpd/broker/dead_letter.py",
        '        if _text(entry.get("queue")) == queue:\n            return True\n',
        "        pass\n",
        (DEAD_LETTER,),
    ),
    Mutant(
        "what a consumer rejected ends a cycle",
        "amqpd/broker/dead_letter.py",
        '        if _text(entry.get("reason")) == REJECTED:\n            return False\n',
        "",
        (DEAD_LETTER,),
    ),
    Mutant(
        "a chain of deaths climbs the stack",
        "amqpd/broker/vhost.py",
        "        if len(self.dead) > 1:\n            return\n",
        "",
        (DEAD_LETTER,),
    ),
    Mutant(
        "the lowest priority first",
        "amqpd/broker/queues/priority.py",
        "            priority = self.filled.bit_length() - 1\n",
        "            priority = (self.filled & -self.filled).bit_length() - 1\n",
        (PRIORITY,),
    ),
    Mutant(
        "the parts of a priority queue are not stored",
        "amqpd/broker/queues/priority.py",
        "        self.home.save_queue(self)\n",
        "",
        (PRIORITY,),
    ),
    Mutant(
        "an ack for what a full queue refused",
        "amqpd/protocols/amqp091/channel.py",
        "is_several, confirms.taken_refused))\n",
        "is_several, False))\n",
        (CONFIRMS, BASE),
    ),
    Mutant(
        "acks and nacks are folded into one",
        "amqpd/broker/confirms.py",
        "                if ready > self.confirmed and is_refused is not refused:\n                    break\n",
        "",
        (CONFIRMS,),
    ),
    Mutant(
        "several single active consumers",
        "amqpd/broker/consumers.py",
        " or (self.single_active and consumer is not self.single):\n",
        ":\n",
        (CONSUMERS,),
    ),
    Mutant(
        "the consumer with the lowest priority first",
        "amqpd/broker/consumers.py",
        "            if level.priority < priority:\n",
        "            if level.priority > priority:\n",
        (CONSUMERS,),
    ),
    Mutant(
        "a reject in a transaction is an ack",
        "amqpd/protocols/amqp091/channel.py",
        "            elif verdict == REJECT:\n                self._bury([message])\n",
        "",
        ("tests/broker/test_transactions.py",),
    ),
    Mutant(
        "a virtual host that was deleted comes back",
        "amqpd/broker/broker.py",
        "for name, vhost in self.vhosts.items() if name in kept}\n",
        "for name, vhost in self.vhosts.items()}\n",
        (RECOVERY,),
    ),
)
