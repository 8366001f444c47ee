"""A load from beginning to end: connections, the loop that keeps everybody busy, and an end that leaves nothing behind.

What passes over a socket is for producer.py and consumer.py, what the figures mean for figures.py.
"""

import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Final

from amqpd.clock import SystemClock
from amqpd.perf import address, checking
from amqpd.perf.consumer import Consumer, Tally
from amqpd.perf.figures import Counts, Result, Sample, quantiles, sample
from amqpd.perf.histogram import Histogram
from amqpd.perf.ledger import Ledger
from amqpd.perf.link import BrokerError, Link, Refused
from amqpd.perf.plan import Plan
from amqpd.perf.producer import Producer
from amqpd.perf.publish import CHANNEL, Publish, Target, encode
from amqpd.perf.seats import Clock, Room
from amqpd.perf.topology import Topology
from amqpd.protocols.amqp091 import codec
from amqpd.protocols.amqp091.constants import BASIC_CANCEL, BASIC_CONSUME, BASIC_QOS, CONFIRM_SELECT

NS: Final = 1_000_000_000
CONSUMER_TAG: Final = "perf"
WAIT_MIN_S: Final = 0.0002  # between two rounds of publishes that have a rate
WAIT_MAX_S: Final = 0.1  # until somebody asks again whether to stop
SETTLE_S: Final = 5.0  # for confirms and answers that are due in the end
DRAIN_S: Final = 1.0  # for messages that are on their way when time is up
IDLE_S: Final = 5.0  # without a message: what has not come by then does not come


def wall_clock() -> Clock:
    """Nanoseconds since 1970, by a clock that never jumps."""
    epoch_ns = int(SystemClock().epoch() * NS)
    return lambda: epoch_ns + time.monotonic_ns()


class Load:
    """One run of a plan. ``should_stop`` is asked often; ``on_sample`` is told of each interval."""

    def __init__(self, plan: Plan, should_stop: Callable[[], bool], on_sample: Callable[[Sample], None]) -> None:
        self._plan = plan
        self._should_stop = should_stop
        self._on_sample = on_sample
        self._now = wall_clock()
        self._here = address.parse(plan.uri)
        self._room = Room(self._now)
        self._tally = Tally(secrets.randbelow(1 << 15))
        self._ledgers: checking.Ledgers = []
        self._publishes: dict[tuple[Target, int], Publish] = {}  # encoded so far
        self._frame_max = 0
        self._size = 0.0  # of messages now, where it changes with time
        self._started_at = 0
        self._stopped_at = 0  # publishing
        self._sampled_at = 0
        self._sampled = Counts()
        self._latency = Histogram()  # of the intervals that are over
        self._confirm_latency = Histogram()
        self._doubt = ""  # why nobody can tell whether messages were lost

    def run(self) -> Result:
        """Until the plan is done. Raises BrokerError when it cannot begin; later faults are in the result."""
        self._control = Link(self._here, f"{self._plan.run_id} control")
        self._topology = Topology(self._plan, self._control)
        try:
            self._topology.declare()
            self._doubt = self._topology.doubt()
            self._ledgers = [[Ledger() for _ in range(self._plan.producers)] for _ in self._topology.queues]
            self._connect()
            return self._measure()
        finally:
            self._leave()

    # -- the beginning --

    def _connect(self) -> None:
        """Consumers first, so that a message never waits for a consumer that is still to come."""
        for number in range(self._plan.consumers):
            self._seat_consumer(number)
        for number in range(self._plan.producers):
            self._seat_producer(number)

    def _seat_consumer(self, number: int) -> None:
        plan = self._plan
        index = self._topology.queue_of(number)
        queue = self._topology.queues[index].name
        link = Link(self._here, f"{plan.run_id} consumer {number}")
        try:
            if plan.qos:
                link.call(BASIC_QOS, "basic.qos-ok", prefetch_count=plan.qos)
            link.call(BASIC_CONSUME, "basic.consume-ok", queue=queue, consumer_tag=CONSUMER_TAG, no_ack=plan.autoack)
        except BrokerError:
            link.socket.close()
            raise
        worker = Consumer(
            self._tally,
            queue,
            self._ledgers[index],
            ack_every=plan.multi_ack_every,
            limit=plan.cmessages,
            autoack=plan.autoack,
        )
        self._room.seat(link, worker)

    def _seat_producer(self, number: int) -> None:
        plan = self._plan
        link = Link(self._here, f"{plan.run_id} producer {number}")
        try:
            if plan.confirm:
                link.call(CONFIRM_SELECT, "confirm.select-ok")
        except BrokerError:
            link.socket.close()
            raise
        self._frame_max = link.frame_max
        sizes = plan.sizes if plan.size_schedule is None else (int(plan.size_schedule.value_at(0)),)
        publishes = [self._encoded(number, size) for size in sizes]
        worker = Producer(number, int(self._tally.run), window=plan.confirm, limit=plan.pmessages, publishes=publishes)
        worker.credit = 1 - number / plan.producers  # not all in the same moment
        self._room.seat(link, worker)

    def _encoded(self, producer: int, size: int) -> Publish:
        target = self._topology.target(producer)
        found = self._publishes.get((target, size))
        if found is None:
            found = self._publishes[target, size] = encode(target, size, self._frame_max)
        return found

    # -- while it runs --

    def _measure(self) -> Result:
        error, left = "", None
        cpu_s = time.process_time()
        self._started_at = self._sampled_at = self._now()
        for _, producer in self._room.producers:
            producer.credited_at = self._started_at
        try:
            self._keep_busy()
            self._stopped_at = self._now()
            self._settle()
            left = self._end_consumers()
        except BrokerError as lost:
            error = str(lost)
            self._stopped_at = self._stopped_at or self._now()
        return self._result(left, error, time.process_time() - cpu_s)

    def _keep_busy(self) -> None:
        interval = int(self._plan.interval_s * NS)
        while not self._is_over():
            wait_s = min(self._publish(), self._consume(), (self._sampled_at + interval - self._now()) / NS)
            self._room.turn(wait_s)
            if self._now() >= self._sampled_at + interval:
                self._sample()
        if self._now() >= self._sampled_at + interval // 2:  # the rest of one is worth a line, too
            self._sample()

    def _is_over(self) -> bool:
        plan, now = self._plan, self._now()
        if self._should_stop() or (plan.time_s and now - self._started_at >= plan.time_s * NS):
            return True
        if not plan.pmessages and not plan.cmessages:
            return False
        if plan.pmessages and not all(producer.is_done for _, producer in self._room.producers):
            return False
        if plan.cmessages:
            is_done = all(consumer.is_done for _, consumer in self._room.consumers)
        else:
            is_done = not plan.consumers or self._has_all()
        # Who waits for producers elsewhere waits for ever.
        return is_done or bool(plan.pmessages and plan.producers and self._is_idle(now))

    def _has_all(self) -> bool:
        producers = [producer for _, producer in self._room.producers]
        counts = checking.expected(self._topology, producers)
        return self._tally.consumed >= sum(counts[: self._plan.consumers])  # of the queues that have consumers

    def _is_idle(self, now: int) -> bool:
        last = max(int(self._tally.consumed_at), *(int(producer.published_at) for _, producer in self._room.producers))
        return now - last > IDLE_S * NS

    def _publish(self) -> float:
        """Everybody publishes what is due; in how many seconds the next is."""
        elapsed_s = (self._now() - self._started_at) / NS
        rate = self._plan.rate.value_at(elapsed_s)
        if self._plan.size_schedule is not None:
            self._change_size(self._plan.size_schedule.value_at(elapsed_s))
        wait_s = WAIT_MAX_S
        for seat, producer in self._room.producers:
            if seat.unsent:
                continue
            now = self._now()
            count = producer.allowed(now, rate)
            if count > 0:
                before = producer.published
                seat.send(producer.encode(count, now))
                if producer.published - before < count:  # there is more than a batch
                    wait_s = 0
            if rate > 0 and not producer.is_done:
                wait_s = min(wait_s, max((1 - producer.credit) / rate, WAIT_MIN_S))
        return wait_s

    def _change_size(self, size: float) -> None:
        if size != self._size:
            self._size = size
            for _, producer in self._room.producers:
                producer.publishes = [self._encoded(producer.number, int(size))]

    def _consume(self) -> float:
        """Consumers that take their time do what is due; in how many seconds the next is."""
        plan, now = self._plan, self._now()
        latency_us = plan.consumer_latency_us.value_at((now - self._started_at) / NS)
        pace_ns = max(int(latency_us * 1000), int(NS / plan.consumer_rate) if plan.consumer_rate else 0)
        wait_s = WAIT_MAX_S
        for seat, consumer in self._room.consumers:
            consumer.pace = pace_ns
            if consumer.waiting:
                consumer.work(now)
                if acks := consumer.take_output():
                    seat.send(acks)
                seat.read_or_not(not consumer.is_full)
                if consumer.waiting:
                    wait_s = min(wait_s, max((consumer.waiting[0][0] - now) / NS, 0))
        return wait_s

    def _sample(self) -> None:
        now = self._now()
        latency, confirm_latency = self._take_times()
        counts = self._counts()
        took_s = (now - self._sampled_at) / NS
        at_s = (now - self._started_at) / NS
        self._on_sample(sample(at_s, took_s, (self._sampled, counts), (latency, confirm_latency)))
        self._sampled_at, self._sampled = now, counts
        self._latency.take(latency)
        self._confirm_latency.take(confirm_latency)

    def _take_times(self) -> tuple[Histogram, Histogram]:
        """What was measured since the last time: of deliveries, of confirms."""
        latency, confirm_latency = Histogram(), Histogram()
        latency.take(self._tally.latency)
        for _, producer in self._room.producers:
            confirm_latency.take(producer.latency)
        return latency, confirm_latency

    def _counts(self) -> Counts:
        producers = [producer for _, producer in self._room.producers]
        return Counts(
            published=sum(int(producer.published) for producer in producers),
            confirmed=sum(int(producer.confirmed) for producer in producers),
            nacked=sum(int(producer.nacked) for producer in producers),
            returned=sum(int(producer.returned) for producer in producers),
            consumed=int(self._tally.consumed),
        )

    # -- the end --

    def _settle(self) -> None:
        """Nothing more is published: wait for confirms, for what is in sockets, and a moment for deliveries."""
        producers = self._room.producers
        self._until(lambda: all(not seat.unsent and not producer.unconfirmed for seat, producer in producers), SETTLE_S)
        asked = [seat for seat, _ in producers if not seat.unsent]
        for seat in asked:  # its answer comes behind all publishes
            seat.send(codec.method_frame(CHANNEL, BASIC_QOS))
        all_taken = self._until(lambda: all(seat.is_answered for seat in asked), SETTLE_S)
        if not all_taken or len(asked) < len(producers):
            self._doubt = self._doubt or "the broker has not taken all that was published"
        if self._room.consumers:
            self._until(self._has_all, DRAIN_S)

    def _end_consumers(self) -> list[int] | None:
        """Nobody consumes any more; how many messages are left in each queue, None if that cannot be known."""
        for seat, _ in self._room.consumers:
            seat.is_ending = True
            seat.read_or_not(True)
        left = None
        if self._topology.is_to_be_removed:
            left = self._topology.remove()  # which cancels all consumers, behind their last delivery
        else:
            for seat, _ in self._room.consumers:
                seat.send(codec.method_frame(CHANNEL, BASIC_CANCEL, consumer_tag=CONSUMER_TAG))
        if not self._until(lambda: all(seat.is_answered for seat, _ in self._room.consumers), SETTLE_S):
            self._doubt = self._doubt or "the broker has not ended all consumers"
        if self._topology.is_kept:
            with contextlib.suppress(Refused):
                left = self._topology.count()
        return left

    def _until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Take in what comes until something is so, or it takes too long; whether it is."""
        end = self._now() + int(seconds * NS)
        while not is_so() and self._now() < end:
            self._room.turn(min(self._consume(), (end - self._now()) / NS))
        return is_so()

    def _result(self, left: list[int] | None, error: str, cpu_s: float) -> Result:
        now = self._now()
        producers = [producer for _, producer in self._room.producers]
        latency, confirm_latency = self._take_times()
        self._latency.take(latency)
        self._confirm_latency.take(confirm_latency)
        counts = self._counts()
        blocked_ns = [seat.blocked_ns + seat.take_blocked_ns(now) for seat in self._room.seats.values()]
        doubt = self._doubt or error
        return Result(
            run_id=self._plan.run_id,
            seconds=(now - self._started_at) / NS,
            counts=counts,
            unconfirmed=sum(producer.unconfirmed for producer in producers),
            left_in_queues=None if left is None else sum(left),
            publish_rate=_rate(counts.published, self._stopped_at - self._started_at),
            consume_rate=_rate(counts.consumed, int(self._tally.consumed_at) - self._started_at),
            latency_us=quantiles(self._latency),
            confirm_latency_us=quantiles(self._confirm_latency),
            blocked_s=max(blocked_ns, default=0) / NS,
            cpu_s=cpu_s,
            verdict=checking.judge(self._topology, producers, self._ledgers, self._tally, left, doubt),
            error=error,
        )

    def _leave(self) -> None:
        """Close everything; remove what auto-delete would not, where the load never came so far."""
        self._room.close()
        try:
            if self._topology.is_to_be_removed:
                self._topology.remove()
        except BrokerError:
            pass  # what cannot be removed is gone, or in use
        finally:
            self._control.close(1.0)


def _rate(count: int, ns: int) -> float:
    return count / ns * NS if ns > 0 else 0.0
