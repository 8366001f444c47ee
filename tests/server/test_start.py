"""From the command to the ready line, or to one line that says why not."""

import gc
import os
import re
import socket
from pathlib import Path

import lmdb
import pytest

from amqpd import __version__, process
from amqpd.broker import records
from amqpd.broker.ports import META
from amqpd.settings import Settings
from amqpd.store.lmdb_store import LmdbStore
from tests.server.conftest import Serve
from tests.server.serving import Served
from tests.support.raw_peer import RawPeer, properties


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def works(broker: Served, index: int = 0) -> bool:
    """Whether a message goes through."""
    peer = broker.connect(index)
    peer.login()
    peer.open_channel(1)
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.publish(1, "", queue, b"through")
    peer.get(1, queue, b"through")
    peer.close()
    return True


def one_line(broker: Served, code: int = 1) -> str:
    """What a start that fails says: one line on stderr, nothing on stdout."""
    assert broker.wait_exit() == code
    lines = broker.log().splitlines()
    assert len(lines) == 1, broker.log()
    assert broker.process.stdout is not None
    assert broker.process.stdout.read() == b""
    return lines[0]


def promise(broker: Served) -> str:
    """What the ready line says in brackets, at its end."""
    found = re.fullmatch(rf"amqpd {re.escape(__version__)} ready: amqp://\S+ \((.*)\)\n", broker.ready_line)
    assert found is not None, broker.ready_line
    return found[1]


def test_ready_line_names_the_port_that_was_free(serve: Serve, data_dir: str) -> None:
    broker = serve("--data-dir", data_dir)
    assert re.search(r" amqp://127\.0\.0\.1:\d+/ ", broker.ready_line)
    assert broker.port != 0
    assert works(broker)


def test_collections_begin_once_clients_can_connect() -> None:
    seen: list[bool] = []

    async def at_once() -> None:
        """Until then it serves."""

    settings = Settings(port=0, durability="memory")
    gc.disable()  # as the command line does
    try:
        assert process.run(settings, say_ready=lambda *_: seen.append(gc.isenabled()), until=at_once) == 0
    finally:
        gc.enable()
        gc.unfreeze()
    assert seen == [True]


def test_ready_line_says_what_survives(serve_on: Serve, data_dir: str) -> None:
    for durability, words in (
        ("fsync", f"data in {data_dir}, confirmed messages survive a power cut"),
        ("write", f"data in {data_dir}, confirmed messages survive a killed amqpd, not a power cut"),
        ("memory", "in memory, nothing survives a stop"),
    ):
        broker = serve_on("--data-dir", data_dir, "--durability", durability)
        assert promise(broker) == words
        assert broker.stop() == 0
    assert promise(serve_on("--memory")) == "in memory, nothing survives a stop"


def test_memory_leaves_the_data_directory_alone(serve_on: Serve, tmp_path: Path) -> None:
    broker = serve_on("--data-dir", str(tmp_path / "data"), environ={"AMQPD_DURABILITY": "memory"})
    assert works(broker)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("durability", ["fsync", "write"])
def test_what_a_killed_broker_had_confirmed_is_there(serve_on: Serve, data_dir: str, durability: str) -> None:
    """And the choice is nothing that the store remembers."""
    broker = serve_on("--data-dir", data_dir, "--durability", durability)
    peer = broker.login()
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"a", properties(delivery_mode=2))
    peer.expect(1, "basic.ack")
    broker.kill()
    assert serve_on("--data-dir", data_dir).login().take_all(1, "q") == [b"a"]


@needs_ipv6
def test_ipv6(serve: Serve) -> None:
    broker = serve("--host", "::1")
    assert re.search(r"ready: amqp://\[::1\]:\d+/ ", broker.ready_line)
    assert works(broker)
    broker.wait_log(r"\[::1\]:\d+ -> \[::1\]:\d+")


@needs_ipv6
def test_several_hosts_share_a_port(serve: Serve) -> None:
    broker = serve("--host", "127.0.0.1,::1,127.0.0.2")
    assert [host for host, _ in broker.addresses] == ["127.0.0.1", "::1", "127.0.0.2"]
    assert len({port for _, port in broker.addresses}) == 1
    assert [works(broker, index) for index in range(3)] == [True] * 3


@needs_ipv6
def test_all_addresses_of_both_kinds(serve: Serve) -> None:
    broker = serve("--host", "0.0.0.0,::")
    for host in ("127.0.0.1", "::1"):
        with RawPeer(host, broker.port) as peer:
            peer.login()
            peer.close()


def test_busy_port(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = one_line(serve("--port", str(port), ready=False))
    assert line == (
        f"amqpd: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "is another broker running? --port 0 picks a free port"
    )


def test_address_that_is_not_ours(serve_on: Serve) -> None:
    assert "cannot listen on 192.0.2.77:0" in one_line(serve_on("--host", "192.0.2.77", ready=False))


def test_host_that_nobody_knows(serve_on: Serve) -> None:
    assert "cannot listen on no-such-host.invalid:0" in one_line(
        serve_on("--host", "no-such-host.invalid", ready=False)
    )


def test_data_directory_in_use(serve: Serve, data_dir: str) -> None:
    first = serve("--data-dir", data_dir)
    line = one_line(serve("--data-dir", data_dir, ready=False))
    assert line == (
        f"amqpd: the data directory {data_dir} is in use by another amqpd (process {first.pid}): "
        "stop that one, or give this one another --data-dir"
    )
    assert works(first)


def test_data_directory_that_cannot_be_made(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    where = str(tmp_path / "file" / "data")
    line = one_line(serve("--data-dir", where, ready=False))
    assert line == f"amqpd: cannot write to the data directory {where}: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_data_directory_without_permission(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "Permission denied" in one_line(serve("--data-dir", str(tmp_path / "closed" / "data"), ready=False))


def test_data_directory_that_holds_something_else(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "data" / "store").mkdir(parents=True)
    (tmp_path / "data" / "store" / "data.mdb").write_text("something else" * 1000)
    assert one_line(serve("--data-dir", str(tmp_path / "data"), ready=False)).startswith(
        f"amqpd: cannot open the store in {tmp_path / 'data'}: "
    )


def test_data_of_a_newer_version(serve: Serve, data_dir: str) -> None:
    store = LmdbStore(Path(data_dir))
    store.commit(1, [(META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION + 1))])
    store.close()
    line = one_line(serve("--data-dir", data_dir, ready=False))
    newer, ours = records.SCHEMA_VERSION + 1, records.SCHEMA_VERSION
    assert line == (
        f"amqpd: the data directory {data_dir} was written by a newer amqpd (its schema is {newer}, "
        f"this one reads up to {ours}); use another directory"
    )


def test_a_store_that_is_damaged_inside(serve: Serve, data_dir: str) -> None:
    """A start that cannot understand what it reads says so, and goes on with the rest."""
    store = LmdbStore(Path(data_dir))
    store.commit(1, [(META, records.SCHEMA_KEY, b"\xff no number")])
    store.close()
    broker = serve("--data-dir", data_dir)
    assert "meta: the checksum of a record does not hold: it is in quarantine" in broker.log()
    assert broker.stop() == 0
    assert "error" not in serve("--data-dir", data_dir).log(), "once"


def test_a_data_file_that_is_gone(serve_on: Serve, data_dir: str) -> None:
    """Never an empty store in the place of one that was in use."""
    LmdbStore(Path(data_dir)).close()
    (Path(data_dir) / "store" / "data.mdb").unlink()
    line = one_line(serve_on("--data-dir", data_dir, ready=False))
    assert "data.mdb is missing or empty, though it was in use: bring it back from a backup, or move" in line


def test_durable_things_are_there_at_the_next_start(serve: Serve, data_dir: str) -> None:
    broker = serve("--data-dir", data_dir)
    peer = broker.login()
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"a", properties(delivery_mode=2))
    peer.expect(1, "basic.ack")
    peer.close()
    assert broker.stop() == 0
    again = serve("--data-dir", data_dir).login()
    again.get(1, "q", b"a", redelivered=False)


def test_other_programs_can_read_the_store(data_dir: str) -> None:
    """Any LMDB tool knows the format."""
    store = LmdbStore(Path(data_dir))
    store.commit(1, [(META, b"k", b"v")])
    store.close()
    environment = lmdb.open(str(Path(data_dir) / "store"), max_dbs=8, readonly=True, lib_version=0)
    with environment.begin(db=environment.open_db(b"meta", create=False)) as transaction:
        assert transaction.get(b"k") == b"v"
    environment.close()
