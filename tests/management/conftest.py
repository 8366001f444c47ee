from collections.abc import Iterator

import pytest

from tests.broker.world import World
from tests.management.operators import Operator


@pytest.fixture
def operator() -> Iterator[Operator]:
    operator = Operator(World())
    yield operator
    operator.close()
