"""The exchange types that are no more than what they match: a delayed message exchange can be of any of them.

Owns the table. Must not know what any of them does. Rules: AMQP 0-9-1 section 3.1.3 (direct and fanout are mandatory,
topic and headers recommended); the others have the names of RabbitMQ's plug-ins.
"""

from typing import Final

from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.exchanges.consistent_hash import ConsistentHashExchange
from amqpd.broker.exchanges.deduplication import DeduplicationExchange
from amqpd.broker.exchanges.direct import DirectExchange
from amqpd.broker.exchanges.fanout import FanoutExchange
from amqpd.broker.exchanges.headers import HeadersExchange
from amqpd.broker.exchanges.modulus_hash import ModulusHashExchange
from amqpd.broker.exchanges.random_choice import LocalRandomExchange, RandomExchange
from amqpd.broker.exchanges.recent_history import RecentHistoryExchange
from amqpd.broker.exchanges.topic import TopicExchange

PLAIN_TYPES: Final[dict[str, type[Exchange]]] = {
    exchange_type.type_name: exchange_type
    for exchange_type in (
        DirectExchange,
        FanoutExchange,
        TopicExchange,
        HeadersExchange,
        ConsistentHashExchange,
        ModulusHashExchange,
        RandomExchange,
        LocalRandomExchange,
        RecentHistoryExchange,
        DeduplicationExchange,
    )
}
