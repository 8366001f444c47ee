"""The names on the broker, and what the shop asks of it. A payment that fails waits in a queue without consumers until
its time to live brings it back; after TRIES it is laid aside for a person.

    orders (topic) -- order.created --> payments <---- after RETRY_AFTER_MS ----+
                   \\- order.#       --> audit   \\-- rejected --> payments.retry
                                                 \\- given up --> payments.dead
"""

from typing import Any, Final

ORDERS: Final = "orders"  # the exchange
CREATED: Final = "order.created"  # routing keys
PAID: Final = "order.paid"
GIVEN_UP: Final = "order.given_up"

PAYMENTS: Final = "payments"  # queues
RETRY: Final = "payments.retry"
DEAD: Final = "payments.dead"
AUDIT: Final = "audit"
STOCK: Final = "stock"

REPLY_TO: Final = "amq.rabbitmq.reply-to"

TRIES: Final = 3
RETRY_AFTER_MS: Final = 30_000

# All durable: queue -> its arguments.
QUEUES: Final[dict[str, dict[str, Any]]] = {
    PAYMENTS: {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": RETRY},
    RETRY: {
        "x-message-ttl": RETRY_AFTER_MS,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": PAYMENTS,
    },
    DEAD: {},
    AUDIT: {},
    STOCK: {},
}
# Queue -> binding key at ORDERS.
BINDINGS: Final = {PAYMENTS: CREATED, AUDIT: "order.#"}


def tries(headers: dict[str, Any] | None) -> int:
    """How often a payment has failed before, as the broker counted it."""
    deaths = (headers or {}).get("x-death", [])
    return sum(death["count"] for death in deaths if (death["queue"], death["reason"]) == (PAYMENTS, "rejected"))
