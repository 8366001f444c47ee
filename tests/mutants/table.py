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
        "            tags.append(known)\n            if known == tag:\n                break\n",
        "            if known == tag:\n                break\n            tags.append(known)\n",
        (CHANNEL, "tests/broker/test_unacked.py"),
    ),
    Mutant(
        "topic: # does not match zero words",
        "amqpd/broker/exchanges/topic.py",
        '    follower = node.children.get("#")\n',
        "    follower = None\n",
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
        "        if vhost is not None and vhost.version != self.routes_version:\n            self.routes.clear()\n",
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
)
