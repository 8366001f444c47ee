"""A ready file: there when it is time, whole, and gone afterwards; nobody else's file is touched."""

from pathlib import Path

import pytest

from amqpd.cli.ready_file import ReadyFile, ReadyFileError

LINE = '{"url": "amqp://guest:guest@127.0.0.1:1/%2F", "pid": 1}\n'
OTHER = '{"url": "amqp://guest:guest@127.0.0.1:2/%2F", "pid": 2}\n'


def test_is_there_from_publish_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    with ReadyFile(path) as file:
        assert not path.exists()
        file.publish(LINE)
        assert path.read_text() == LINE
        assert list(tmp_path.iterdir()) == [path]
    assert list(tmp_path.iterdir()) == []


def test_comes_all_at_once(tmp_path: Path) -> None:
    """It was written under another name, and is renamed."""
    path = tmp_path / "ready"
    with ReadyFile(path) as file:
        (draft,) = tmp_path.iterdir()
        number = draft.stat().st_ino
        file.publish(LINE)
        assert path.stat().st_ino == number


def test_nothing_stays_if_it_never_got_ready(tmp_path: Path) -> None:
    with ReadyFile(tmp_path / "ready"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [OTHER, ""])
def test_one_from_before_is_removed_at_once(tmp_path: Path, text: str) -> None:
    """Or who waits for ours would connect to a broker that was killed. mktemp leaves an empty one."""
    path = tmp_path / "ready"
    path.write_text(text)
    with ReadyFile(path):
        assert not path.exists()


def test_that_of_another_broker_stays(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    with ReadyFile(path) as file:
        file.publish(LINE)
        path.write_text(OTHER)
    assert path.read_text() == OTHER


def test_file_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "pom.xml"
    path.write_text("<project/>")
    with pytest.raises(ReadyFileError, match="xml: it exists, and no broker wrote it"), ReadyFile(path):
        pass
    assert path.read_text() == "<project/>"
    assert list(tmp_path.iterdir()) == [path]


def test_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ReadyFileError, match="it exists, and no broker wrote it"), ReadyFile(tmp_path):
        pass


def test_directory_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "none" / "ready"
    with pytest.raises(ReadyFileError) as error, ReadyFile(path):
        pass
    assert str(error.value) == f"--ready-file {path}: No such file or directory"


def test_directory_that_is_gone_at_the_end(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    with ReadyFile(directory / "ready") as file:
        file.publish(LINE)
        (directory / "ready").unlink()
        directory.rmdir()
