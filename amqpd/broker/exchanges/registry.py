"""The exchange types by name."""

from typing import Final

from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.exchanges.delayed import DelayedExchange
from amqpd.broker.exchanges.plain_types import PLAIN_TYPES

EXCHANGE_TYPES: Final[dict[str, type[Exchange]]] = {**PLAIN_TYPES, DelayedExchange.type_name: DelayedExchange}


def find_exchange_type(name: str) -> type[Exchange] | None:
    """The type of this name, as ``exchange.declare`` gives it."""
    return EXCHANGE_TYPES.get(name)
