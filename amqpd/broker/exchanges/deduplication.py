"""The deduplication exchange: to every binding, but a message with an id that was seen lately to none.

Which are seen, and for how long, is ``seen.py``'s affair; there are the arguments as well. Rules: the RabbitMQ plug-in
rabbitmq-message-deduplication.
"""

from amqpd.broker.exchanges.fanout import FanoutExchange


class DeduplicationExchange(FanoutExchange):
    """Routes to all of its bindings."""

    type_name = "x-message-deduplication"
    deduplicates = True
