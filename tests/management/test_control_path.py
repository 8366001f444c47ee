import socket
from pathlib import Path

import pytest

from amqpd.management.control_path import ADDRESS_MAX_BYTES, reachable


@pytest.mark.parametrize("depth", [1, 10])
def test_a_socket_is_reachable_however_long_its_path(tmp_path: Path, depth: int) -> None:
    directory = tmp_path.joinpath(*["a directory with a long name"] * depth)
    directory.mkdir(parents=True)
    path = directory / "control.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with reachable(path) as address:
            assert len(address) <= ADDRESS_MAX_BYTES
            server.bind(address)
        server.listen()
        assert path.is_socket()
        with reachable(path) as address:
            client.connect(address)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), reachable(tmp_path / ("x" * 200) / "control.sock"):
        pass
