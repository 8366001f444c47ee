"""What drivers in Python share, whatever their client: how a scenario is started, and words with the runner."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

LACKS: Final = 77  # the exit code that says: this client cannot
WAIT_S: Final = 10.0  # for anything that is to come
HEARTBEAT_S: Final = 1

HOST: Final = urlsplit(os.environ.get("AMQP_URL", "")).hostname or ""
PORT: Final = urlsplit(os.environ.get("AMQP_URL", "")).port or 0
VHOST: Final = unquote(urlsplit(os.environ.get("AMQP_URL", "")).path[1:])

GERMAN, CHINESE, RABBIT = "Grüße", "漢字", "🐇"

# Each kind of field that clients in Python have a type for; what one of them lacks, its driver leaves out.
TABLE: Final[dict[str, Any]] = {
    "true": True,
    "false": False,
    "byte": -128,
    "short": -32_768,
    "integer": -(2**31),
    "long": 2**62,
    "most": 2**63 - 1,
    "float": 2.5,
    "decimal": decimal.Decimal("3.14"),
    "string": "plain",
    "unicode": GERMAN + CHINESE + RABBIT,
    "long string": "x" * 70_000,
    "bytes": b"\x00\xff\xfe",
    "time": datetime.datetime(2026, 11, 21, 12, 0, 1, tzinfo=datetime.UTC),
    "nothing": None,
    "array": [1, "two", None, [True, {"deep": "er"}]],
    "table": {"inner": {"innermost": [1, 2]}},
    "empty": {},
}


class Lacks(Exception):
    """The client cannot do it, and why."""


def ask(*words: object) -> None:
    """Have the runner do something to the broker; returns when it is done."""
    print("ask", *words, flush=True)
    answer = input()
    assert answer == "done", answer


def url(user: str = "guest", password: str = "guest", vhost: str = VHOST, query: str = "") -> str:
    """Where to connect to, as somebody else or elsewhere."""
    return f"amqp://{user}:{password}@{HOST}:{PORT}/{quote(vhost, safe='')}{query}"


def wait_for(
    condition: Callable[[], object], turn: Callable[[], object], idle: Callable[[], object] = lambda: None
) -> None:
    """Let callbacks run, a short turn at a time, until it is so; ``idle`` after a turn that timed out."""
    for _ in turns(condition):
        try:
            turn()
        except TimeoutError:
            idle()


def turns(condition: Callable[[], object]) -> Iterator[None]:
    """One after another until it is so; the failure shows what the condition sees."""
    gives_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < gives_up_at, f"waited in vain: {inspect.getclosurevars(condition).nonlocals}"
        yield


@contextmanager
def fails(kind: type[Exception] | tuple[type[Exception], ...], *words: str) -> Iterator[None]:
    """What is done in the block raises an error of this kind, or one of them, that says these words."""
    try:
        yield
    except kind as error:
        missing = [word for word in words if word not in f"{error} {error!r}"]
        if missing:
            raise AssertionError(f"nothing of {missing} in {error!r}") from error
    else:
        raise AssertionError(f"it went well; wanted {kind} {words}")


def play(scenarios: Mapping[str, Any], version: str, run: Callable[[Any], object] = asyncio.run) -> None:
    """Run the function of the scenario that the command line names last, and exit; ``run`` is for coroutines."""
    name = sys.argv[-1]
    if name == "version":
        print("version", version)
        return
    try:
        result = scenarios[name]()
        if inspect.iscoroutine(result):
            run(result)
    except Lacks as error:
        print(error)
        sys.exit(LACKS)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
