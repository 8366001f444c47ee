"""One scenario: a driver's exit code, what it says and what it asks for, with drivers of one line and no broker."""

import threading
import time
from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from interop import drive
from interop.brokers import BrokerFailed
from interop.drive import FAILED, LACKED, PASSED, Cell, Stage
from tests.interop.fakes import Recorder, make_client


def play(program: str, broker: Recorder | None = None, **facts: object) -> Cell:
    with Stage(make_client(program, **facts), "", broker or Recorder(), ["rpc"]) as stage:
        return stage.play("rpc")


@pytest.mark.parametrize(("code", "outcome"), [(0, PASSED), (77, LACKED), (1, FAILED), (78, FAILED)])
def test_the_exit_code_is_the_outcome(code: int, outcome: str) -> None:
    cell = play(f"print('why'); sys.exit({code})")
    assert (cell.broker, cell.outcome, cell.lines) == ("recorder", outcome, () if outcome == PASSED else ("why",))


def test_what_is_known_to_lack_is_not_started() -> None:
    assert play("sys.exit(1)", lacks={"rpc": "has no rpc"}) == Cell("recorder", LACKED, 0.0, ("has no rpc",))


def test_the_driver_knows_broker_and_scenario() -> None:
    cell = play("print(os.environ['AMQP_URL'], os.environ['AMQP_BROKER'], sys.argv[1]); sys.exit(1)")
    assert cell.lines == ("amqp://guest:guest@127.0.0.1:5672/%2F recorder rpc",)


def test_last_lines_of_a_failure() -> None:
    cell = play("for number in range(50): print(number)\nraise SystemExit('end')")
    assert cell.lines == (*map(str, range(31, 50)), "end")


def test_it_does_what_is_asked_for() -> None:
    broker = Recorder()
    words = ["block", "unblock", "delete_queue q", "close_connections good bye", "ctl status now"]
    cell = play(f"for word in {words}: print('ask', word, flush=True); assert input() == 'done'", broker)
    assert cell.outcome == PASSED
    assert broker.told == [
        ("set_vm_memory_high_watermark", drive.NO_MEMORY),
        ("set_vm_memory_high_watermark", drive.ALL_MEMORY),
        ("delete_queue", "--vhost", "fake-rpc", "q"),
        ("close_all_connections", "--vhost", "fake-rpc", "good bye"),
        ("status", "now"),
    ]


@pytest.mark.parametrize("word", ["ctl refuse", "dance", "kill", "freeze long"])
def test_what_cannot_be_done_is_refused(word: str) -> None:
    cell = play(f"print('ask {word}', flush=True); print(input()); sys.exit(1)")
    assert cell.lines[-1].startswith("refused ")


def test_a_driver_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "TIMEOUT_S", 0.5)
    cell = play("print('here', flush=True); input()")
    assert cell.outcome == FAILED
    assert cell.lines[-1].startswith("killed after")


class Slow(Recorder):
    """Takes longer for a word than a driver may for all it does."""

    took = 0.0

    def control(self, *words: str) -> str:
        self.took += 2 * drive.TIMEOUT_S
        return super().control(*words)


def test_what_a_broker_takes_is_not_held_against_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Slow()
    monkeypatch.setattr(drive, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + broker.took))
    cell = play("import time; print('ask ctl status', flush=True); input(); time.sleep(0.1)", broker)
    assert cell.outcome == PASSED


class Forgetful(Recorder):
    """Writes down which virtual hosts it forgets, and complains of it."""

    def forget(self, vhosts: Iterable[str]) -> None:
        self.told.append(("forget", *vhosts))
        raise BrokerFailed("it is down")


def test_virtual_hosts_are_forgotten_once_a_row_is_over() -> None:
    broker = Forgetful()
    assert play("", broker).outcome == PASSED
    assert broker.told == [("forget", "fake-rpc")]


def test_a_driver_is_killed_when_all_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "POLL_S", 0.01)
    stopping = threading.Event()
    stopping.set()
    with Stage(make_client("input()"), "", Recorder(), ["rpc"], stopping=stopping) as stage:
        cell = stage.play("rpc")
    assert cell.outcome == FAILED
    assert cell.seconds < drive.TIMEOUT_S / 2


def test_the_version_is_what_the_driver_says() -> None:
    with Stage(make_client("print('noise'); print('version 1.2')"), "", Recorder(), []) as stage:
        assert stage.version() == "1.2"
