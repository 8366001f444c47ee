"""Messages that die while the disk is slow: each is with a consumer, in its queue or in the grave.

A crash loses none that was confirmed; without one each is in one place only. In the end the disk has nothing left.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.broker.ports import ACKS, SEGMENTS
from amqpd.protocols.amqp091.hot_codec import body_of
from tests.broker.world import World, arguments
from tests.support.raw_peer import properties
from tests.support.small_segments import needs_interpreter, small_segments
from tests.support.wire import Peer

Step = tuple[str, int]


class Cemetery:
    """A queue of five messages that live for 50 ms, what is dead of it, a publisher and a consumer."""

    def __init__(self) -> None:
        self.sent = 0
        self.confirmed: set[int] = set()
        self.settled: list[int] = []  # acked by the consumer
        self.has_crashed = False
        self.world = World(window_bytes=1200)
        self.world.queue("grave")
        grave = {"dead_letter_exchange": "", "dead_letter_routing_key": "grave"}
        self.world.queue("q", arguments=arguments(message_ttl=50, max_length=5, **grave))
        self.start()

    def start(self) -> None:
        self.publisher = self.world.server.peer(1)
        self.publisher.call(1, "confirm.select")
        self.published: list[int] = []  # by sequence number
        self.consumer: Peer | None = None
        self.unacked: dict[int, int] = {}  # tag -> number
        self.world.store.is_delaying = True

    def step(self, verb: str, number: int) -> None:
        match verb:
            case "send":
                for _ in range(number):
                    self.sent += 1
                    self.published.append(self.sent)
                    self.publisher.publish(1, "", "q", b"%05d" % self.sent, properties(delivery_mode=2))
            case "pass":
                self.world.pass_ms(number * 7)
            case "consume" if self.consumer is None:
                self.consumer = self.world.server.peer(1)
                self.consumer.send(1, "basic.qos", prefetch_count=2)
                self.consumer.send(1, "basic.consume", queue="q", consumer_tag="c")
            case "leave" if self.consumer is not None:
                self.listen()
                self.consumer.hang_up()
                self.consumer, self.unacked = None, {}
            case "ack" | "reject" if self.consumer is not None and self.unacked:
                tag = list(self.unacked)[number % len(self.unacked)]
                settled = self.unacked.pop(tag)
                if verb == "ack":
                    self.settled.append(settled)
                    self.consumer.send(1, "basic.ack", delivery_tag=tag)
                else:
                    self.consumer.send(1, "basic.reject", delivery_tag=tag, requeue=False)
            case "complete":
                self.world.store.complete()
            case "crash" if number == 0:
                self.has_crashed = True
                self.world = self.world.crash()
                self.start()
        self.world.turn()
        self.listen()

    def listen(self) -> None:
        for said in self.publisher.output():
            assert said.name == "basic.ack"
            self.confirmed.update(self.published[: said.args["delivery_tag"]])
        for said in self.consumer.output() if self.consumer else []:
            if said.name == "basic.deliver":
                self.unacked[said.args["delivery_tag"]] = int(said.body)

    def check(self) -> None:
        """The disk catches up, and everything is looked for."""
        self.world.store.is_delaying = False
        self.step("complete", 0)
        self.step("leave", 0)
        found = list(self.settled)
        for name in ("q", "grave"):
            found += [int(body_of(content)) for content in self.world.bodies(self.world.find(name))]
        assert self.confirmed <= set(found)
        if not self.has_crashed:
            assert sorted(found) == list(range(1, self.sent + 1))
        assert (self.world.rows(SEGMENTS), self.world.rows(ACKS)) == ({}, {})


VERBS = ("send", "send", "send", "pass", "pass", "consume", "leave", "ack", "ack", "reject", "complete", "complete")
STEPS = st.lists(st.tuples(st.sampled_from((*VERBS, "crash")), st.integers(0, 8)), min_size=5, max_size=40)


def run(steps: list[Step]) -> None:
    cemetery = Cemetery()
    for verb, number in steps:
        cemetery.step(verb, number)
    cemetery.check()


@settings(max_examples=100)
@given(steps=STEPS)
def test_nothing_is_lost_on_its_way_to_the_grave(steps: list[Step]) -> None:
    run(steps)


@needs_interpreter
@settings(max_examples=60)
@given(steps=STEPS)
def test_nor_among_small_segments(steps: list[Step]) -> None:
    with small_segments():
        run(steps)
