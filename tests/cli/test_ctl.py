"""`amqpd ctl` and `amqpd definitions` with a running broker: what is printed, with which exit code."""

import ast
import getpass
import io
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amqpd.cli import main
from amqpd.cli.ctl.registry import app
from interop.brokers import Amqpd
from tests.cli.conftest import ROOT, exit_code, in_child, read_terminal
from tests.support.raw_peer import RawPeer

PAGE = ROOT / "docs" / "management.md"
NAMES = [command.name or "" for command in app.registered_commands]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def broker(directory: Path) -> Iterator[Amqpd]:
    with Amqpd("--data-dir", str(directory), "--durability", "write") as running:
        yield running


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("AMQPD_DATA_DIR", str(directory))


class Ctl:
    """The command line in this process; it must do as it is told, unless it is asked to fail."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        code = exit_code("ctl", *words)
        out, err = self.capsys.readouterr()
        return code, out, err

    def __call__(self, *words: str) -> str:
        code, out, err = self.run(*words)
        assert (code, err) == (0, "")
        return out

    def fail(self, *words: str, code: int = 1) -> str:
        found, out, err = self.run(*words)
        assert (found, out) == (code, "")
        assert err.startswith("amqpd: ")
        return err.removeprefix("amqpd: ").rstrip("\n")


@pytest.fixture
def ctl(capsys: pytest.CaptureFixture[str], broker: Amqpd) -> Ctl:
    capsys.readouterr()
    return Ctl(capsys)


@pytest.fixture
def vhost(ctl: Ctl, request: pytest.FixtureRequest) -> str:
    """A virtual host of the test's own, which guest may enter; deleted with the broker."""
    name = f"v {request.node.name}"
    ctl("add_vhost", name)
    ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    return name


@pytest.fixture
def peer(broker: Amqpd, vhost: str) -> Iterator[RawPeer]:
    with RawPeer(broker.host, broker.port) as peer:
        peer.start()
        peer.start_ok()
        peer.expect(0, "connection.tune")
        peer.tune_ok()
        peer.call(0, "connection.open", virtual_host=vhost)
        peer.open_channel(1)
        yield peer


# -- help --


@pytest.mark.parametrize("words", [[], *([name] for name in NAMES)], ids=str)
def test_help_teaches_in_80_columns(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code, text, _ = Ctl(capsys).run(*words, "--help")
    assert code == 0
    assert "Exit codes:" in text
    assert [line for line in text.splitlines() if len(line) > 100] == []
    assert not words or "--format" in text


def test_every_command_is_listed_with_a_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = Ctl(capsys).run("--help")
    _, _, listed = text.partition("Commands:\n")
    lines = listed.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


def test_the_shell_completes_commands() -> None:
    environment = {
        "_AMQPD_COMPLETE": "complete_bash",
        "COMP_WORDS": "amqpd ctl list_q",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "amqpd"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["list_queues"]


def test_a_command_loads_nothing_of_the_broker() -> None:
    program = "import sys, amqpd.cli.commands; print([name for name in sys.modules if name.startswith('amqpd.')])"
    loaded = ast.literal_eval(in_child("-c", program).stdout)
    assert [name for name in loaded if name.split(".")[1] not in ("cli", "settings")] == [
        "amqpd.management",
        "amqpd.management.control_path",
    ]


# -- listings --


def test_a_listing_for_scripts_is_that_of_rabbitmqctl(ctl: Ctl, vhost: str, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="orders", durable=True)
    peer.call(1, "queue.declare", queue="mail", arguments={"x-max-length": 5})
    assert ctl("list_queues", "-p", vhost) == "name\tmessages\norders\t0\nmail\t0\n"
    assert (
        ctl("list_queues", "--vhost", vhost, "--quiet", "durable", "name")
        == "durable\tname\ntrue\torders\nfalse\tmail\n"
    )
    assert ctl("list_queues", "-p", vhost, "--no-table-headers") == "orders\t0\nmail\t0\n"
    assert ctl("list_queues", "-p", vhost, "-s", "name", "arguments") == 'orders\t{}\nmail\t{"x-max-length":5}\n'


def test_formats(ctl: Ctl, vhost: str, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q", arguments={"x-max-length": 5})
    rows = json.loads(ctl("list_queues", "-p", vhost, "--format", "json", "name", "arguments", "messages"))
    assert rows == [{"name": "q", "arguments": {"x-max-length": 5}, "messages": 0}]
    assert ctl("list_queues", "-p", vhost, "--formatter", "csv") == '"name","messages"\n"q","0"\n'
    assert ctl.fail("list_queues", "--format", "xml", code=2) == "--format xml: there are table, json, csv"


def test_a_person_sees_aligned_columns_and_what_they_are_of(broker: Amqpd, directory: Path) -> None:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "amqpd", "ctl", "list_exchanges", "--data-dir", str(directory)]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=terminal, stderr=subprocess.PIPE, text=True, check=True)
        os.close(terminal)
        text = read_terminal(controller)
    finally:
        os.close(controller)
    assert done.stderr == "Listing exchanges for vhost / ...\n"
    lines = text.decode().splitlines()
    assert lines[0] == "name                type"
    assert "amq.direct          direct" in lines


def test_who_reads_no_further_is_left_in_peace(broker: Amqpd, directory: Path) -> None:
    command = f"{sys.executable} -m amqpd ctl list_exchanges --data-dir {directory} | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_connections_channels_and_consumers(ctl: Ctl, vhost: str, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    host, port = peer.socket.getsockname()
    rows = [line.split("\t") for line in ctl("list_connections", "-s", "vhost", "name", "peer_port").splitlines()]
    [name] = [row[1] for row in rows if row[0] == vhost]
    assert name.startswith(f"{host}:{port} -> ")
    assert f"{name} (1)\tguest\t1\t0" in ctl("list_channels")
    assert ctl("list_consumers", "-p", vhost, "-q", "queue_name", "consumer_tag", "active") == (
        "queue_name\tconsumer_tag\tactive\nq\tc\ttrue\n"
    )
    assert ctl("close_connection", name, "enough") == f"Connection {name} is closed.\n"
    peer.expect(0, "connection.close", reply_code=320, reply_text="CONNECTION_FORCED - enough")


def test_close_all_connections(ctl: Ctl, vhost: str, peer: RawPeer) -> None:
    assert ctl("close_all_connections", "-p", vhost, "enough") == "Closed 1 connections.\n"
    peer.expect(0, "connection.close", reply_code=320, reply_text="CONNECTION_FORCED - enough")


def test_bindings(ctl: Ctl, vhost: str, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "queue.bind", queue="q", exchange="amq.topic", routing_key="a.#")
    assert ctl("list_bindings", "-p", vhost, "-s", "source_name", "routing_key") == "\tq\namq.topic\ta.#\n"


# What amqpd has beside rabbitmqctl 3.10's columns; 4.x has most of them.
MORE_COLUMNS = {
    "list_queues": {"vhost", "operator_policy", "effective_policy_definition"},
    "list_connections": set(),
    "list_channels": set(),
    "list_consumers": {"exclusive"},
}


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", MORE_COLUMNS)
def test_columns_are_those_of_rabbitmqctl(ctl: Ctl, name: str, tmp_path: Path) -> None:
    script = shutil.which("rabbitmqctl", path=f"{os.defpath}:/usr/sbin:/usr/lib/rabbitmq/bin")
    if script is None:
        pytest.skip("there is no rabbitmqctl")
    words = subprocess.run(
        [script, "help", name],
        env={"HOME": str(tmp_path), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    theirs = set(re.findall(r"must be one of (.*)", words)[0].split(", "))
    ours = set(ctl.fail(name, "x", code=2).partition("there are ")[2].split(", "))
    assert ours - theirs == MORE_COLUMNS[name]


# -- changes --


def test_purge_and_delete(ctl: Ctl, vhost: str, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"x")
    peer.expect(1, "basic.ack", delivery_tag=1)
    assert "has 1 messages" in ctl.fail("delete_queue", "-p", vhost, "q", "--if-empty")
    assert ctl("purge_queue", "-p", vhost, "q") == f"Queue q in vhost {vhost} was purged of 1 ready messages.\n"
    assert json.loads(ctl("delete_queue", "-p", vhost, "q", "--format", "json")) == {"messages": 0}
    assert ctl.fail("purge_queue", "-p", vhost, "q") == f"queue 'q' does not exist in virtual host '{vhost}'"


def test_a_policy(ctl: Ctl, vhost: str, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q")
    cap = '{"max-length": 5}'
    assert ctl("set_policy", "-p", vhost, "{cap}", "^q", cap, "--priority", "-2", "--apply-to", "queues") == (
        f"Policy {{cap}} applies in vhost {vhost}.\n"
    )
    ctl("set_operator_policy", "-p", vhost, "bound", ".*", '{"max-length": 3}', "-q")
    assert ctl("list_policies", "-p", vhost, "-s") == f'{vhost}\t{{cap}}\t^q\tqueues\t{{"max-length":5}}\t-2\n'
    assert ctl("list_operator_policies", "-p", vhost, "-s").startswith(f"{vhost}\tbound\t.*\tall\t")
    columns = ("policy", "operator_policy", "effective_policy_definition")
    assert ctl("list_queues", "-p", vhost, "-s", *columns) == '{cap}\tbound\t{"max-length":3}\n'
    ctl("clear_policy", "-p", vhost, "{cap}")
    ctl("clear_operator_policy", "-p", vhost, "bound")
    assert ctl("list_queues", "-p", vhost, "-s", *columns) == "\t\t{}\n"


def test_users_and_permissions(ctl: Ctl, vhost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Permissions are next" in ctl("add_user", "alice", "")
    ctl("set_user_tags", "alice", "monitoring", "management")
    assert "alice\t[monitoring, management]\n" in ctl("list_users")
    ctl("set_permissions", "-p", vhost, "alice", "^a", "", ".*")
    assert ctl("list_permissions", "-p", vhost, "-s") == "alice\t^a\t\t.*\nguest\t.*\t.*\t.*\n"
    assert ctl("list_user_permissions", "alice", "-s") == f"{vhost}\t^a\t\t.*\n"
    ctl("set_topic_permissions", "-p", vhost, "alice", "amq.topic", "^{username}", "")
    assert ctl("list_topic_permissions", "-p", vhost, "-s") == "alice\tamq.topic\t^{username}\t\n"
    assert ctl("list_user_topic_permissions", "alice", "-s") == f"{vhost}\tamq.topic\t^{{username}}\t\n"
    ctl("clear_topic_permissions", "-p", vhost, "alice")
    ctl("clear_permissions", "-p", vhost, "alice")
    assert ctl("list_permissions", "-p", vhost, "-s") == "guest\t.*\t.*\t.*\n"
    assert "another password" in ctl.fail("authenticate_user", "alice", "x")
    ctl("clear_password", "alice")
    ctl("delete_user", "alice")
    assert ctl.fail("delete_user", "alice").startswith("User 'alice' does not exist")


def test_limits(ctl: Ctl, vhost: str) -> None:
    ctl("set_vhost_limits", "-p", vhost, '{"max-queues": 3}')
    assert ctl("list_vhost_limits", "-p", vhost, "-s") == '{"max-queues":3}\n'
    assert f'{vhost}\t{{"max-queues":3}}\n' in ctl("list_vhost_limits", "--global")
    ctl("clear_vhost_limits", "-p", vhost)
    ctl("set_user_limits", "guest", '{"max-channels": 100}')
    assert ctl("list_user_limits", "--user", "guest", "-s") == '{"max-channels":100}\n'
    ctl("clear_user_limits", "guest", "max-channels")
    assert ctl("list_user_limits", "-s") == "{}\n"


def test_virtual_hosts(ctl: Ctl) -> None:
    words = ["--description", "For tests", "--tags", "qa, eu", "--default-queue-type", "quorum"]
    assert ctl("add_vhost", "mine", *words) == "Vhost mine was added.\n"
    assert ctl("add_vhost", "mine") == "Vhost mine is there already.\n"
    listed = ctl("list_vhosts", "-s", "name", "description", "tags", "default_queue_type")
    assert "mine\tFor tests\t[qa, eu]\tquorum\n" in listed
    ctl("update_vhost_metadata", "mine", "--tags", "")
    assert "mine\tFor tests\t[]\n" in ctl("list_vhosts", "-s", "name", "description", "tags")
    assert ctl("delete_vhost", "mine") == "Vhost mine was deleted.\n"
    assert ctl.fail("list_queues", "-p", "mine").startswith("Virtual host 'mine' does not exist")


def test_delayed_messages(ctl: Ctl, vhost: str, peer: RawPeer) -> None:
    arguments = {"x-delayed-type": "topic"}
    peer.call(1, "exchange.declare", exchange="later", type="x-delayed-message", durable=True, arguments=arguments)
    assert ctl("list_delayed", "-p", vhost, "later", "-q") == "id\tdue_ms\trouting_key\tbody_bytes\tpersistent\n"
    assert ctl.fail("cancel_delayed", "-p", vhost, "later", "1-1").startswith("no message 1-1 waits")


# -- passwords that are not on the command line --


def test_a_password_from_stdin(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    ctl("add_user", "piped")
    monkeypatch.setattr(sys, "stdin", io.StringIO("guest\nmore\n"))
    ctl("authenticate_user", "guest")
    ctl("delete_user", "piped")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_password_is_asked_for_twice(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["a", "b", "", ""]
    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: answers.pop(0))
    words = "these were two different passwords: nothing was changed"
    assert ctl.fail("add_user", "asked", code=2) == words
    assert "asked\t" not in ctl("list_users")
    ctl("add_user", "asked")
    ctl("delete_user", "asked")
    assert answers == []


# -- definitions --


def test_definitions_out_and_in(ctl: Ctl, vhost: str, peer: RawPeer, tmp_path: Path) -> None:
    peer.call(1, "queue.declare", queue="q", durable=True)
    file = tmp_path / "definitions.json"
    assert ctl("export_definitions", str(file)) == f"Exported definitions to {file}.\n"
    definitions: dict[str, Any] = json.loads(ctl("export_definitions", "-"))
    assert definitions == json.loads(file.read_text())
    assert [queue["name"] for queue in definitions["queues"] if queue["vhost"] == vhost] == ["q"]
    ctl("delete_queue", "-p", vhost, "q")
    assert "1 queues" in ctl("import_definitions", str(file))
    assert ctl("list_queues", "-p", vhost, "-s", "name") == "q\n"


def test_definitions_of_one_virtual_host_go_into_another(
    ctl: Ctl, vhost: str, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.call(1, "queue.declare", queue="q", durable=True)
    text = ctl("export_definitions", "--vhost", vhost, "-")
    ctl("add_vhost", "copy")
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert ctl("import_definitions", "--vhost", "copy", "-") == "Imported 1 queues.\n"
    assert ctl("list_queues", "-p", "copy", "-s", "name") == "q\n"
    ctl("delete_vhost", "copy")


def test_what_was_left_out_is_told(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    binding = {"source": "no", "vhost": "/", "destination": "q", "destination_type": "queue"}
    file.write_text(json.dumps({"bindings": [binding]}))
    code, out, err = ctl.run("import_definitions", str(file))
    assert (code, out) == (0, "Imported nothing: all of it was there.\n")
    assert err == "amqpd: left out: binding from 'no' to 'q' in vhost '/': no does not exist\n"


def test_files_that_cannot_be_taken(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    assert ctl.fail("import_definitions", str(file), code=2) == f"{file} cannot be read: No such file or directory"
    file.write_bytes(b"\xff")
    assert ctl.fail("import_definitions", str(file), code=2).startswith(f"{file} is no text: ")
    file.write_text('{"queues": [{"name": "a"}, {"name": 1, "vhost": "/"}]}')
    assert ctl.fail("import_definitions", str(file)).splitlines() == [
        "nothing was imported: queues[0], queue 'a': vhost is missing",
        "  queues[1], queue '1' in vhost '/': name must be a text",
    ]
    assert "cannot be written" in ctl.fail("export_definitions", str(tmp_path / "no" / "x"), code=2)


def test_a_broker_takes_definitions_when_it_starts(tmp_path: Path, ctl: Ctl) -> None:
    file, socket = tmp_path / "definitions.json", tmp_path / "sock"
    file.write_text(json.dumps({"queues": [{"name": "q", "vhost": "/", "durable": True}]}))
    with Amqpd("--memory", "--definitions", str(file), "--control-socket", str(socket)):
        assert ctl("list_queues", "--socket", str(socket), "-s", "name") == "q\n"
    assert not socket.exists()


def test_a_broker_does_not_start_with_definitions_that_it_cannot_take(tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    file.write_text('{"queues": [{"name": "s", "vhost": "/", "arguments": {"x-queue-type": "stream"}}]}')
    done = in_child("-m", "amqpd", "serve", "--memory", "--port", "0", "--definitions", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"amqpd: the definitions {file} cannot be taken, none of them: queue 's' in vhost '/'"
    )


# -- the broker itself, and where it is --


def test_status(ctl: Ctl, directory: Path, broker: Amqpd) -> None:
    text = ctl("status")
    assert f"listens on               {broker.host}:{broker.port}\n" in text
    assert f"data directory           {directory}\n" in text
    facts = json.loads(ctl("status", "--format", "json"))
    assert facts["alarms"] == ""
    assert facts["disk_free_bytes"] > 0


def test_environment(ctl: Ctl, directory: Path) -> None:
    assert f"data_dir\t{directory}\n" in ctl("environment")
    assert "heartbeat_s\t60\n" in ctl("environment")


def test_set_vm_memory_high_watermark(ctl: Ctl) -> None:
    assert ctl("set_vm_memory_high_watermark", "0.0001") == "Setting the memory high watermark to 0.0001\n"
    assert json.loads(ctl("status", "--format", "json"))["alarms"] == "low on memory"
    ctl("set_vm_memory_high_watermark", "0.9")
    assert json.loads(ctl("status", "--format", "json"))["alarms"] == ""
    assert ctl.fail("set_vm_memory_high_watermark", "2", code=2) == "fraction must be a number from 0 to 1"


def test_wrong_words(ctl: Ctl) -> None:
    assert ctl.fail("list_queues", "mesages", code=2) == "there is no column mesages; did you mean messages?"
    code, _, err = ctl.run("list_quues")
    assert code == 2
    assert "list_quues" in err
    code, _, err = ctl.run("set_policy", "p")
    assert code == 2
    assert "Missing argument" in err


def test_no_broker_there(ctl: Ctl, tmp_path: Path) -> None:
    words = ctl.fail("status", "--data-dir", str(tmp_path), code=69)
    assert words == (
        f"no broker listens at {tmp_path}/control.sock: start one, or say where it is with --data-dir DIR "
        "(or --socket FILE, as its setting control_socket says)"
    )


def test_a_wrong_variable(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQPD_PORT", "x")
    assert ctl.fail("status", code=2).startswith("AMQPD_PORT: 'x' is not allowed")


# -- the page --


def test_the_page_shows_what_is_printed(
    ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Command by command, as on a terminal."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    [example] = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    Path("shop.json").write_text(example)
    blocks = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    pieces = [piece for block in blocks for piece in re.split(r"^\$ amqpd ", block, flags=re.MULTILINE)[1:]]
    assert len(pieces) >= 10
    with Amqpd("--data-dir", str(tmp_path / "amqpd-data"), "--durability", "write"):
        monkeypatch.delenv("AMQPD_DATA_DIR")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        for piece in pieces:
            line, _, shown = piece.partition("\n")
            words, _, count = line.partition(" | head -")
            with pytest.raises(SystemExit, match=r"^0$"):
                main.run(shlex.split(words))
            printed = capsys.readouterr().out.splitlines(keepends=True)
            assert "".join(printed[: int(count)] if count else printed) == shown, line
