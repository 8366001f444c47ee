"""amqpload while it runs: its progress as it is made, and its verdict at the end."""

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.bench import loadgen
from tests.bench.broker import PeerError

TICK_S: Final = 0.1  # how long to wait for a line before the caller may look around
SILENCE_MAX_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Progress:
    at_ns: int  # CLOCK_MONOTONIC
    count: int


class Feed:
    """One run of amqpload; ends with the ``with`` block at the latest."""

    def __init__(self, amqpload: Path, port: int, options: list[str]) -> None:
        command = [str(amqpload), "--port", str(port), "--json", *options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._last_line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.communicate()

    def progress(self) -> Iterator[Progress | None]:
        """Each line of progress, and None after each moment without one, until amqpload has ended."""
        heard_at = time.monotonic()
        for line in self._lines():
            if line is None:
                if time.monotonic() - heard_at > SILENCE_MAX_S:
                    raise PeerError(f"amqpload made no progress for {SILENCE_MAX_S:.0f} s")
                yield None
                continue
            heard_at = time.monotonic()
            fields = json.loads(line)
            if "progress" in fields:
                yield Progress(fields["at_ns"], fields["count"])
            else:
                self._last_line = line

    def release(self) -> None:
        """Let go of what ``--hold`` still holds."""
        self._process.terminate()

    def outcome(self) -> loadgen.Outcome:
        """amqpload's figures, and what it found wrong; waits for its end."""
        _, stderr = self._process.communicate()
        return loadgen.parse(self._process.returncode, self._last_line, stderr.decode(errors="replace"))

    def _lines(self) -> Iterator[str | None]:
        assert self._process.stdout is not None
        unread = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(TICK_S):
                    yield None
                    continue
                piece = os.read(self._process.stdout.fileno(), 65_536)
                if not piece:
                    return
                *lines, unread = (unread + piece).split(b"\n")
                yield from (line.decode() for line in lines)
