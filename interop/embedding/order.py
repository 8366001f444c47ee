"""What the shop trades in: orders, the payments they need, and what can go wrong with those."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer wants. The number is the shop's own: an order that arrives twice is the same order."""

    number: str
    item: str
    quantity: int = 1

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, body: bytes) -> Order:
        """Raises ValueError when this is no order."""
        try:
            return cls(**json.loads(body))
        except TypeError as error:
            raise ValueError(f"no order: {error}") from error


class PaymentFailed(Exception):
    """The bank did not take it; it may take it later."""


class NotPlaced(Exception):
    """The order is not in the shop's hands: the customer is told to come back."""
