"""A broker for all tests of a file; whatever a load does, it leaves nothing there but queues that are named `kept`."""

from collections.abc import Iterator

import pytest

from amqpd.testing import Broker


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def broker(running: Broker) -> Iterator[Broker]:
    yield running
    running.faults.clear()
    running.wait_for(lambda: not running.connections)
    assert [queue.name for queue in running.queues() if not queue.name.startswith("kept")] == []
    running.reset()
