"""client.toml: what is read, what is missing, and setting up once for each text."""

import os
import sys
from pathlib import Path

import pytest

from interop import client
from interop.client import Client, NotSetUp, find_clients


def make(here: Path, **facts: object) -> Client:
    return Client(**{"name": "a", "language": "Fake", "here": here, "run": ["{python}", "{here}/d.py"]} | facts)  # type: ignore[arg-type]


def test_clients_of_ci_come_first() -> None:
    found = find_clients()
    assert "pika" in [each.name for each in found]
    assert [each.is_in_ci for each in found] == sorted((each.is_in_ci for each in found), reverse=True)
    assert all(each.variants and each.run for each in found)
    assert len({each.name for each in found}) == len(found)


def test_a_client_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "client.toml").write_text('name = "one"\nlanguage = "C"\nrun = ["x"]\n[lacks]\ntx = "no"\n')
    monkeypatch.setattr(client, "CLIENTS", tmp_path)
    (one,) = find_clients()
    assert (one.name, one.language, one.variants, one.lacks, one.is_in_ci) == ("one", "C", [""], {"tx": "no"}, False)
    assert one.here == tmp_path / "one"


def test_command_and_surroundings(tmp_path: Path) -> None:
    one = make(tmp_path, environment={"WHERE": "{cache}/x"})
    one.cache = tmp_path / "cache"
    assert one.command("", "rpc") == [sys.executable, f"{tmp_path}/d.py", "rpc"]
    assert one.command("select", "rpc")[-2:] == ["select", "rpc"]
    assert one.surroundings() == os.environ | {"WHERE": f"{tmp_path}/cache/x"}


def test_missing_programs_are_named(tmp_path: Path) -> None:
    one = make(tmp_path, needs=["no-such-program", sys.executable], debian=["package"])
    with pytest.raises(NotSetUp, match=r"needs no-such-program \(Debian: package\)"):
        one.set_up(tmp_path)


def test_set_up_once_for_what_is_to_be_done(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("one")
    note = ["{python}", "-c", "import sys; open('log', 'a').write('x')", "{here}/source"]
    one = make(tmp_path, setup=[note])
    for _ in range(2):
        one.set_up(tmp_path / "cache")
    assert (tmp_path / "log").read_text() == "x"
    (tmp_path / "source").write_text("other")
    one.set_up(tmp_path / "cache")
    assert (tmp_path / "log").read_text() == "xx"
    one.setup.append(note)
    one.set_up(tmp_path / "cache")
    assert (tmp_path / "log").read_text() == "xxxx"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["{python}", "-c", "print('why'); raise SystemExit(3)"], "exit code 3: why"),
        (["/no/such/program"], "No such file or directory"),
    ],
)
def test_a_failed_set_up_says_why_and_is_tried_again(tmp_path: Path, command: list[str], text: str) -> None:
    one = make(tmp_path, setup=[command])
    for _ in range(2):
        with pytest.raises(NotSetUp, match=text):
            one.set_up(tmp_path / "cache")
