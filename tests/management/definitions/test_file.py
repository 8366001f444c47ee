import json
from pathlib import Path

import pytest

from amqpd.management.definitions.file import load
from amqpd.management.definitions.plan import InvalidDefinitions
from tests.broker.world import World


def test_all_of_a_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    queues = [{"name": f"q{number}", "vhost": "/", "durable": True} for number in range(200)]
    file.write_text(json.dumps({"queues": queues}))
    world = World()
    load(world.broker, file)
    world.turn()
    assert len(world.crash().vhost.queues) == 200


@pytest.mark.parametrize("content", [None, b"\xff", b"{", b"[" * 100_000, b'{"queues": [{}]}'])
def test_a_file_that_cannot_be_taken(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "definitions.json"
    if content is not None:
        file.write_bytes(content)
    world = World()
    with pytest.raises(InvalidDefinitions):
        load(world.broker, file)
    assert world.vhost.queues == {}
