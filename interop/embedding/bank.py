"""A bank for tests: it refuses as often as it is told to, keeps customers waiting while it is closed, and takes the
money for an order once, however often it is asked.
"""

from __future__ import annotations

import asyncio
import threading

from interop.embedding.order import Order, PaymentFailed

TIMEOUT_S = 10.0  # a test that forgot to open it fails


class Books:
    """What a bank knows."""

    def __init__(self, *, refusals: int = 0) -> None:
        self.refusals = refusals  # still to come
        self.asked: list[Order] = []  # each time
        self.charged: dict[str, Order] = {}  # by number

    def decide(self, order: Order) -> None:
        """Raises PaymentFailed."""
        if self.refusals:
            self.refusals -= 1
            raise PaymentFailed("the bank says no")
        self.charged[order.number] = order


class Bank(Books):
    """``charge`` is what the shop calls, from any thread."""

    def __init__(self, *, refusals: int = 0, is_open: bool = True) -> None:
        super().__init__(refusals=refusals)
        self._is_open = threading.Event()
        if is_open:
            self._is_open.set()

    def close(self) -> None:
        """Keep all who come waiting."""
        self._is_open.clear()

    def open(self) -> None:
        """Serve those who wait, and all who come."""
        self._is_open.set()

    def charge(self, order: Order) -> None:
        """Raises PaymentFailed."""
        self.asked.append(order)
        if not self._is_open.wait(TIMEOUT_S):
            raise AssertionError("the bank stayed closed")
        self.decide(order)


class AsyncBank(Books):
    """The same for coroutines."""

    def __init__(self, *, refusals: int = 0, is_open: bool = True) -> None:
        super().__init__(refusals=refusals)
        self._is_open = asyncio.Event()
        if is_open:
            self._is_open.set()

    def open(self) -> None:
        """Serve those who wait, and all who come."""
        self._is_open.set()

    async def charge(self, order: Order) -> None:
        """Raises PaymentFailed."""
        self.asked.append(order)
        async with asyncio.timeout(TIMEOUT_S):
            await self._is_open.wait()
        self.decide(order)
