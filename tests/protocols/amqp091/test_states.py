"""The states have an order, and names for the log."""

from amqpd.protocols.amqp091 import states


def test_order_and_names() -> None:
    order = [
        states.HEADER,
        states.STARTING,
        states.TUNING,
        states.OPENING,
        states.RUNNING,
        states.CLOSING,
        states.CLOSED,
    ]
    assert order == list(range(7))
    assert states.STATE_NAMES[states.OPENING] == "opening"
    assert len(states.STATE_NAMES) == len(order)
