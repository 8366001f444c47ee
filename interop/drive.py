"""One client against one broker: a process for each scenario, in a virtual host of its own, and what it may ask for.

A driver gets the broker's URL in ``AMQP_URL`` and the name of a scenario. It ends with 0 when all that it asserted
held, with 77 when its client cannot do that, anything else is a failure. A line ``ask WORDS`` on its standard output is
done, and answered by a line on its standard input: ``done``, or ``refused`` and why.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self
from urllib.parse import quote, urlsplit, urlunsplit

from interop.brokers import Broker, BrokerFailed, ProcessBroker
from interop.client import Client

PASSED: Final = "passed"
FAILED: Final = "FAILED"
LACKED: Final = "lacked"

LACKS: Final = 77  # the exit code of a driver whose client cannot do it
TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.5  # for the wish to stop
LINES_MAX: Final = 20
ALL_MEMORY, NO_MEMORY = "0.9", "0.0000001"


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of a scenario; ``lines`` are the last that the driver wrote."""

    broker: str
    outcome: str  # PASSED, FAILED or LACKED
    seconds: float
    lines: tuple[str, ...] = ()


class Stage:
    """Virtual hosts for all scenarios of a client, there for the length of a ``with`` block.

    Once ``stopping`` is set, the driver that runs is killed.
    """

    def __init__(
        self,
        client: Client,
        variant: str,
        broker: Broker,
        scenarios: Sequence[str],
        *,
        stopping: threading.Event | None = None,
    ) -> None:
        self.client = client
        self.variant = variant
        self.broker = broker
        prefix = "-".join(filter(None, (client.name, variant.replace("/", "-"))))
        self._stopping = stopping or threading.Event()
        self._is_blocked = False
        self.vhosts = {scenario: f"{prefix}-{scenario}" for scenario in scenarios}

    def __enter__(self) -> Self:
        if isinstance(self.broker, ProcessBroker):
            self._make_vhosts()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokerFailed):  # who is asked next will tell
            self.broker.forget(self.vhosts.values())

    def version(self) -> str:
        """What the driver says its client is."""
        command = self.client.command(self.variant, "version")
        done = subprocess.run(
            command, env=self.client.surroundings(), capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        lines = done.stdout.split("\n")
        return next((line.removeprefix("version ") for line in lines if line.startswith("version ")), "unknown")

    def play(self, scenario: str) -> Cell:
        """One scenario."""
        if scenario in self.client.lacks:
            return Cell(self.broker.name, LACKED, 0.0, (self.client.lacks[scenario],))
        since = time.monotonic()
        environment = self.client.surroundings() | {
            "AMQP_URL": self._url(self.vhosts[scenario]),
            "AMQP_BROKER": self.broker.name,
        }
        with subprocess.Popen(
            self.client.command(self.variant, scenario),
            cwd=self.client.here,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as driver:
            assert driver.stdin
            lines, is_late = self._listen(driver, self.vhosts[scenario])
            code = driver.wait()
            with contextlib.suppress(BrokenPipeError):  # it may have ended before it was answered
                driver.stdin.close()
        seconds = time.monotonic() - since
        if self._is_blocked:  # its driver did not come so far as to ask for the end of that
            self._do(["unblock"], self.vhosts[scenario])
        if is_late:
            lines.append(f"killed after {TIMEOUT_S:.0f} s")
        outcome = {0: PASSED, LACKS: LACKED}.get(code, FAILED)
        return Cell(self.broker.name, outcome, seconds, () if outcome == PASSED else tuple(lines[-LINES_MAX:]))

    def _listen(self, driver: subprocess.Popen[str], vhost: str) -> tuple[list[str], bool]:
        """What it says until its end, doing what it asks for; and whether that took too long."""
        assert driver.stdout
        assert driver.stdin
        said: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(driver.stdout, said), daemon=True)
        reader.start()
        lines: list[str] = []
        ends_at = time.monotonic() + TIMEOUT_S
        while True:
            try:
                line = said.get(timeout=min(POLL_S, max(ends_at - time.monotonic(), 0.01)))
            except queue.Empty:
                if time.monotonic() < ends_at and not self._stopping.is_set():
                    continue
                _kill(driver)
                return lines, True
            if line is None:
                _kill(driver)  # what it may have left behind
                return lines, False
            if line.startswith("ask "):
                asked_at = time.monotonic()
                _answer(driver.stdin, self._do(line.split()[1:], vhost))
                ends_at += time.monotonic() - asked_at  # what a broker takes to start is not the client's
            else:
                lines.append(line)

    def _do(self, words: list[str], vhost: str) -> str:
        try:
            self._act(words[0], words[1:], vhost)
        except (BrokerFailed, LookupError, ValueError) as error:
            return f"refused {' '.join(str(error).split())}"
        return "done"

    def _act(self, verb: str, rest: list[str], vhost: str) -> None:
        broker = self.broker
        if verb in ("block", "unblock"):
            self._is_blocked = verb == "block"
            broker.control("set_vm_memory_high_watermark", NO_MEMORY if verb == "block" else ALL_MEMORY)
        elif verb == "close_connections":
            broker.control("close_all_connections", "--vhost", vhost, " ".join(rest))
        elif verb == "delete_queue":
            broker.control("delete_queue", "--vhost", vhost, rest[0])
        elif verb == "ctl":
            broker.control(*rest)
        elif not isinstance(broker, ProcessBroker):
            raise BrokerFailed(f"{broker.name} was started by somebody else")
        elif verb in ("kill", "restart"):
            broker.restart(kill=verb == "kill")
        elif verb == "freeze":
            broker.freeze(float(rest[0]))
        else:
            raise BrokerFailed(f"nobody knows how to {verb}")

    def _url(self, vhost: str) -> str:
        if not isinstance(self.broker, ProcessBroker):
            return self.broker.url
        return urlunsplit(urlsplit(self.broker.url)._replace(path=f"/{quote(vhost, safe='')}"))

    def _make_vhosts(self) -> None:
        """All at once: rabbitmqctl takes a second for each word."""
        vhosts = list(self.vhosts.values())
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": name} for name in vhosts],
            "permissions": [{"user": "guest", "vhost": name, **everything} for name in vhosts],
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(definitions, file)
            file.flush()
            Path(file.name).chmod(0o644)
            self.broker.control("import_definitions", file.name)


def _read(stream: IO[str], said: queue.Queue[str | None]) -> None:
    for line in stream:
        said.put(line.rstrip("\n"))
    said.put(None)


def _answer(stream: IO[str], text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # it may be gone already
        stream.write(f"{text}\n")
        stream.flush()


def _kill(driver: subprocess.Popen[str]) -> None:
    """The driver and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
