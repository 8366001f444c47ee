"""Settings that hold for every test."""

import logging
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Machines are noisy: how long an example takes is no property of the code. pytest-timeout bounds a whole test.
settings.register_profile("amqpd", deadline=None, print_blob=True)
settings.load_profile("amqpd")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what compares with RabbitMQ where there is none."""
    if shutil.which("rabbitmq-server"):
        return
    for item in items:
        if item.get_closest_marker("oracle"):
            item.add_marker(pytest.mark.skip(reason="rabbitmq-server is not installed"))


@pytest.fixture(autouse=True)
def _logger() -> Iterator[None]:
    """What a command that ran in this process has set up for its log is nothing to the next test."""
    logger = logging.getLogger("amqpd")
    handlers, propagate, level = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)
