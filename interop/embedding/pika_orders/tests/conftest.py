from collections.abc import Iterator

import pika
import pytest

from amqpd.testing import Broker
from interop.embedding.bank import Bank
from interop.embedding.pika_orders.api import OrderApi


@pytest.fixture
def parameters(amqpd: Broker, amqpd_vhost: str) -> pika.ConnectionParameters:
    return amqpd.pika_parameters(virtual_host=amqpd_vhost)


@pytest.fixture
def api(parameters: pika.ConnectionParameters) -> Iterator[OrderApi]:
    with OrderApi(parameters) as api:
        yield api


@pytest.fixture
def bank() -> Bank:
    return Bank()
