"""The load that somebody asks for: who publishes what, how fast, to which queues, and when it is enough.

Pure: words and numbers in, one frozen value out, or a PlanError that names the option. Names of options and what they
mean are RabbitMQ PerfTest's where it has them. Knows no sockets.
"""

from dataclasses import dataclass
from typing import Final

from amqpd.broker.fields import Field, Table

STAMP_BYTES: Final = 16  # of a body: time, run, producer, sequence number (producer.py)
PRODUCERS_MAX: Final = 1 << 16  # their number has two bytes of the stamp
LIMITING_ARGUMENTS: Final = ("x-max-length", "x-max-length-bytes", "x-message-ttl", "x-expires", "x-delivery-limit")
DEFAULT_URI: Final = "amqp://guest:guest@127.0.0.1:5672/%2F"


class PlanError(ValueError):
    """An option that cannot be, or that does not go with another."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A value that changes with time: (value, seconds) in turn, and from the start again. Seconds 0: for ever."""

    steps: tuple[tuple[float, float], ...]

    def value_at(self, elapsed_s: float) -> float:
        """What it is so long after the start."""
        if len(self.steps) == 1:
            return self.steps[0][0]
        left = elapsed_s % sum(seconds for _, seconds in self.steps)
        for value, seconds in self.steps:
            if left < seconds:
                return value
            left -= seconds
        return self.steps[-1][0]


UNBOUNDED: Final = Schedule(((0.0, 0.0),))


@dataclass(frozen=True, slots=True)
class Plan:
    """Rates are messages a second of each producer or consumer, 0 where there is no bound; so are counts."""

    uri: str = DEFAULT_URI
    run_id: str = "perf"
    producers: int = 1
    consumers: int = 1
    sizes: tuple[int, ...] = (STAMP_BYTES,)  # in turn
    size_schedule: Schedule | None = None  # instead of ``sizes``
    rate: Schedule = UNBOUNDED
    consumer_rate: float = 0
    consumer_latency_us: Schedule = UNBOUNDED
    confirm: int = 0  # most unconfirmed publishes of a producer; 0: no confirms
    qos: int = 0
    multi_ack_every: int = 1
    autoack: bool = False
    persistent: bool = False
    mandatory: bool = False
    queues: tuple[str, ...] = ()  # none: each consumer has a queue of its own, with a name by the broker
    queue_arguments: tuple[tuple[str, str | int | bool], ...] = ()
    auto_delete: bool = True
    exchange: str | None = None
    exchange_type: str = "direct"
    routing_key: str | None = None
    predeclared: bool = False
    time_s: float = 0
    pmessages: int = 0
    cmessages: int = 0
    interval_s: float = 1.0

    def __post_init__(self) -> None:
        for option, value in (("--producers", self.producers), ("--consumers", self.consumers)):
            _require(0 <= value < PRODUCERS_MAX, f"{option}: 0 to {PRODUCERS_MAX - 1:,}")
        _require(self.producers + self.consumers > 0, "--producers 0 and --consumers 0: there is nothing to do")
        sizes = self.sizes if self.size_schedule is None else [value for value, _ in self.size_schedule.steps]
        _require(min(sizes) >= STAMP_BYTES, f"--size: at least {STAMP_BYTES}, which the time and a number take")
        _require(self.interval_s >= 0.1, "--interval: at least 0.1 seconds")
        _require(self.multi_ack_every >= 1, "--multi-ack-every: at least 1")
        _require(0 <= self.qos < 1 << 16, "--qos: 0 to 65,535")
        _require(
            self.autoack or not self.qos or self.multi_ack_every <= self.qos,
            "--multi-ack-every beyond --qos: consumers would wait for messages, and the broker for acks",
        )
        numbers = (self.confirm, self.time_s, self.pmessages, self.cmessages, self.consumer_rate)
        values = [value for steps in (self.rate.steps, self.consumer_latency_us.steps) for value, _ in steps]
        _require(min(*numbers, *values) >= 0, "rates, counts and times: not below 0")
        _require(not (self.predeclared and self.consumers and not self.queues), "--predeclared: of which --queue?")
        _require(
            not (self.producers and not self.consumers and not self.queues and self.exchange is None),
            "--consumers 0: name the --queue or the --exchange to publish to",
        )

    @property
    def exchange_name(self) -> str:
        """Where messages are published; empty for the default exchange, which leads to queues by their names."""
        if self.exchange is not None:
            return self.exchange
        direct = self.queues and self.exchange_type == "direct" and self.routing_key is None
        return "" if direct or self.predeclared else f"amq.{self.exchange_type}"

    def queue_table(self) -> Table:
        """The arguments of queue.declare."""
        return {name: _field(value) for name, value in self.queue_arguments}

    @property
    def limiting_argument(self) -> str:
        """An argument by which the broker may drop messages on its own; empty without one."""
        return next((name for name, _ in self.queue_arguments if name in LIMITING_ARGUMENTS), "")


def _require(is_so: bool, complaint: str) -> None:
    if not is_so:
        raise PlanError(complaint)


def _field(value: str | int | bool) -> Field:
    return Field("t" if isinstance(value, bool) else "l" if isinstance(value, int) else "S", value)


def parse_sizes(text: str) -> tuple[int, ...]:
    """``"1000"`` or, in turn, ``"100,1000,20000"``."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise PlanError(f"--size: {text!r} is no number of bytes, and no such numbers with commas between") from None


def parse_schedule(option: str, words: list[str]) -> Schedule | None:
    """``["100:60", "1000:10"]``: 100 for 60 seconds, 1000 for 10, and so on; None for no words."""
    if not words:
        return None
    steps = []
    for word in words:
        value, _, seconds = word.partition(":")
        try:
            steps.append((float(value), float(seconds)))
        except ValueError:
            raise PlanError(f"{option}: {word!r} is not VALUE:SECONDS") from None
        _require(steps[-1][1] > 0, f"{option}: {word!r} takes no time")
    return Schedule(tuple(steps))


def read_rate(rate: float, interval_s: float, steps: list[str]) -> Schedule:
    """Of ``--rate``, ``--publishing-interval`` and ``--variable-rate``: the one that is given."""
    _require(bool(rate) + bool(interval_s) + bool(steps) <= 1, "--rate, --publishing-interval, --variable-rate: one")
    if interval_s:
        _require(interval_s > 0, "--publishing-interval: above 0")
        rate = 1 / interval_s
    return parse_schedule("--variable-rate", steps) or Schedule(((rate, 0.0),))


def read_latency(latency_us: float, steps: list[str]) -> Schedule:
    """Of ``--consumer-latency`` and ``--variable-latency``: the one that is given."""
    _require(not (latency_us and steps), "--consumer-latency or --variable-latency, not both")
    return parse_schedule("--variable-latency", steps) or Schedule(((latency_us, 0.0),))


def parse_truth(option: str, text: str) -> bool:
    """``true`` or ``false``."""
    _require(text in ("true", "false"), f"{option}: {text!r} is not true or false")
    return text == "true"


def parse_arguments(text: str) -> tuple[tuple[str, str | int | bool], ...]:
    """``"x-max-length=10,x-queue-mode=lazy"``; numbers and true or false are taken as such."""
    pairs = []
    for word in filter(None, text.split(",")):
        name, equals, value = word.partition("=")
        _require(bool(name and equals), f"--queue-args: {word!r} is not NAME=VALUE")
        pairs.append((name, _read_value(value)))
    return tuple(pairs)


def _read_value(text: str) -> str | int | bool:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.removeprefix("-").isdecimal() else text


def parse_flags(words: list[str]) -> frozenset[str]:
    """``["persistent", "mandatory"]``, or both in one word with a comma."""
    flags = frozenset(flag for word in words for flag in word.split(","))
    unknown = flags - {"persistent", "mandatory"}
    _require(not unknown, f"--flag: {', '.join(sorted(unknown))} is not persistent or mandatory")
    return flags


def queue_names(queue: str, pattern: str, first: int | None, last: int | None) -> tuple[str, ...]:
    """The queue of ``--queue``, or all of ``--queue-pattern`` from one number to another, both included."""
    if not pattern:
        _require(first is None and last is None, "--queue-pattern-from and -to: of which --queue-pattern?")
        return (queue,) if queue else ()
    _require(not queue, "--queue or --queue-pattern, not both")
    if first is None or last is None or not 0 <= first <= last:
        raise PlanError("--queue-pattern: from which number to which? --queue-pattern-from 1 --queue-pattern-to 10")
    try:
        names = tuple(pattern % number for number in range(first, last + 1))
    except (OverflowError, TypeError, ValueError):
        raise PlanError(f"--queue-pattern: {pattern!r} has no place for one number, as in perf-%d") from None
    _require(len(set(names)) == len(names), f"--queue-pattern: {pattern!r} gives the same name twice")
    return names
