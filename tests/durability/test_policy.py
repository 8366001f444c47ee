"""What the broker does before it confirms, by the setting ``durability``: writes and syncs, and then the confirm."""

from collections import Counter
from pathlib import Path

import pytest

from tests.durability.disk import shim
from tests.durability.disk.log import Flag, Kind, Log, Record
from tests.server.serving import Served
from tests.support.raw_peer import properties

pytestmark = pytest.mark.skipif(bool(shim.why_not()), reason=shim.why_not() or "it can be built")

PERSISTENT = properties(delivery_mode=2)
BODY = b"a body that is found again in what was written"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shim.build(tmp_path_factory.mktemp("shim"))


def before_the_confirm(built: Path, directory: Path, durability: str) -> list[Record]:
    """What was done to the data directory between a publish and its confirm."""
    data = directory / "data"
    with Log(directory / "log") as log:
        options = ("--data-dir", str(data), "--durability", durability)
        with Served(directory, *options, environ=shim.environ(built, log.path, data, "scratch")) as broker:
            peer = broker.wait_ready().login()
            peer.call(1, "queue.declare", queue="q", durable=True)
            peer.call(1, "confirm.select")
            before = log.count
            peer.publish(1, "", "q", BODY, PERSISTENT)
            peer.expect(1, "basic.ack")
            after = log.count
        return log.records()[before:after]


def kinds(records: list[Record]) -> Counter[Kind]:
    return Counter(record.kind for record in records)


def written(records: list[Record]) -> bytes:
    return b"".join(record.payload for record in records if record.kind == Kind.WRITE)


def test_fsync_waits_for_the_disk(built: Path, tmp_path: Path) -> None:
    records = before_the_confirm(built, tmp_path, "fsync")
    assert BODY in written(records)
    assert kinds(records)[Kind.SYNC] >= 1
    begun = kinds(records)[Kind.WRITE] + kinds(records)[Kind.SYNC] + kinds(records)[Kind.SIZE]
    assert kinds(records)[Kind.END] == begun, "all of it has returned"


def test_write_waits_for_the_kernel_only(built: Path, tmp_path: Path) -> None:
    records = before_the_confirm(built, tmp_path, "write")
    assert BODY in written(records)
    assert kinds(records)[Kind.SYNC] == 0
    assert [record for record in records if record.kind == Kind.WRITE and record.flags & Flag.THROUGH] == []
    assert kinds(records)[Kind.END] == kinds(records)[Kind.WRITE] + kinds(records)[Kind.SIZE], "all of it has returned"


def test_memory_writes_nothing(built: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with Log(tmp_path / "log") as log:
        options = ("--data-dir", str(tmp_path / "data"), "--durability", "memory")
        with Served(tmp_path, *options, environ=shim.environ(built, log.path, tmp_path / "data")) as broker:
            peer = broker.wait_ready().login()
            peer.call(1, "queue.declare", queue="q", durable=True)
            peer.call(1, "confirm.select")
            peer.publish(1, "", "q", BODY, PERSISTENT)
            peer.expect(1, "basic.ack")
        assert log.count == 0
    assert list((tmp_path / "data").iterdir()) == []
