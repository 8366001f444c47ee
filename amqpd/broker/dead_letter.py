"""Dead letters: what becomes of a message that was rejected, expired, or too much (RabbitMQ: Dead Letter Exchanges).

Owns the headers that tell of deaths, and which cycles end. Must not know how messages are routed or kept.
"""

from collections.abc import Sequence
from typing import Final

from amqpd.broker import contents, tables
from amqpd.broker.fields import INTEGER_KINDS, Field, Table, longstr
from amqpd.broker.message import BLIND, Message
from amqpd.broker.publication import CARBON_COPIES, Publication, copies
from amqpd.broker.queues.base import REJECTED

X_DEATH: Final = "x-death"
COUNT_MAX: Final = (1 << 63) - 1


def dead_publication(
    message: Message, queue: str, reason: str, exchange: str, key: str | None, now_s: int
) -> Publication:
    """A message that died in ``queue``, as it is published to ``exchange``; with its own keys when ``key`` is None."""
    came_from, own_key = _address(message.address)
    headers = contents.read_headers(message.content)
    expiration = contents.find_property(message.content, "expiration")
    routing_keys = [own_key, *copies({name: field for name, field in headers.items() if name == "CC"})]
    death = {
        "count": Field("l", 1),
        "reason": longstr(reason),
        "queue": longstr(queue),
        "time": Field("T", now_s),
        "exchange": longstr(came_from),
        "routing-keys": Field("A", [longstr(each) for each in routing_keys]),
    }
    if expiration is not None:
        death["original-expiration"] = longstr(expiration)
    _record(headers, death)
    channel = message.channel
    if key is not None:
        headers = {name: field for name, field in headers.items() if name not in CARBON_COPIES}
        channel &= ~BLIND
    headers = dict(sorted(headers.items()))
    content = contents.with_headers(message.content, headers, expiration=None)
    persistent = contents.find_property(message.content, "delivery_mode") == "2"
    dead = Publication(exchange, own_key if key is None else key, content, channel, persistent=persistent)
    dead.headers = headers
    dead.is_dead = True
    return dead


def _record(headers: Table, death: Table) -> None:
    """Add ``death`` to the headers: in front of the others, or counted to one of the same queue and reason."""
    field = headers.get(X_DEATH)
    deaths = field.value if field is not None and isinstance(field.value, list) else None
    names = ("reason", "queue", "exchange")
    if field is None:
        headers.update({f"x-first-death-{name}": death[name] for name in names})
    headers.update({f"x-last-death-{name}": death[name] for name in names})
    if deaths is None:
        headers[X_DEATH] = Field("A", [Field("F", death)])
        return
    same = [each for each in deaths if _is_same(each, death)]
    if same and isinstance(same[0].value, dict):
        death = {**same[0].value, "count": _one_more(same[0].value.get("count"))}
    newest = Field("F", dict(sorted(death.items())))
    headers[X_DEATH] = Field("A", [newest, *(each for each in deaths if each not in same)])


def _is_same(entry: Field, death: Table) -> bool:
    """Whether an entry of x-death tells of the same queue and reason."""
    return isinstance(entry.value, dict) and all(
        _text(entry.value.get(name)) == death[name].value for name in ("queue", "reason")
    )


def _one_more(count: Field | None) -> Field:
    if count is None or count.kind not in INTEGER_KINDS or not isinstance(count.value, int):
        return Field("l", 1)
    return Field("l", min(count.value + 1, COUNT_MAX))


def ends_cycle(queue: str, message: Publication, reason: str) -> bool:
    """Whether ``message`` may not go to ``queue`` again: it was there before, and since then nobody but the broker
    itself has sent it on its way."""
    if reason == REJECTED:
        return False
    for entry in deaths_of(message):
        if _text(entry.get("reason")) == REJECTED:
            return False
        if _text(entry.get("queue")) == queue:
            return True
    return False


def deaths_of(message: Publication) -> Sequence[Table]:
    """The entries of x-death, newest first."""
    field = message.headers.get(X_DEATH)
    if field is None or not isinstance(field.value, list):
        return []
    return [entry.value for entry in field.value if isinstance(entry.value, dict)]


def _text(field: Field | None) -> str | None:
    if field is None:
        return None
    return tables.text_of(field.value) if isinstance(field.value, bytes) else str(field.value)


def _address(address: bytes) -> tuple[str, str]:
    """Exchange and routing key."""
    middle = 1 + address[0]
    return tables.text_of(address[1:middle]), tables.text_of(address[middle + 1 : -1])
