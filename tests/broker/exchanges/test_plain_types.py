from amqpd.broker.exchanges.plain_types import PLAIN_TYPES
from amqpd.broker.exchanges.registry import EXCHANGE_TYPES


def test_all_types_but_the_one_that_has_another_inside() -> None:
    assert set(EXCHANGE_TYPES) - set(PLAIN_TYPES) == {"x-delayed-message"}
    assert all(exchange_type.type_name == name for name, exchange_type in PLAIN_TYPES.items())
