"""A slice of the differential run: what is fixed here is the seed, so that it is the same slice each time."""

from collections.abc import Iterator

import pytest

from tests.differential import nodes
from tests.differential.client import Client
from tests.differential.features import feature_names
from tests.differential.search import Pair, search

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.timeout(120)]

SEED = 20261121
SEQUENCES = 30


@pytest.fixture
def pair() -> Iterator[Pair]:
    with nodes.amqpd() as ours, nodes.rabbitmq() as theirs:
        clients = Pair(
            Client(ours.host, ours.port, "a", ours.operator()), Client(theirs.host, theirs.port, "r", theirs.operator())
        )
        yield clients
        clients.close()


def test_amqpd_answers_as_rabbitmq_does(pair: Pair) -> None:
    tally = search(pair, SEED, SEQUENCES, feature_names())
    assert tally.found == []
    assert tally.sequences > SEQUENCES // 2
