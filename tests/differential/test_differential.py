"""A slice of the differential run: what is fixed here is the seed, so that it is the same slice each time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.client import Client
from tests.differential.features import feature_names
from tests.differential.search import Pair, search
from tests.support import brokers

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.timeout(120)]

SEED = 20261121
SEQUENCES = 60


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with brokers.amqpd() as amqpd, brokers.rabbitmq(tmp_path) as rabbitmq:
        clients = Pair(Client(amqpd.host, amqpd.port, "a"), Client(rabbitmq.host, rabbitmq.port, "r"))
        yield clients
        clients.close()


def test_amqpd_answers_as_rabbitmq_does(pair: Pair) -> None:
    tally = search(pair, SEED, SEQUENCES, feature_names())
    assert tally.found == []
    assert tally.sequences > SEQUENCES // 2
