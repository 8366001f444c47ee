"""The shop's topology, declared with pika."""

from pika.adapters.blocking_connection import BlockingChannel

from interop.embedding.topology import BINDINGS, ORDERS, QUEUES


def declare(channel: BlockingChannel) -> None:
    """Make sure that all of it is there; whoever comes first makes it."""
    channel.exchange_declare(ORDERS, "topic", durable=True)
    for queue, arguments in QUEUES.items():
        channel.queue_declare(queue, durable=True, arguments=arguments)
    for queue, binding_key in BINDINGS.items():
        channel.queue_bind(queue, ORDERS, binding_key)
