"""How the parts of the shop get to the broker, and what they find there."""

from aio_pika import connect_robust
from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from interop.embedding.topology import BINDINGS, ORDERS, QUEUES

RECONNECT_S = 0.05
LOST = (AMQPError, ChannelInvalidStateError, ConnectionError)  # what is raised when a connection was lost


async def connect(url: str) -> AbstractRobustConnection:
    """A connection that is made anew when it is lost, with all that was declared and consumed on it."""
    return await connect_robust(url, reconnect_interval=RECONNECT_S)


async def declare(channel: AbstractRobustChannel) -> None:
    """Make sure that all of it is there; whoever comes first makes it."""
    exchange = await channel.declare_exchange(ORDERS, "topic", durable=True)
    for name, arguments in QUEUES.items():
        queue = await channel.declare_queue(name, durable=True, arguments=arguments)
        if name in BINDINGS:
            await queue.bind(exchange, BINDINGS[name])
