"""`amqpd store`: what it prints, with which exit code, and that its page shows the same."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from amqpd.broker.ports import CLEAR, META, QUARANTINE, SEGMENTS, Op
from amqpd.cli import commands
from amqpd.store.lmdb_store import LmdbStore
from tests.cli.conftest import ROOT, exit_code, read_terminal
from tests.store.data_files import acks, binding, exchange, queue, schema, segment, spoil, write

PAGE = ROOT / "docs" / "store.md"
ORDERS, MAIL, OLD = 1, 2, 3


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def segments(queue_id: int, count: int, content: bytes = bytes(100)) -> list[Op]:
    return [segment(queue_id, range(first, first + 250), content) for first in range(1, count, 250)]


@pytest.fixture
def data() -> Path:
    """The store of the page: orders wait, some of them acked; mail; and a queue that was emptied."""
    return write(
        Path("amqpd-data"),
        [*schema(), exchange("shop"), binding("shop", "orders")],
        [queue("orders", ORDERS), queue("mail", MAIL, "office"), queue("old", OLD)],
        segments(ORDERS, 10_000) + segments(OLD, 20_000),
        [segment(MAIL, [7, 8, 9], b"A letter.")],
        [acks(ORDERS, 1, range(1, 101), 250), (CLEAR | SEGMENTS, OLD.to_bytes(4, "big"), None)],
    )


# -- help --


@pytest.mark.parametrize("words", [[], ["info"], ["verify"], ["compact"]])
def test_help_has_examples_and_exit_codes_in_80_columns(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert exit_code("store", *words, "--help") == 0
    text = capsys.readouterr().out
    assert "Examples:\n    amqpd store " in text
    assert "Exit codes:\n    0 fine\n" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code("store", "--help")
    text = capsys.readouterr().out
    assert [name for name in ("info", "verify", "compact") if f"\n  {name} " not in text] == []


def test_examples_of_the_help_are_understood(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = (commands.STORE_HELP, commands.INFO_HELP, commands.VERIFY_HELP, commands.COMPACT_HELP)
    examples = re.findall(r"^  amqpd store (\w+) \S+( --json)?", "\n".join(texts), re.MULTILINE)
    assert {name for name, _ in examples} == {"info", "verify", "compact"}
    for name, option in examples:
        assert exit_code("store", name, "amqpd-data", *option.split()) == 0


@pytest.mark.parametrize("words", [["info"], ["verify"], ["compact"], ["info", "d", "--jsno"], ["look", "d"]])
def test_usage_errors(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert exit_code("store", *words) == 2


# -- what is printed --


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert exit_code("store", *words) == code
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_page_shows_what_is_printed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```text\n\$ amqpd store (.*?)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert [words for words, _ in blocks] == [
        "info amqpd-data",
        "verify amqpd-data",
        "verify amqpd-data",
        "compact amqpd-data",
    ]
    for number, (words, shown) in enumerate(blocks):
        if number == 2:
            whole = data.read_bytes()
            spoil(data, bytes(100) + b"@5001.", bytes(99) + b"!@5001.")
        out = printed(capsys, *words.split(), code=number == 2)
        assert shown == out, f"{PAGE.name} should show:\n{out}"
        if number == 2:
            data.write_bytes(whole)


def test_what_is_printed_fits_a_terminal(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("info", "verify", "compact"):
        assert [line for line in printed(capsys, words, "amqpd-data").splitlines() if len(line) > 100] == []


def test_info_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(printed(capsys, "info", "amqpd-data", "--json"))
    orders = next(found for found in facts["queues"] if found["name"] == "orders")
    assert (orders["vhost"], orders["messages"], orders["segments"], orders["settled"]) == ("/", 9900, 40, 100)
    assert facts["file_bytes"] == data.stat().st_size
    assert facts["live_bytes"] + facts["free_pages"] * facts["page_bytes"] <= facts["file_bytes"]
    assert {table["name"]: table["rows"] for table in facts["tables"]}["segments"] == 41


def test_compact_makes_the_file_smaller(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = data.stat().st_size
    printed(capsys, "compact", "amqpd-data")
    assert data.stat().st_size < size / 2
    printed(capsys, "verify", "amqpd-data")
    LmdbStore(Path("amqpd-data")).close()


def test_names_that_would_be_mistaken(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("d"), [*schema(), queue("two words", 1), queue("a\nb", 2), queue("", 3, ""), segment(9, [1])])
    text = printed(capsys, "info", "d")
    assert re.findall(r"  (\S+ '.*'|queue .*)\n", text) == [
        "queue number 9, which is not declared",
        "'' ''",
        "/ 'a\\nb'",
        "/ 'two words'",
    ]


def test_quarantine_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    _, key, value = segment(1, [1])
    write(Path("d"), [*schema(), queue("q", 1), (QUARANTINE, key, value)])
    assert re.search(r"\b0 +1  / q\n", printed(capsys, "info", "d"))
    assert "in quarantine, found damaged earlier: 1 row\n" in printed(capsys, "verify", "d")


def test_an_empty_store(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("d"), schema())
    assert printed(capsys, "info", "d").endswith("no durable queues\n")
    assert printed(capsys, "verify", "d").endswith("no problems\n")


# -- what cannot be done --


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert exit_code("store", *words) == 1
    _, err = capsys.readouterr()
    assert err.startswith("amqpd: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("command", ["info", "verify", "compact"])
def test_while_a_broker_runs(data: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    broker = LmdbStore(Path("amqpd-data"))
    assert f"(process {os.getpid()}): stop that one (kill {os.getpid()})" in complaint(capsys, command, "amqpd-data")
    broker.close()


@pytest.mark.parametrize("command", ["info", "verify", "compact"])
def test_where_there_is_no_store(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert "there is no data directory none" in complaint(capsys, command, "none")
    assert not Path("none").exists()


@pytest.mark.parametrize("command", ["info", "compact"])
def test_a_file_that_is_no_store(data: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    data.write_bytes(b"no store" * 2000)
    complaint(capsys, command, "amqpd-data")


def test_info_of_a_damaged_store_says_where_to_look(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(data, b'"name":"mail"', b'"name":"MAIL"')
    assert complaint(capsys, "info", "amqpd-data").endswith(
        "1 part of it cannot be read: amqpd store verify amqpd-data names it\n"
    )


def test_info_of_another_schema(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("d"), [(META, b"schema", b"1")])
    assert "its schema is 1, and this amqpd reads" in complaint(capsys, "info", "d")


def test_too_little_room(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(data)._replace(free=123 * 1024)
    monkeypatch.setattr(shutil, "disk_usage", lambda directory: usage)
    words = complaint(capsys, "compact", "amqpd-data")
    assert re.search(r"the copy needs \d\.\d MiB of free disk beside the old file, there are 123\.0 KiB", words)


def test_an_error_of_the_disk_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    assert "Input/output error" in complaint(capsys, "info", "amqpd-data")


# -- progress --


@pytest.mark.parametrize(("command", "label"), [("verify", "verifying"), ("compact", "copying")])
def test_progress_is_shown_on_a_terminal_only(data: Path, command: str, label: str) -> None:
    main_end, other_end = pty.openpty()
    words = [sys.executable, "-m", "amqpd", "store", command, str(Path("amqpd-data").absolute())]
    done = subprocess.run(words, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=other_end)
    os.close(other_end)
    shown = read_terminal(main_end)
    os.close(main_end)
    assert done.returncode == 0
    assert label.encode() not in done.stdout
    assert re.search(rf"{label} \d\.\d MiB .*100%".encode(), shown, re.DOTALL)
