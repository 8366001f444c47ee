"""``amqpd testserver``: a broker for the tests of a program in any language. docs/testserver.md.

Owns how it differs from ``amqpd serve``: what it has options for is said on the command line or is as a test wants it,
never taken from variables that are meant for a real broker; the ready line is JSON; it ends with who started it.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from amqpd import __version__, logs
from amqpd.cli import lifeline
from amqpd.cli.ready_file import ReadyFile, ReadyFileError
from amqpd.settings import Settings, SettingsError, load_process_settings

if TYPE_CHECKING:
    from amqpd.server.lifecycle import Server

EXIT_CANNOT_START: Final = 2
STOP_TIMEOUT_S: Final = 0.1  # for clients to answer connection.close; their tests are over

DEFAULTS: Final[Mapping[str, str]] = {  # of the settings that are options here; no variable is asked for them
    "host": "127.0.0.1",
    "port": "0",
    "data_dir": "amqpd-data",  # nobody looks at it while durability is memory
    "definitions": "",
    "control_socket": "",
    "log_level": "error",  # tests of what goes wrong are no news
}
OPTIONS: Final[Mapping[str, str]] = {  # word -> flag
    "--host": "host",
    "--port": "port",
    "--data-dir": "data_dir",
    "--definitions": "definitions",
    "--control-socket": "control_socket",
    "--log-level": "log_level",
    "--ready-file": "ready_file",
}
SWITCHES: Final[Mapping[str, tuple[str, bool]]] = {lifeline.FLAG: ("exit_with_parent", True)}

_REACHED_AT: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # all addresses of this machine; this one is among them


def serve(flags: Mapping[str, object]) -> int:
    """Run a broker with ``flags``, by the names in ``OPTIONS`` and ``SWITCHES``; the process's exit code."""
    until = lifeline.Lifeline().until_cut if flags.get("exit_with_parent") else anyio.sleep_forever
    from amqpd import process  # after the lifeline: so much is loaded here that a parent may be gone
    from amqpd.app import StartError

    try:
        settings = _read_settings(flags)
        logs.configure(settings.log_level, settings.log_format)
        with _ready_file(flags) as ready_file:
            return process.run(
                settings,
                say_ready=lambda server, _: _say_ready(server, ready_file),
                until=until,
                stop_timeout_s=STOP_TIMEOUT_S,
            )
    except (SettingsError, ReadyFileError, StartError) as error:
        print(f"amqpd: {error}", file=sys.stderr)
        return EXIT_CANNOT_START


def _read_settings(flags: Mapping[str, object]) -> Settings:
    """In memory, or in a directory so that it outlasts a ``kill -9``; no test waits for a power cut."""
    given = {name: default if flags.get(name) is None else flags[name] for name, default in DEFAULTS.items()}
    durability = "memory" if flags.get("data_dir") is None else "write"
    return load_process_settings({**given, "durability": durability})


def _ready_file(flags: Mapping[str, object]) -> contextlib.AbstractContextManager[ReadyFile | None]:
    path = flags.get("ready_file")
    return contextlib.nullcontext() if path is None else ReadyFile(Path(str(path)))


def _say_ready(server: "Server", ready_file: ReadyFile | None) -> None:
    from amqpd.process import addresses

    line = ready_line(*addresses(server)[0])
    if ready_file:
        ready_file.publish(line)
    _print(line)


def _print(line: str) -> None:
    """For whoever listens: who started us may look at the file alone."""
    if sys.stdout:  # None if it was closed; its descriptor may be anybody's by now
        with contextlib.suppress(BrokenPipeError):
            os.write(sys.stdout.fileno(), line.encode())


def ready_line(host: str, port: int) -> str:
    """What a test has to know about a broker that listens there, as one line of JSON; ``url`` comes first, so that a
    shell finds it with ``cut -d'"' -f4``."""
    from amqpd.app import url_host

    host = _REACHED_AT.get(host, host)
    ready = {
        "url": f"amqp://guest:guest@{url_host(host)}:{port}/%2F",
        "host": host,
        "port": port,
        "pid": os.getpid(),
        "version": __version__,
    }
    return json.dumps(ready) + "\n"
