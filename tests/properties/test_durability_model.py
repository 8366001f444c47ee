"""What a slow disk may not change: no promise before its commit, no reply that never comes.

The store completes a batch only when a rule says so, and after every step the machine looks at what a crash would leave
at that moment: everything that was promised.
"""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from amqpd import limits
from amqpd.broker.ports import SCRATCH
from amqpd.broker.recovery import restore
from amqpd.store.memory import MemoryStore
from tests.support import wire
from tests.support.raw_peer import properties
from tests.support.small_segments import needs_interpreter, small_segments
from tests.support.wire import DelayedStore, Peer, Server

pytestmark = pytest.mark.timeout(600)  # to make a failing example small may take minutes

QUEUES = ("kept", "brief")  # a durable one and another


@dataclass(eq=False)
class Sent:
    """A publish, perhaps in a transaction. ``promised``: its client was told that it is safe."""

    number: int
    queues: tuple[str, ...]
    persistent: bool
    is_traded: bool
    promised: bool = False


class DurabilityMachine(RuleBasedStateMachine):
    """A publisher with confirms, one with transactions, one that gets, one that keeps the store busy."""

    window_bytes: ClassVar[int] = limits.QUEUE_WINDOW_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[int, Sent] = {}
        self.excused: set[int] = set()  # of "kept", perhaps purged: may be there or not
        self.settled: set[int] = set()  # of "kept": wanted no more
        self.settled_for_good: set[int] = set()  # and on disk
        self.seen: dict[tuple[str, bool], int] = {}  # queue, whether traded -> the newest that came for the first time
        self.start(MemoryStore())

    def start(self, disk: MemoryStore) -> None:
        """A broker with what is on the disk, and connections that have said nothing yet."""
        self.store = DelayedStore(disk)
        self.store.is_delaying = False
        self.server = Server(self.store, queue_window_bytes=self.window_bytes)
        restore(self.server.broker)
        self.publisher = self.server.peer(1)
        self.trader = self.server.peer(1)
        self.getter = self.server.peer(1)
        self.busybody = self.server.peer(1)
        for name in QUEUES:
            self.getter.call(1, "queue.declare", queue=name, durable=name == "kept")
            self.getter.call(1, "queue.bind", queue=name, exchange="amq.fanout")
        self.publisher.call(1, "confirm.select")
        self.trader.call(1, "tx.select")
        self.store.is_delaying = True
        self.store.is_reading = False
        self.confirmable: list[Sent] = []
        self.confirmed = 0
        self.traded: list[Sent] = []
        self.commits: list[list[Sent]] = []  # asked for, not answered
        self.asked: list[tuple[str, str, bool]] = []  # of the getter: method, queue, no-ack
        self.declares: list[str] = []
        self.unacked: dict[int, tuple[str, int]] = {}  # tag -> queue, number
        self.next_tag = 1

    # -- rules --

    def new(self, into: str, persistent: bool, *, is_traded: bool) -> tuple[Sent, bytes]:
        sent = Sent(len(self.sent) + 1, QUEUES if into == "both" else (into,), persistent, is_traded)
        self.sent[sent.number] = sent
        exchange, key = ("amq.fanout", "") if into == "both" else ("", into)
        body = b"%06d" % sent.number
        return sent, wire.publish(1, exchange, key, body, properties(delivery_mode=1 + persistent))

    places = st.sampled_from((*QUEUES, "both"))
    many = st.lists(st.booleans(), min_size=1, max_size=8)

    @rule(into=places, persistent=many)
    def publish(self, into: str, persistent: list[bool]) -> None:
        made = [self.new(into, is_kept, is_traded=False) for is_kept in persistent]
        self.confirmable += [sent for sent, _ in made]
        self.publisher.feed(b"".join(data for _, data in made))
        self.listen()

    @rule(into=places, persistent=many, commit=st.booleans())
    def trade(self, into: str, persistent: list[bool], commit: bool) -> None:
        """Publish in a transaction, and perhaps commit. Not while a commit waits: it would belong to the next one."""
        if self.commits:
            return
        made = [self.new(into, is_kept, is_traded=True) for is_kept in persistent]
        self.traded += [sent for sent, _ in made]
        self.trader.feed(b"".join(data for _, data in made))
        if commit:
            self.trader.send(1, "tx.commit")
            self.commits.append(self.traded)
            self.traded = []
        self.listen()

    @rule()
    def commit_nothing(self) -> None:
        if not self.commits and not self.traded:
            self.trader.send(1, "tx.commit")
            self.commits.append([])
            self.listen()

    @rule(name=st.sampled_from(QUEUES), no_ack=st.booleans(), times=st.integers(1, 6))
    def get(self, name: str, no_ack: bool, times: int) -> None:
        for _ in range(times):
            self.getter.send(1, "basic.get", queue=name, no_ack=no_ack)
            self.asked.append(("get", name, no_ack))
        self.listen()

    @rule(number=st.integers(0, 20), verb=st.sampled_from(("ack", "ack", "reject", "requeue")))
    def settle(self, number: int, verb: str) -> None:
        """Not while an answer is due: the getter's stream waits then, and the settling with it."""
        if not self.unacked or self.asked:
            return
        tag = list(self.unacked)[number % len(self.unacked)]
        name, settled = self.unacked.pop(tag)
        if verb == "ack":
            self.getter.send(1, "basic.ack", delivery_tag=tag)
        else:
            self.getter.send(1, "basic.reject", delivery_tag=tag, requeue=verb == "requeue")
        if verb != "requeue" and name == "kept":
            self.settled.add(settled)
        self.listen()

    @rule(name=st.sampled_from(QUEUES))
    def purge(self, name: str) -> None:
        """Not while an answer is due: it would happen some time later."""
        if self.asked:
            return
        self.getter.send(1, "queue.purge", queue=name)
        self.asked.append(("purge", name, False))
        if name == "kept":
            self.excused |= set(self.sent)
        self.listen()

    @rule()
    def keep_busy(self) -> None:
        name = f"busy {len(self.declares)} {len(self.sent)} {self.next_tag}"
        self.busybody.send(1, "queue.declare", queue=name, durable=True)
        self.declares.append(name)
        self.listen()

    @rule()
    def bind_again(self) -> None:
        self.busybody.send(1, "queue.bind", queue="kept", exchange="amq.fanout")
        self.declares.append("")
        self.listen()

    @rule()
    def complete(self) -> None:
        """The disk is done with a batch."""
        self.store.complete()
        self.listen()
        if self.server.broker.journal.is_idle():
            self.settled_for_good = set(self.settled)

    @rule()
    def read(self) -> None:
        """The disk is done with what it was asked to read."""
        self.store.is_reading = True
        self.listen()
        self.store.is_reading = False

    @rule(is_wanted=st.integers(0, 4))
    def crash(self, is_wanted: int) -> None:
        """The next start. Who waited for an answer does not get it."""
        if is_wanted:
            return
        found = set(self.survivors())
        self.settled -= found  # acked, not yet on disk
        self.settled_for_good = set(self.settled)
        self.start(copy_of(self.store.inner))

    # -- what is heard --

    def listen(self) -> None:
        self.server.turn()
        self.server.check()
        on_disk = self.survivors()
        for said in self.publisher.output():
            assert said.name == "basic.ack"
            up_to = said.args["delivery_tag"]
            assert self.confirmed < up_to <= len(self.confirmable)
            assert said.args["multiple"] or up_to == self.confirmed + 1
            self.promise(self.confirmable[self.confirmed : up_to], on_disk)
            self.confirmed = up_to
        for said in self.trader.output():
            assert said.name == "tx.commit-ok"
            self.promise(self.commits.pop(0), on_disk)
        for said in self.busybody.output():
            name = self.declares.pop(0)
            assert said.name == ("queue.declare-ok" if name else "queue.bind-ok")
            assert not name or any(name.encode() in value for value in self.store.inner.tables[2].values())
        self.listen_to_getter(self.getter)

    def listen_to_getter(self, getter: Peer) -> None:
        for said in getter.output():
            method, name, no_ack = self.asked.pop(0)
            if method == "purge":
                assert said.name == "queue.purge-ok"
                continue
            if said.name == "basic.get-empty":
                continue
            assert said.name == "basic.get-ok"
            assert said.args["delivery_tag"] == self.next_tag
            self.next_tag += 1
            number = int(said.body)
            if not said.args["redelivered"]:
                source = (name, self.sent[number].is_traded)
                assert number > self.seen.get(source, 0), f"{number} behind {self.seen[source]} of {name}"
                self.seen[source] = number
            if no_ack:
                self.settled |= {number} if name == "kept" else set()
            else:
                self.unacked[self.next_tag - 1] = (name, number)

    def promise(self, messages: list[Sent], on_disk: dict[int, bool]) -> None:
        for sent in messages:
            sent.promised = True
            if self.is_owed(sent):
                assert sent.number in on_disk, f"{sent} was promised before it was on disk"

    def is_owed(self, sent: Sent) -> bool:
        return (
            sent.persistent
            and "kept" in sent.queues
            and sent.promised
            and sent.number not in self.settled | self.excused
        )

    # -- at any moment --

    def survivors(self) -> dict[int, bool]:
        """What a crash would leave in the durable queue, in order: number -> redelivered."""
        server = Server(copy_of(self.store.inner), queue_window_bytes=self.window_bytes)
        restore(server.broker)
        server.turn()
        queue = server.broker.vhosts["/"].queues["kept"]
        found: dict[int, bool] = {}
        while True:
            message = wire.take_head(server, queue)
            if message is None:
                return found
            number = int(message.content[-7:-1])
            assert number not in found, f"{number} comes back twice"
            found[number] = message.redelivered

    @invariant()
    def a_crash_keeps_promises(self) -> None:
        found = self.survivors()
        # Each publisher keeps its order, but neither is first: a transaction's numbers are older than its commit.
        ours = [number for number in found if not self.sent[number].is_traded]
        assert ours == sorted(ours)
        for sent in self.sent.values():
            assert not self.is_owed(sent) or sent.number in found, f"{sent} is lost"
        assert all(self.sent[number].persistent for number in found)
        assert not self.settled_for_good & set(found), "acked, and back"
        for name, number in self.unacked.values():
            assert name != "kept" or found.get(number, True), f"{number} was delivered, and comes back as new"

    def teardown(self) -> None:
        """The disk catches up: everybody gets an answer."""
        self.store.is_reading = True
        self.listen()
        for _ in range(1000):
            if not self.store.complete():
                break
            self.listen()
        assert self.confirmed == len(self.confirmable)
        assert [self.commits, self.declares, self.asked] == [[], [], []], "an answer never came"
        self.a_crash_keeps_promises()
        for peer in list(self.server.peers.values()):
            peer.hang_up()
        self.store.is_delaying = False
        self.server.turn()
        self.store.complete()
        self.server.turn()
        wire.check_left(self.server)


def copy_of(disk: MemoryStore) -> MemoryStore:
    """What a start finds."""
    copy = MemoryStore()
    copy.tables = [dict(rows) for rows in disk.tables]
    copy.tables[SCRATCH] = {}
    return copy


class PagingDurabilityMachine(DurabilityMachine):
    """The same, with a queue that keeps few messages in memory."""

    window_bytes = 1200


TestDurability = DurabilityMachine.TestCase
TestDurability.settings = settings(max_examples=60, stateful_step_count=50, report_multiple_bugs=False)
TestPagingDurability = PagingDurabilityMachine.TestCase
TestPagingDurability.settings = settings(max_examples=80, stateful_step_count=50, report_multiple_bugs=False)


@needs_interpreter
def test_compacting_durability() -> None:
    with small_segments():
        run_state_machine_as_test(
            PagingDurabilityMachine,
            settings=settings(max_examples=100, stateful_step_count=50, report_multiple_bugs=False),
        )


@pytest.mark.slow
@needs_interpreter
def test_compacting_at_length() -> None:
    with small_segments():
        run_state_machine_as_test(PagingDurabilityMachine, settings=settings(max_examples=150, stateful_step_count=80))


@pytest.mark.slow
def test_at_length() -> None:
    run_state_machine_as_test(PagingDurabilityMachine, settings=settings(max_examples=150, stateful_step_count=80))
