"""The near end of the control socket: asks a running broker for something. Loads nothing of the broker.

The wire is described in ``amqpd/management/control.py``.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from amqpd.management.control_path import reachable

PATIENCE_S: Final = 120.0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NO_BROKER: Final = 69  # EX_UNAVAILABLE of sysexits.h, as rabbitmqctl has it


class Failed(Exception):
    """It was not done: what happened and what to do, and the exit code."""

    def __init__(self, words: str, exit_code: int) -> None:
        super().__init__(words)
        self.exit_code = exit_code


class Broker:
    """The broker whose control socket is at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def call(self, verb: str, values: dict[str, Any]) -> dict[str, Any]:
        """Have it done; what the broker says about it. Raises Failed."""
        for answer in self._ask(verb, values):
            if "done" in answer:
                done: dict[str, Any] = answer["done"]
                return done
        raise self._lost()

    def rows(self, verb: str, values: dict[str, Any]) -> Iterator[list[Any]]:
        """A listing: its columns, then its rows, as they come. Raises Failed."""
        for answer in self._ask(verb, values):
            if "columns" in answer:
                yield answer["columns"]
            elif "rows" in answer:
                yield from answer["rows"]
            else:
                return
        raise self._lost()

    def _ask(self, verb: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        with contextlib.closing(self._connect()) as connection:
            try:
                connection.sendall(json.dumps({"verb": verb, "values": values}).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    for line in lines:
                        answer: dict[str, Any] = json.loads(line)
                        if "error" in answer:
                            raise Failed(answer["error"], EXIT_USAGE if answer["is_misuse"] else EXIT_REFUSED)
                        yield answer
            except TimeoutError:
                raise Failed(f"the broker at {self.path} does not answer", EXIT_NO_BROKER) from None
            except OSError as error:
                raise self._lost() from error

    def _lost(self) -> Failed:
        return Failed(
            f"the broker at {self.path} went away before it answered: it may or may not have done it", EXIT_NO_BROKER
        )

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE_S)
        try:
            with reachable(self.path) as address:
                connection.connect(address)
        except OSError as error:
            connection.close()
            raise Failed(_advice(self.path, error), EXIT_NO_BROKER) from error
        return connection


def _advice(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{path} may not be opened by you: be the user that runs the broker"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return (
            f"no broker listens at {path}: start one, or say where it is with --data-dir DIR "
            "(or --socket FILE, as its setting control_socket says)"
        )
    return f"{path} cannot be reached: {error.strerror or error}"
