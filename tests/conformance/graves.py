"""Dead letters for the dialogues: where they arrive, and the headers that tell how they died, bit for bit.

The rules are RabbitMQ's ("Dead Letter Exchanges"). The peer's decoder forgets the types of table fields; therefore what
is expected is encoded, and the bytes are compared.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.conftest import Name
from tests.support.raw_peer import Content, RawPeer, Typed, decode_properties, properties

CHANNEL: Final = 2


class Grave:
    """A queue where dead letters go; its consumer, on a channel of its own, hears of each at once."""

    def __init__(self, peer: RawPeer, queue: str) -> None:
        self.peer = peer
        self.queue = queue
        peer.call(1, "queue.declare", queue=queue)
        peer.open_channel(CHANNEL)
        peer.call(CHANNEL, "basic.consume", queue=queue, no_ack=True)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of a queue whose dead letters come here."""
        return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.queue}

    def expect(self, body: bytes | None = None) -> Content:
        return self.peer.expect_deliver(CHANNEL, body, redelivered=False)

    def expect_all(self, *bodies: bytes) -> list[Content]:
        return [self.expect(body) for body in bodies]


def queue_with(peer: RawPeer, name: Name, arguments: dict[str, Any]) -> str:
    """A new queue any connection may use."""
    new: str = peer.call(1, "queue.declare", queue=name("q"), arguments=arguments)["queue"]
    return new


def get_soon(peer: RawPeer, queue: str, **args: Any) -> Content:
    """The first that comes to this queue, for a consumer that leaves again; unacked."""
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue, consumer_tag="soon")
    content = peer.expect_deliver(1, consumer_tag="soon", **args)
    peer.call(1, "basic.cancel", consumer_tag="soon")
    peer.call(1, "basic.qos", prefetch_count=0)
    return content


@dataclass(frozen=True, slots=True)
class Death:
    """What an entry of ``x-death`` says, its time aside."""

    queue: str
    reason: str
    keys: tuple[str, ...] = ()  # the queue's name when left out: published through the default exchange
    exchange: str = ""
    count: int = 1
    expiration: str | None = None

    def fields(self, time: int) -> dict[str, Any]:
        """In the order of the broker that writes a message's first death."""
        known = {
            "count": Typed("l", self.count),
            "reason": self.reason,
            "queue": self.queue,
            "time": Typed("T", time),
            "exchange": self.exchange,
            "routing-keys": list(self.keys or (self.queue,)),
        }
        return known if self.expiration is None else known | {"original-expiration": self.expiration}


def assert_died(
    content: Content, *deaths: Death, first: Death | None = None, headers: dict[str, Any] | None = None, **other: Any
) -> None:
    """The latest death stands first; ``first`` is that of ``x-first-death-*``, the last one if not given.

    ``headers`` and ``other`` are what the message had of its own.
    """
    found = entries(content)
    assert [_untimed(entry) for entry in found] == [
        _untimed({key: _untyped(value) for key, value in death.fields(0).items()}) for death in deaths
    ]
    around = (headers or {}) | _first_death(first or deaths[-1]) | last_death(content)
    assert content.properties in [
        properties(headers=dict(sorted((around | {"x-death": written}).items())), **other)
        for written in _possibly_sorted(deaths, times(content))
    ]


def entries(content: Content) -> list[Any]:
    """``x-death``, decoded."""
    found: list[Any] = decode_properties(content.properties)["headers"]["x-death"]
    return found


def times(content: Content) -> list[int]:
    """When it died, in seconds since 1970, an entry each."""
    return [entry["time"] for entry in entries(content)]


def last_death(content: Content) -> dict[str, str]:
    """``x-last-death-*``, which RabbitMQ 3.10 does not write."""
    headers: dict[str, Any] = decode_properties(content.properties)["headers"]
    return {key: value for key, value in headers.items() if key.startswith("x-last-death-")}


def _first_death(death: Death) -> dict[str, str]:
    return {
        "x-first-death-exchange": death.exchange,
        "x-first-death-queue": death.queue,
        "x-first-death-reason": death.reason,
    }


def _untimed(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "time"}


def _untyped(value: Any) -> Any:
    return value.value if isinstance(value, Typed) else value


def _possibly_sorted(deaths: tuple[Death, ...], when: list[int]) -> Iterator[list[dict[str, Any]]]:
    """RabbitMQ 3.10 sorts the fields of an entry that is not a message's first; other versions do not."""
    fields = [death.fields(time) for death, time in zip(deaths, when, strict=True)]
    for chosen in itertools.product(*((each, dict(sorted(each.items()))) for each in fields)):
        yield list(chosen)
