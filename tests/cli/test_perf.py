"""`amqpd perf`: what it takes, what it says, and with which exit code."""

import itertools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
import typer
from typer.core import TyperGroup

from amqpd.cli import commands
from amqpd.perf import load
from amqpd.perf.link import BrokerError
from amqpd.perf.plan import Plan, Schedule
from amqpd.testing import Broker
from tests.cli.conftest import ROOT, exit_code, in_child


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What would have been run."""
    noted: list[Plan] = []

    class Noted(load.Load):
        def __init__(self, plan: Plan, *others: Any) -> None:
            noted.append(plan)
            raise BrokerError("noted")

    monkeypatch.setattr(load, "Load", Noted)
    return noted


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert exit_code(*words) == 0
    return capsys.readouterr().out


def planned(plans: list[Plan], *words: str) -> Plan:
    assert exit_code("perf", *words) == 1
    return plans.pop()


def test_every_option_does_something(plans: list[Plan]) -> None:
    short = (
        "-h amqp://h -d id -x 2 -y 3 -z 4 -C 5 -D 6 -s 16,20 -r 7 -c 8 -f persistent -f mandatory -q 9 -A 8 -a -R 10"
    )
    more = "-L 11 -qp q-%d -qpf 1 -qpt 2 -qa x-max-length=1 -ad false -e ex -t topic -k key -p -i 0.5"
    long = (
        "--uri amqp://h --id id --producers 2 --consumers 3 --time 4 --pmessages 5 --cmessages 6 --size 16,20 --rate 7 "
        "--confirm 8 --flag persistent,mandatory --prefetch 9 --multi-ack-every 8 --autoack --consumer-rate 10 "
        "--consumer-latency 11 --queue-pattern q-%d --queue-pattern-from 1 --queue-pattern-to 2 "
        "--queue-args x-max-length=1 --auto-delete false --exchange ex --type topic --routing-key key --predeclared "
        "--interval 0.5"
    )
    plan = planned(plans, *short.split(), *more.split())
    assert plan == planned(plans, *long.split())
    assert plan == Plan(
        uri="amqp://h",
        run_id="id",
        producers=2,
        consumers=3,
        time_s=4,
        pmessages=5,
        cmessages=6,
        sizes=(16, 20),
        rate=Schedule(((7, 0),)),
        confirm=8,
        persistent=True,
        mandatory=True,
        qos=9,
        multi_ack_every=8,
        autoack=True,
        consumer_rate=10,
        consumer_latency_us=Schedule(((11, 0),)),
        queues=("q-1", "q-2"),
        queue_arguments=(("x-max-length", 1),),
        auto_delete=False,
        exchange="ex",
        exchange_type="topic",
        routing_key="key",
        predeclared=True,
        interval_s=0.5,
    )


def test_what_changes_with_time(plans: list[Plan]) -> None:
    plan = planned(plans, *"-vr 10:1 -vr 20:2 -vs 100:1 -vs 200:2 -vl 5:1 -vl 6:2 -u q".split())
    assert plan.rate == Schedule(((10, 1), (20, 2)))
    assert plan.size_schedule == Schedule(((100, 1), (200, 2)))
    assert plan.consumer_latency_us == Schedule(((5, 1), (6, 2)))
    assert plan.queues == ("q",)
    assert planned(plans, "-P", "4").rate == Schedule(((0.25, 0),))


def test_without_options_it_is_the_broker_of_this_machine(plans: list[Plan]) -> None:
    plan = planned(plans)
    assert re.fullmatch(r"perf-[0-9a-f]{6}", plan.run_id)
    assert plan == Plan(run_id=plan.run_id)


def test_help_says_all(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "perf", "-?")
    assert text == output(capsys, "perf", "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert "-h, --uri" in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-x", "0", "-y", "0"], "nothing to do"),
        (["-s", "1k"], "--size: '1k'"),
        (["-r", "1", "-P", "1"], "--publishing-interval"),
        (["-f", "immediate"], "--flag: immediate"),
        (["-ad", "no"], "--auto-delete: 'no'"),
        (["-h", "5672"], "--uri: '5672'"),
        (["--json", "/nowhere/figures.json"], "--json /nowhere/figures.json: No such file or directory"),
        (["-qp", "q"], "--queue-pattern"),
    ],
)
def test_what_cannot_be(capsys: pytest.CaptureFixture[str], words: list[str], complaint: str) -> None:
    assert exit_code("perf", *words) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_a_run(capsys: pytest.CaptureFixture[str], broker: Broker) -> None:
    words = ["-h", broker.url, "-d", "mine", "-r", "500", "-z", "0.25", "-i", "0.1", "-c", "10"]
    said = output(capsys, "perf", *words).splitlines()
    assert said[0] == f"mine: 1 producer, 1 consumer at 127.0.0.1:{broker.port}"
    assert said[2].split() == "time publish confirm consume min med p75 p95 p99 max med p99".split()
    rows = list(itertools.takewhile(lambda line: line.startswith(" "), said[3:]))
    assert rows
    assert all(re.fullmatch(r"[ .\d-]{77}", row) for row in rows)
    assert said[3 + len(rows)] == ""
    names = ["mine:", "published", "consumed", "latency,", "confirm,", "verdict", "itself"]
    assert [line.split()[0] for line in said[4 + len(rows) :]] == names


def test_figures_for_a_program(capsys: pytest.CaptureFixture[str], broker: Broker, tmp_path: Path) -> None:
    words = ["perf", "-h", broker.url, "-C", "100"]
    assert exit_code(*words, "--json", "-") == 0
    said = capsys.readouterr()
    seen = json.loads(said.out)
    assert (seen["result"]["counts"]["consumed"], seen["result"]["verdict"]["lost"]) == (100, 0)
    assert seen["options"]["pmessages"] == 100
    assert "guest:guest" not in said.out + said.err
    assert "published" in said.err
    assert exit_code(*words, "--json", str(tmp_path / "figures.json")) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["result"]["counts"]["consumed"] == 100


def test_no_broker(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("perf", "-h", "amqp://127.0.0.1:1") == 1
    assert capsys.readouterr().err == "amqpd: cannot connect to 127.0.0.1:1: Connection refused\n"


def test_a_login_that_is_refused(capsys: pytest.CaptureFixture[str], broker: Broker) -> None:
    assert exit_code("perf", "-h", f"amqp://guest:wrong@127.0.0.1:{broker.port}") == 1
    assert "refuses user 'guest', vhost '/': 403 ACCESS_REFUSED" in capsys.readouterr().err


def test_a_queue_that_is_different(capsys: pytest.CaptureFixture[str], broker: Broker) -> None:
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        connection.channel().queue_declare("other", durable=True)
        assert exit_code("perf", "-h", broker.url, "-u", "other", "-z", "5") == 1
    said = capsys.readouterr().err
    assert "406 PRECONDITION_FAILED" in said
    assert "queue 'other'" in said
    assert "--predeclared uses it as it is" in said


def test_a_broker_that_goes_away(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker() as broker:
        monkeypatch.setattr(load.Load, "_sample", lambda self: broker.kill())
        assert exit_code("perf", "-h", broker.url, "-i", "0.1", "-r", "100") == 1
    said = capsys.readouterr()
    assert "published" in said.out
    assert said.err.startswith("amqpd: the broker ")


def test_faults_are_an_exit_code(
    capsys: pytest.CaptureFixture[str], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load.Load, "_sample", lambda self: broker.queue("q").purge())
    assert exit_code("perf", "-h", broker.url, "-i", "0.1", "-r", "500", "-z", "0.2", "-y", "0", "-u", "q") == 3
    assert re.search(r"verdict +\d+ lost\n +lost: queue 'q', \d+ messages", capsys.readouterr().out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_summary(broker: Broker, number: int) -> None:
    command = [sys.executable, "-m", "amqpd", "perf", "-h", broker.url, "-i", "0.1", "-r", "500", "-u", "q2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "verdict     nothing lost" in rest
    assert not broker.queue("q2").exists


def test_who_has_seen_enough_ends_it(broker: Broker) -> None:
    command = [sys.executable, "-m", "amqpd", "perf", "-h", broker.url, "-i", "0.1", "-r", "500", "-u", "q3"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, cwd=ROOT, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert not broker.queue("q3").exists


def test_help_loads_no_load() -> None:
    done = in_child("-c", "import sys; import amqpd.cli.commands; print('amqpd.perf' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


def test_the_page_has_every_option_and_no_other() -> None:
    group = typer.main.get_command(commands.app)
    assert isinstance(group, TyperGroup)
    options = {word for option in group.commands["perf"].params for word in option.opts} - {"-?", "--help"}
    table = (ROOT / "docs" / "perf.md").read_text().partition("## Options")[2]
    cells = "".join("".join(row.split("|")[1:3]) for row in table.splitlines() if row.startswith("|"))
    assert set(re.findall(r"`(-[^`]+)`", cells)) == options
