import pytest

from amqpd.broker.exchanges.deduplication import DeduplicationExchange
from amqpd.broker.fields import Field, longstr
from amqpd.errors import PreconditionFailed
from tests.broker.exchanges.house import bodies, bound, declare, send
from tests.broker.world import World


def test_all_bindings_get_a_message_once() -> None:
    world = World()
    declare(world, "x-message-deduplication", arguments={"x-cache-size": Field("I", 10)})
    queues = [bound(world, "a", "1"), bound(world, "b", "2")]
    for body in (b"first", b"again"):
        send(world, body, "any key", x_deduplication_header=longstr("id"))
    send(world, b"other", x_deduplication_header=longstr("other id"))
    send(world, b"without")
    assert [bodies(world, queue) for queue in queues] == [[b"first", b"other", b"without"]] * 2


def test_the_size_of_its_cache_must_be_given() -> None:
    with pytest.raises(PreconditionFailed, match="'x-cache-size' must be an integer between 1 and 1048576"):
        DeduplicationExchange.check_arguments({})
    DeduplicationExchange.check_arguments({"x-cache-size": Field("I", 1)})


def test_the_id_is_its_header_only() -> None:
    world = World()
    arguments = {"x-cache-size": Field("I", 10), "x-deduplication-header": longstr("other")}
    declare(world, "x-message-deduplication", arguments=arguments)
    queue = bound(world)
    for _ in range(2):
        send(world, b"m", message_id="id", other=longstr("id"))
    assert bodies(world, queue) == [b"m", b"m"]
