"""Clients of the broker and the naive model are told the same: any methods on any channels, in any order.

Each rule does one thing and takes a turn; time passes in a rule of its own. The same machine runs a second time with a
window so small that queues page to segments. A restart keeps what is durable; after every step, what the store would
bring back is compared, too.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from amqpd import limits
from amqpd.broker.ports import SCRATCH, SEGMENTS
from amqpd.broker.queues.base import Queue
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.priority import PriorityQueue
from amqpd.broker.queues.segments import read_segment
from amqpd.broker.recovery import restore
from amqpd.store.memory import MemoryStore
from tests.properties import model
from tests.properties.model import Channel, Connection, Entry, Model, Refused, Traits
from tests.support import wire
from tests.support.raw_peer import decode_properties, properties
from tests.support.small_segments import needs_interpreter, small_segments
from tests.support.wire import Peer, Said, Server

pytestmark = pytest.mark.timeout(600)  # to make a failing example small may take minutes

CONNECTIONS = 2
CHANNELS = (1, 2)
QUEUES = ("q0", "q1", "q2", "q3")
# Each has a grave of its own: who dies first, of two queues' heads that die in one turn, is nobody's business.
SPECIAL = {
    "brief": Traits(ttl=40, limit=4, grave="ranked"),
    "ranked": Traits(levels=2),
    "single": Traits(limit=3, refuses=True, grave="q1", single=True),
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "brief": {
        "x-message-ttl": 40,
        "x-max-length": 4,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "ranked",
    },
    "ranked": {"x-max-priority": 2},
    "single": {
        "x-max-length": 3,
        "x-overflow": "reject-publish-dlx",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "q1",
        "x-single-active-consumer": True,
    },
}
STEP_MS = 7  # no time to live is a multiple of it: nothing expires on the dot
EXCHANGES = ("direct", "fanout", "topic", "headers", "amq.topic")
PLAIN = EXCHANGES[:3]
KEYS = ("q0", "a.b", "a", "b.c.b", "")
PATTERNS = ("q0", "a.b", "a.*", "#", "a.#", "#.b", "*.#.b")
WISHES = ("", "x", "y")

places = st.tuples(st.integers(0, CONNECTIONS - 1), st.sampled_from(CHANNELS))
queues = st.sampled_from(("q0", "q0", "q0", *QUEUES, *SPECIAL))
special_queues = st.sampled_from(tuple(SPECIAL))
exchanges = st.sampled_from(EXCHANGES)
flags = st.booleans()
rarely = st.integers(0, 4).map(lambda number: number == 0)
# Most declarations of a name agree with each other.
queue_flags = st.sampled_from(range(4))


class BrokerMachine(RuleBasedStateMachine):
    """``peers`` and the model's connections go by the same numbers."""

    window_bytes: ClassVar[int] = limits.QUEUE_WINDOW_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.now_ms = self.model.now_ms = 1_000_000
        self.body_count = 0
        self.tag_count = 0
        self.server = self.start(MemoryStore())
        self.peers: dict[int, Peer] = {}
        self.connections: dict[int, Connection] = {}

    # -- the two worlds --

    def start(self, store: MemoryStore) -> Server:
        server = Server(store, queue_window_bytes=self.window_bytes)
        server.broker.turn.begin(self.now_ms / 1000)
        restore(server.broker)
        server.turn()
        return server

    def at(self, place: tuple[int, int]) -> tuple[Peer, int, Channel]:
        """A channel, of a connection that is made now if there is none."""
        number, channel = place
        if number not in self.peers:
            self.peers[number] = self.server.peer(*CHANNELS)
            connection = self.connections[number] = Connection()
            connection.channels = {key: Channel(connection) for key in CHANNELS}
            self.model.connections.append(connection)
        return self.peers[number], channel, self.connections[number].channels[channel]

    def do(self, place: tuple[int, int], data: Callable[[int], bytes], act: Callable[[Channel], None]) -> None:
        """Send ``data``, let the model ``act``, and compare what they say."""
        peer, number, channel = self.at(place)
        peer.feed(data(number))
        code = 0
        try:
            act(channel)
        except Refused as refused:
            code = refused.code
            self.model.release([channel])
            channel.answer("channel.close", reply_code=code)
        self.settle()
        if code:
            self.reopen(place, "channel.close-ok")

    def reopen(self, place: tuple[int, int], goodbye: str) -> None:
        peer, number, old = self.at(place)
        channel = self.connections[place[0]].channels[number] = Channel(old.connection)
        peer.feed(wire.method(number, goodbye) + wire.method(number, "channel.open"))
        if goodbye == "channel.close":
            channel.answer("channel.close-ok")
        channel.answer("channel.open-ok")
        self.settle()

    def settle(self) -> None:
        """A turn; then everything that was said must be what the model allows, and nothing may be missing."""
        self.server.turn()
        self.server.check()
        heard = {number: peer.output() for number, peer in self.peers.items()}
        while any(heard.values()):
            if not sum(self.take(self.connections[number], said) for number, said in heard.items()):
                first = [said[0] for said in heard.values() if said]
                assert self.model.die(), f"not what should come next: {first}"
        while self.model.die():
            pass
        self.model.check_quiet()
        for connection in self.connections.values():
            for channel in connection.channels.values():
                assert not channel.expected, f"missing: {channel.expected}"
                assert not channel.cancels, f"not told of their end: {channel.cancels}"
                assert not channel.returns, f"not returned: {channel.returns}"
                assert not channel.confirms or channel.confirmed == channel.published

    def take(self, connection: Connection, heard: list[Said]) -> int:
        """Take what fits from the front of ``heard``; how much."""
        count = 0
        while heard and self.fits(connection.channels[heard[0].channel], heard[0]):
            heard.pop(0)
            count += 1
        return count

    def fits(self, channel: Channel, said: Said) -> bool:
        args = said.args
        match said.name:
            case "basic.deliver":
                tag = args["consumer_tag"]
                if not self.model.can_be_delivered(channel, tag, said.body):
                    return False
                delivery_tag, entry = self.model.delivered(channel, tag)
                assert args["delivery_tag"] == delivery_tag
                check_message(said, entry)
            case "basic.cancel":
                channel.cancels.remove(args["consumer_tag"])
            case "basic.return":
                assert (args["reply_code"], args["reply_text"]) == (312, "NO_ROUTE")
                channel.returns.pop(said.body)
            case "basic.ack" | "basic.nack":
                assert channel.confirmed < args["delivery_tag"] <= channel.published
                told = set(range(channel.confirmed + 1, args["delivery_tag"] + 1))
                assert told & channel.refused == (told if said.name == "basic.nack" else set())
                assert args["multiple"] or args["delivery_tag"] == channel.confirmed + 1
                channel.confirmed = args["delivery_tag"]
                late = [number for number in channel.returns.values() if number <= channel.confirmed]
                assert not late, f"confirmed before they were returned: {late}"
            case _:
                name, expected = channel.expected.pop(0)
                given = dict(expected)
                entry = given.pop("entry", None)
                assert (said.name, {key: args[key] for key in given}) == (name, given)
                if entry is not None:
                    check_message(said, entry)
        return True

    # -- rules: topology --

    @initialize()
    def begin(self) -> None:
        self.declare_queue((0, 1), "q0", 1)
        self.declare_queue((0, 1), "q1", 0)
        for name in SPECIAL:
            self.declare_special((0, 1), name)

    @rule(place=places, name=special_queues)
    def declare_special(self, place: tuple[int, int], name: str) -> None:
        self.do(
            place,
            lambda channel: wire.method(channel, "queue.declare", queue=name, durable=True, arguments=ARGUMENTS[name]),
            lambda channel: self.model.queue_declare(channel, name, True, False, False, SPECIAL[name]),
        )

    @rule(place=places, name=st.sampled_from(QUEUES), kind=queue_flags)
    def declare_queue(self, place: tuple[int, int], name: str, kind: int) -> None:
        """q0 is durable mostly, q2 auto-delete, q3 exclusive."""
        durable, auto_delete, exclusive = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 1))[
            QUEUES.index(name) ^ (kind if kind != 3 else 0)
        ]
        self.do(
            place,
            lambda channel: wire.method(
                channel, "queue.declare", queue=name, durable=durable, auto_delete=auto_delete, exclusive=exclusive
            ),
            lambda channel: self.model.queue_declare(channel, name, bool(durable), bool(exclusive), bool(auto_delete)),
        )

    @rule(place=places, name=queues)
    def count_messages(self, place: tuple[int, int], name: str) -> None:
        self.do(
            place,
            lambda channel: wire.method(channel, "queue.declare", queue=name, passive=True),
            lambda channel: self.model.queue_declare_passive(channel, name),
        )

    @rule(place=places, name=queues, if_unused=flags, if_empty=flags, really=rarely)
    def delete_queue(self, place: tuple[int, int], name: str, if_unused: bool, if_empty: bool, really: bool) -> None:
        if not really:
            if_unused = True
        self.do(
            place,
            lambda channel: wire.method(channel, "queue.delete", queue=name, if_unused=if_unused, if_empty=if_empty),
            lambda channel: self.model.queue_delete(channel, name, if_unused, if_empty),
        )

    @rule(place=places, name=queues, really=rarely)
    def purge(self, place: tuple[int, int], name: str, really: bool) -> None:
        if not really:
            return
        self.do(
            place,
            lambda channel: wire.method(channel, "queue.purge", queue=name),
            lambda channel: self.model.queue_purge(channel, name),
        )

    @rule(place=places, name=st.sampled_from(EXCHANGES[:-1]), durable=flags, auto_delete=rarely)
    def declare_exchange(self, place: tuple[int, int], name: str, durable: bool, auto_delete: bool) -> None:
        self.do(
            place,
            lambda channel: wire.method(
                channel, "exchange.declare", exchange=name, type=name, durable=durable, auto_delete=auto_delete
            ),
            lambda channel: self.model.exchange_declare(channel, name, name, durable, auto_delete),
        )

    @rule(place=places, name=st.sampled_from(EXCHANGES[:-1]), if_unused=flags)
    def delete_exchange(self, place: tuple[int, int], name: str, if_unused: bool) -> None:
        self.do(
            place,
            lambda channel: wire.method(channel, "exchange.delete", exchange=name, if_unused=if_unused),
            lambda channel: self.model.exchange_delete(channel, name, if_unused),
        )

    @rule(
        place=places,
        source=exchanges,
        destination=st.sampled_from((*QUEUES, *SPECIAL, *PLAIN)),
        key=st.sampled_from(PATTERNS),
        wish=st.sampled_from(WISHES),
        remove=rarely,
    )
    def bind(self, place: tuple[int, int], source: str, destination: str, key: str, wish: str, remove: bool) -> None:
        to_queue = destination in (*QUEUES, *SPECIAL)
        verb = "unbind" if remove else "bind"
        name = (
            {"queue": destination, "exchange": source} if to_queue else {"destination": destination, "source": source}
        )
        arguments = {"x-match": "all", "h": wish} if wish else {}
        act = self.model.unbind if remove else self.model.bind
        self.do(
            place,
            lambda channel: wire.method(
                channel, f"{'queue' if to_queue else 'exchange'}.{verb}", routing_key=key, arguments=arguments, **name
            ),
            lambda channel: act(channel, to_queue, source, destination, key, wish),
        )

    @rule(place=places, name=queues, source=st.sampled_from(PLAIN), between=st.sampled_from(("", *PLAIN)))
    def short_lived(self, place: tuple[int, int], name: str, source: str, between: str) -> None:
        """An exchange that goes with the queue that it leads to, perhaps over another one."""
        for exchange in dict.fromkeys((source, between or source)):
            self.declare_exchange(place, exchange, False, True)
        if between:
            self.bind(place, source, between, "a.b", "", False)
        self.bind(place, between or source, name, "a.b", "", False)
        self.publish(place, source, "a.b", "", [True], True, 0)
        self.delete_queue(place, name, False, False, True)

    # -- rules: messages --

    @rule(
        place=places,
        exchange=st.sampled_from(("", "", "", *EXCHANGES)),
        key=st.sampled_from((*QUEUES, *SPECIAL, *KEYS)),
        header=st.sampled_from(WISHES),
        persistent=st.lists(flags, min_size=1, max_size=12),
        mandatory=flags,
        size=st.sampled_from((0, 0, 50, 700)),
        priority=st.sampled_from((0, 0, 1, 2, 9)),
        ttl=st.sampled_from((None, None, 30, 100)),
    )
    def publish(
        self,
        place: tuple[int, int],
        exchange: str,
        key: str,
        header: str,
        persistent: list[bool],
        mandatory: bool,
        size: int,
        priority: int = 0,
        ttl: int | None = None,
    ) -> None:
        """Some messages in one chunk, each persistent or not."""
        entries = [
            Entry(0, self.next_body(size), (exchange, key), is_kept, priority=priority, ttl=ttl)
            for is_kept in persistent
        ]

        def data(channel: int) -> bytes:
            return b"".join(
                wire.publish(channel, exchange, key, entry.body, make_properties(entry, header), mandatory=mandatory)
                for entry in entries
            )

        def act(channel: Channel) -> None:
            for entry in entries:
                self.model.publish(channel, entry, header, mandatory=mandatory)

        self.do(place, data, act)

    @rule(place=places, name=special_queues, priorities=st.lists(st.integers(0, 3), max_size=6))
    def fill_special(self, place: tuple[int, int], name: str, priorities: list[int]) -> None:
        for priority in priorities:
            self.publish(place, "", name, "", [priority % 2 == 0], True, 50, priority)

    @rule(steps=st.sampled_from((1, 1, 3, 5, 7, 20)))
    def pass_time(self, steps: int) -> None:
        self.now_ms += steps * STEP_MS
        self.model.now_ms = self.now_ms
        self.server.broker.turn.begin(self.now_ms / 1000)
        self.settle()

    def next_body(self, size: int) -> bytes:
        self.body_count += 1
        return b"%d " % self.body_count + b"." * size

    @rule(place=places, persistent=st.lists(flags, min_size=1, max_size=12))
    def fill(self, place: tuple[int, int], persistent: list[bool]) -> None:
        self.publish(place, "", "q0", "", persistent, True, 0)

    @rule(place=places, times=st.integers(2, 12), no_ack=flags)
    def get_some(self, place: tuple[int, int], times: int, no_ack: bool) -> None:
        for _ in range(times):
            self.get(place, "q0", no_ack)

    @rule(place=places, count=st.integers(1, 3), for_all=flags, no_ack=rarely)
    def consume_some(self, place: tuple[int, int], count: int, for_all: bool, no_ack: bool) -> None:
        self.qos(place, count, for_all)
        self.consume(place, "q0", no_ack, False)

    @rule(place=places, name=queues, no_ack=flags, exclusive=rarely, priority=st.sampled_from((0, 0, 1)))
    def consume(self, place: tuple[int, int], name: str, no_ack: bool, exclusive: bool, priority: int = 0) -> None:
        self.tag_count += 1
        tag = f"tag {self.tag_count}"
        flags = {"no_ack": no_ack, "exclusive": exclusive, "arguments": {"x-priority": priority} if priority else {}}
        self.do(
            place,
            lambda channel: wire.method(channel, "basic.consume", queue=name, consumer_tag=tag, **flags),
            lambda channel: self.model.consume(channel, name, tag, no_ack, exclusive, priority),
        )

    @rule(place=places, number=st.integers(0, 5))
    def cancel(self, place: tuple[int, int], number: int) -> None:
        _, _, channel = self.at(place)
        tags = [*channel.consumers, "nobody"]
        tag = tags[number % len(tags)]
        self.do(
            place,
            lambda channel: wire.method(channel, "basic.cancel", consumer_tag=tag),
            lambda channel: self.model.cancel(channel, tag),
        )

    @rule(place=places, count=st.integers(0, 3), for_all=flags)
    def qos(self, place: tuple[int, int], count: int, for_all: bool) -> None:
        self.do(
            place,
            lambda channel: wire.method(channel, "basic.qos", prefetch_count=count, global_=for_all),
            lambda channel: self.model.qos(channel, count, for_all),
        )

    @rule(place=places, name=queues, no_ack=flags)
    def get(self, place: tuple[int, int], name: str, no_ack: bool) -> None:
        self.do(
            place,
            lambda channel: wire.method(channel, "basic.get", queue=name, no_ack=no_ack),
            lambda channel: self.model.get(channel, name, no_ack),
        )

    @rule(
        place=places,
        number=st.integers(0, 30),
        multiple=flags,
        verb=st.sampled_from(("ack", "ack", "ack", "nack", "nack", "reject")),
        requeue=flags,
        unknown=rarely,
    )
    def settle_delivery(
        self, place: tuple[int, int], number: int, multiple: bool, verb: str, requeue: bool, unknown: bool
    ) -> None:
        _, _, channel = self.at(place)
        tags = list(channel.unacked)
        if not tags and not unknown:
            return
        tag = number if unknown or not tags else tags[number % len(tags)]
        args: dict[str, Any] = {"delivery_tag": tag}
        if verb != "reject":
            args["multiple"] = multiple
        if verb != "ack":
            args["requeue"] = requeue
        self.do(
            place,
            lambda channel: wire.method(channel, f"basic.{verb}", **args),
            lambda channel: self.model.settle(
                channel, tag, multiple=multiple and verb != "reject", requeue=requeue if verb != "ack" else None
            ),
        )

    @rule(place=places)
    def recover(self, place: tuple[int, int]) -> None:
        self.do(place, lambda channel: wire.method(channel, "basic.recover", requeue=True), self.model.recover)

    # -- rules: confirms, transactions --

    @rule(place=places, really=rarely)
    def confirm_select(self, place: tuple[int, int], really: bool) -> None:
        if really or not self.at(place)[2].tx:
            self.do(place, lambda channel: wire.method(channel, "confirm.select"), self.model.confirm_select)

    @rule(place=places, really=rarely)
    def tx_select(self, place: tuple[int, int], really: bool) -> None:
        if really or not self.at(place)[2].confirms:
            self.do(place, lambda channel: wire.method(channel, "tx.select"), self.model.tx_select)

    @rule(place=places, number=st.integers(0, 9), multiple=flags, requeue=flags, commit=flags, filled=flags)
    def transact(
        self, place: tuple[int, int], number: int, multiple: bool, requeue: bool, commit: bool, filled: bool
    ) -> None:
        """A whole transaction, on a channel that has something unacked if there is anything to get."""
        if self.at(place)[2].confirms:
            return
        self.tx_select(place, True)
        self.get(place, "q0", False)
        self.settle_delivery(place, number, multiple, "nack" if requeue else "ack", requeue, False)
        if filled:
            self.fill(place, [True, False])
        (self.tx_commit if commit else self.tx_rollback)(place, True)

    @rule(place=places, really=rarely)
    def tx_commit(self, place: tuple[int, int], really: bool) -> None:
        if really or self.at(place)[2].tx:
            self.do(place, lambda channel: wire.method(channel, "tx.commit"), self.model.tx_commit)

    @rule(place=places, really=rarely)
    def tx_rollback(self, place: tuple[int, int], really: bool) -> None:
        if really or self.at(place)[2].tx:
            self.do(place, lambda channel: wire.method(channel, "tx.rollback"), self.model.tx_rollback)

    # -- rules: ends --

    @rule(place=places, really=rarely)
    def close_channel(self, place: tuple[int, int], really: bool) -> None:
        if not really:
            return
        self.model.release([self.at(place)[2]])
        self.reopen(place, "channel.close")

    @precondition(lambda self: self.peers)
    @rule(number=st.integers(0, CONNECTIONS - 1), politely=flags, really=rarely)
    def disconnect(self, number: int, politely: bool, really: bool) -> None:
        if number not in self.peers or not really:
            return
        peer = self.peers.pop(number)
        connection = self.connections.pop(number)
        if politely:
            peer.send(0, "connection.close", reply_code=200)
        else:
            peer.hang_up()
        self.model.disconnect(connection)
        self.model.connections.remove(connection)
        self.settle()
        assert [said.name for said in peer.output()] == ["connection.close-ok"] * politely
        assert peer.is_gone

    @rule(is_crash=flags, really=rarely)
    def restart(self, is_crash: bool, really: bool) -> None:
        if not really:
            return
        if not is_crash:
            for number in list(self.peers):
                self.disconnect(number, False, True)
            self.server.broker.stop()
            self.server.turn()
        self.model.restart(is_crash=is_crash)
        self.peers, self.connections = {}, {}
        self.server = self.start(copy_of(self.server.store))
        self.settle()

    # -- at any time --

    @invariant()
    def the_store_has_what_is_durable(self) -> None:
        server = Server(copy_of(self.server.store), queue_window_bytes=self.window_bytes)
        broker = server.broker
        restore(broker)
        vhost = broker.vhosts["/"]
        durable = {name for name, exchange in self.model.exchanges.items() if exchange.durable}
        predeclared = {name for name in vhost.exchanges if name == "" or name.startswith("amq.")}
        assert set(vhost.exchanges) == durable | predeclared
        kept = {queue.name: queue for queue in self.model.queues.values() if queue.durable and queue.owner is None}
        assert set(vhost.queues) == set(kept)
        assert {(binding.source, binding.to_queue, binding.destination, binding.key) for binding in vhost.bindings} == {
            binding[:4]
            for binding in self.model.bindings
            if binding[0] in durable and binding[2] in (kept if binding[1] else durable)
        }
        entries = {name: durable_entries(queue, self.model.unacked()) for name, queue in kept.items()}
        for name in kept:
            assert vhost.queues[name].ready_count == len(entries[name])
            for content, entry in zip(stored_contents(server, vhost.queues[name]), entries[name], strict=True):
                assert content.endswith(entry.body + b"\xce"), f"{name}: {entry}"
        server.turn()
        for name in kept.keys() - {"brief", "ranked"}:  # where what is unacked comes back there may be too much
            stored = vhost.queues[name]
            for entry in entries[name]:
                message = wire.take_head(server, stored)
                assert message is not None
                assert message.content.endswith(entry.body + b"\xce"), f"{name}: {entry}"
            assert wire.take_head(server, stored) is None

    def teardown(self) -> None:
        for number in list(self.peers):
            self.disconnect(number, False, True)
        wire.check_left(self.server)


class PagingMachine(BrokerMachine):
    """The same, with queues that keep two or three messages in memory."""

    window_bytes = 1200


def check_message(said: Said, entry: Entry) -> None:
    """What the client got is the message, to the bit."""
    assert (said.body, (said.args["exchange"], said.args["routing_key"])) == (entry.body, entry.address)
    assert entry.redelivered is None or said.args["redelivered"] == entry.redelivered
    found = decode_properties(said.properties)
    assert (found["delivery_mode"], found["priority"]) == (1 + entry.persistent, entry.priority)
    assert found.get("expiration") == (None if entry.ttl is None else str(entry.ttl))
    deaths = found.get("headers", {}).get("x-death", [])
    assert len(deaths) == (entry.death is not None)
    if entry.death is not None:
        assert (deaths[0]["queue"], deaths[0]["count"]) == (entry.death[0], 1)
        assert deaths[0]["reason"] in entry.death[1]


def make_properties(entry: Entry, header: str) -> bytes:
    others: dict[str, Any] = {"headers": {"h": header}} if header else {}
    if entry.ttl is not None:
        others["expiration"] = str(entry.ttl)
    return properties(delivery_mode=1 + entry.persistent, priority=entry.priority, **others)


def durable_entries(queue: model.Queue, unacked: list[tuple[model.Queue, Entry]]) -> list[Entry]:
    """What a start would find of a queue, in its order."""
    found = model.Queue(queue.name, True, False, None, queue.traits)
    for entry in [*queue.ready, *(entry for other, entry in unacked if other is queue)]:
        if entry.persistent:
            found.put(entry)
    return found.ready


def stored_contents(server: Server, queue: Queue) -> Iterator[bytes]:
    """What is wanted of a queue that was just restored, read from its segments."""
    if isinstance(queue, PriorityQueue):
        for priority in sorted(queue.parts, reverse=True):
            yield from stored_contents(server, queue.parts[priority])
        return
    assert isinstance(queue, ClassicQueue)
    for _, segment in sorted(queue.backlog.segments.items()):
        key = segment.key(queue.queue_id)
        for position, _, _, _, content in read_segment(key, server.store.read(SEGMENTS, key)):
            if not segment.is_settled(position):
                yield content


def copy_of(store: Any) -> MemoryStore:
    """What a new start finds on the disk: commits begin anew, scratch is emptied."""
    copy = MemoryStore()
    copy.tables = [dict(rows) for rows in store.tables]
    copy.tables[SCRATCH] = {}
    return copy


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(max_examples=90, stateful_step_count=50, report_multiple_bugs=False)
TestPaging = PagingMachine.TestCase
TestPaging.settings = settings(max_examples=90, stateful_step_count=50, report_multiple_bugs=False)


@needs_interpreter
def test_compacting() -> None:
    with small_segments():
        run_state_machine_as_test(
            PagingMachine, settings=settings(max_examples=50, stateful_step_count=50, report_multiple_bugs=False)
        )


@pytest.mark.slow
@pytest.mark.parametrize("machine", [BrokerMachine, PagingMachine])
def test_at_length(machine: type[BrokerMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=80))
