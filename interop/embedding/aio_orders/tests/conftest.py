import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aio_pika.abc import AbstractRobustConnection

from amqpd.testing import AsyncBroker, Broker
from interop.embedding.aio_orders.shop import connect
from interop.embedding.bank import AsyncBank

WAITING = ("wait_", "start", "stop", "restart", "kill")


class Awaited:
    """A Broker whose methods that wait are awaited, as those of an AsyncBroker, so that the loop goes on meanwhile."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._broker, name)
        return _awaited(found) if name.startswith(WAITING) else found


def _awaited(method: Callable[..., None]) -> Callable[..., Any]:
    return lambda *values, **named: asyncio.to_thread(method, *values, **named)


@pytest.fixture(params=["thread", "loop"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """In a thread of its own, for the whole session; or in the test's event loop, for this test."""
    if request.param == "thread":
        request.getfixturevalue("amqpd_vhost")
        yield Awaited(request.getfixturevalue("amqpd"))
    else:
        async with AsyncBroker(record=True) as broker:
            yield broker


@pytest.fixture
async def connection(broker: AsyncBroker) -> AsyncIterator[AbstractRobustConnection]:
    async with await connect(broker.url) as connection:
        yield connection


@pytest.fixture
async def bank() -> AsyncBank:
    return AsyncBank()
