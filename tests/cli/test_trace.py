"""``amqpd trace``: between a client and a broker, as a process."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pika
import pytest

from amqpd.testing import Broker
from tests.cli.conftest import in_child


@pytest.fixture
def tracer() -> Iterator[tuple[Broker, int, "subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "amqpd", "trace", "{port}", "--port", "0", "--bodies", "5"]
    with Broker() as broker:
        words = [word.format(port=broker.port) for word in command]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            found = re.search(r"amqp://127.0.0.1:(\d+)/ leads to 127.0.0.1:(\d+)", process.stdout.readline())
            assert found
            assert int(found[2]) == broker.port
            yield broker, int(found[1]), process
            process.kill()


def read_until(process: "subprocess.Popen[str]", words: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or words not in lines[-1]:
        lines.append(process.stdout.readline().rstrip())
        assert lines[-1], lines
    return lines


def test_what_passes_is_printed_and_handed_on(tracer: tuple[Broker, int, "subprocess.Popen[str]"]) -> None:
    broker, port, process = tracer
    with pika.BlockingConnection(broker.pika_parameters(port=port)) as connection:
        channel = connection.channel()
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"hello world")
        assert channel.basic_get("q", auto_ack=True)[2] == b"hello world"
    lines = read_until(process, " 1 - closed")
    text = "\n".join(lines)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} 1 - from \d+$", lines[0])
    assert " 1 > protocol header 0.9.1\n" in text
    assert " 1 < 0 connection.start " in text
    assert "response=***" in text
    assert " 1 > 1 basic.publish routing_key='q'\n" in text
    assert " 1 < 1 body 11 bytes b'hello'\n" in text
    assert text.index("basic.publish") < text.index("basic.get-ok")


def test_a_broker_that_is_gone_is_told(tracer: tuple[Broker, int, "subprocess.Popen[str]"]) -> None:
    broker, port, process = tracer
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"AMQP\0\0\x09\1")
        read_until(process, "connection.start")
        broker.kill()
        while peer.recv(4096):
            pass
    read_until(process, "closed")
    with socket.create_connection(("127.0.0.1", port)) as peer:
        assert "there is no broker at 127.0.0.1" in read_until(process, "no broker")[-1]
        assert peer.recv(1) == b""
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


@pytest.mark.parametrize("words", [["nowhere"], ["70000"], ["5672", "--port", "70000"]])
def test_ports_are_checked(words: list[str]) -> None:
    done = in_child("-m", "amqpd", "trace", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = in_child("-m", "amqpd", "trace", "5672", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "Address already in use; --port 0 picks a free port" in done.stderr
