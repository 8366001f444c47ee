"""A virtual host with an exchange of any type, and time that passes when a test says so."""

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.fields import Field, Table
from amqpd.broker.publication import Publication
from amqpd.broker.queues.classic import ClassicQueue
from tests.broker.exchanges.published import published
from tests.broker.world import EPOCH_MS, World


def declare(
    world: World,
    type_name: str,
    name: str = "x",
    *,
    durable: bool = True,
    auto_delete: bool = False,
    arguments: Table | None = None,
) -> Exchange:
    world.vhost.declare_exchange(
        name, type_name, durable=durable, auto_delete=auto_delete, internal=False, arguments=arguments or {}
    )
    world.turn()
    return world.vhost.exchanges[name]


def bound(world: World, queue: str = "q", key: str = "k", *, exchange: str = "x", durable: bool = True) -> ClassicQueue:
    """The queue of this name, bound to the exchange."""
    found = world.queue(queue, durable=durable)
    world.vhost.bind(Binding(exchange, queue, True, key))
    return found


def send(
    world: World,
    body: bytes,
    key: str = "k",
    *,
    exchange: str = "x",
    persistent: bool = True,
    message_id: str | None = None,
    **headers: Field,
) -> Publication:
    """A message published there, its turn not finished; headers have underscores for dashes."""
    table = {name.replace("_", "-"): field for name, field in headers.items()}
    properties = {} if message_id is None else {"message_id": message_id}
    message = published(key, table, body, exchange=exchange, persistent=persistent, properties=properties)
    message.ticket = world.vhost.publish(message, world.vhost.exchanges[exchange])
    return message


def pass_to(world: World, ms: int) -> None:
    """All turns so long after the first broker's start."""
    world.now_ms = EPOCH_MS + ms
    while True:
        is_due = world.broker.turn.begin((world.now_ms - world.broker.turn.epoch_ms) / 1000)
        world.turn()
        if not is_due and not (world.store.is_reading and world.store.asked):
            return


def bodies(world: World, queue: ClassicQueue) -> list[bytes]:
    """What is ready there, taken and settled."""
    return [body_of(content) for content, _ in world.drain(queue)]


def body_of(content: bytes) -> bytes:
    """The body of a content that fits one frame."""
    return content[8 + int.from_bytes(content[3:7], "big") + 7 : -1]
