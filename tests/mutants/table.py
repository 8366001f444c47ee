"""The mutants: one rule of the broker broken each, and the tests that must notice."""

from dataclasses import dataclass
from typing import Final

CHANNEL: Final = "tests/protocols/amqp091/test_channel.py"
CONNECTION: Final = "tests/protocols/amqp091/test_connection.py"
FRAMES: Final = "tests/twins/test_frames.py"


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
        "            heapq.heappush(self.returned, (message.position, message))\n",
        "            message.position = self.next_position\n"
        "            self.next_position += 1\n"
        "            heapq.heappush(self.returned, (message.position, message))\n",
        (CHANNEL,),
    ),
    Mutant(
        "redelivered not set by a requeue",
        "amqpd/broker/queues/classic.py",
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
        '    if zlib.crc32(value[8:]) != int.from_bytes(value[4:8], "big"):\n',
        "    if False:\n",
        (CHANNEL,),
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
        "        self.stalled_command = method\n        self.is_open_for_input = False\n",
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
