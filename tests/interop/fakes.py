"""A broker that is none, and clients whose driver is a line of Python."""

from pathlib import Path

from interop.brokers import Broker, BrokerFailed
from interop.client import Client


class Recorder(Broker):
    """Writes down what it is told to do."""

    name = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self.port = 5672
        self.told: list[tuple[str, ...]] = []

    def is_installed(self) -> bool:
        return True

    def start(self) -> None: ...

    def stop(self) -> None:
        self.told.append(("stop",))

    def log_tail(self, line_count: int = 1) -> str:
        return ""

    def control(self, *words: str) -> str:
        if words[0] == "refuse":
            raise BrokerFailed("I will\nnot")
        self.told.append(words)
        return ""


def make_client(program: str, **facts: object) -> Client:
    """One whose driver is this program, which has os and sys."""
    return Client(
        **{  # type: ignore[arg-type]
            "name": "fake",
            "language": "Python",
            "here": Path.cwd(),
            "run": ["{python}", "-c", f"import os, sys\n{program}"],
        }
        | facts
    )
