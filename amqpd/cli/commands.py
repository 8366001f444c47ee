"""The typer application: every command, its options and its help.

Owns words, not deeds: each command calls the module of its name. Names, defaults and variables come from
``amqpd.settings``, so help cannot disagree with what is read. Values arrive as text and are judged there, with the
same errors as variables and files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from amqpd.cli import perf
from amqpd.cli import version as versions
from amqpd.cli.ctl.definitions import group as definitions_group
from amqpd.cli.ctl.registry import app as ctl
from amqpd.settings import CONFIG_VARIABLE, RULES, default_text, flag_name, variable_name

app = typer.Typer(
    name="amqpd",
    help="""A message broker that speaks AMQP 0-9-1 as RabbitMQ does, durable on LMDB.

    \b
      amqpd serve              start a broker on 127.0.0.1:5672, data in ./amqpd-data
      amqpd serve --memory     the same, with nothing written to disk
      amqpd serve --help       all options, variables and files
      amqpd testserver --help  a broker for your tests, whatever they are written in
      amqpd ctl --help         ask a running broker, or have it do something
      amqpd store --help       look at, verify or compact what a broker left on disk
      amqpd trace --help       see what a client and a broker say to each other
      amqpd perf --help        put load on a broker, and see what it bears
    """,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

SERVE_HELP = """Run a broker until Ctrl-C or SIGTERM.

Any AMQP 0-9-1 client connects with amqp://guest:guest@127.0.0.1:5672/ . When the broker takes connections it prints
one line with its address on stdout; logs go to stderr.

\b
Examples:
  amqpd serve
  amqpd serve --memory --port 0
  amqpd serve --host 0.0.0.0,:: --data-dir /var/lib/amqpd
  amqpd serve --config /etc/amqpd.toml --log-format json
  amqpd serve --definitions rabbitmq.json
  AMQPD_PORT=5673 AMQPD_HEARTBEAT_S=30 amqpd serve

A flag beats its variable, a variable beats the configuration file, the file beats the default. The file is TOML with
the settings' names as keys, for example: heartbeat_s = 30
"""


def _settings_without_flag() -> str:
    rows = [(name, f"{variable_name(name)} (default {default_text(name)})") for name in RULES if not RULES[name].flag]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:{width}}  {words}" for name, words in rows)


SERVE_EPILOG = f"""\b
Set by the configuration file or a variable only:
{_settings_without_flag()}

\b
Files:
  ./amqpd-data   durable queues and messages, unless --data-dir or --memory; one broker at a time
  ./amqpd-data/control.sock   what amqpd ctl talks to
Exit codes:
  0 stopped as asked, 1 cannot start (port taken, directory locked), 2 wrong option or setting, 70 a bug
"""


def _option(name: str, metavar: str | None = None) -> Any:
    """The option of a setting; its name, help, variable and default from the setting's rule."""
    declaration = "--memory/--no-memory" if name == "memory" else flag_name(name)
    words = f"{RULES[name].summary}  [{variable_name(name)}; default {default_text(name)}]"
    return typer.Option(declaration, metavar=metavar, help=words)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(versions.lines()[0])
        raise typer.Exit


@app.callback()
def amqpd(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Hold the options that come before any command."""


@app.command(help=SERVE_HELP, epilog=SERVE_EPILOG)
def serve(
    *,
    host: Annotated[str | None, _option("host", "ADDRESS[,...]")] = None,
    port: Annotated[str | None, _option("port", "NUMBER")] = None,
    data_dir: Annotated[str | None, _option("data_dir", "DIRECTORY")] = None,
    durability: Annotated[str | None, _option("durability", "fsync|write|memory")] = None,
    memory: Annotated[bool | None, _option("memory")] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help=f"TOML file with settings.  [{CONFIG_VARIABLE}]")
    ] = None,
    log_level: Annotated[str | None, _option("log_level", "debug|info|warning|error")] = None,
    log_format: Annotated[str | None, _option("log_format", "text|json")] = None,
    max_connections: Annotated[str | None, _option("max_connections", "NUMBER")] = None,
    backend: Annotated[str | None, _option("backend", "asyncio|trio")] = None,
    definitions: Annotated[str | None, _option("definitions", "FILE")] = None,
    control_socket: Annotated[str | None, _option("control_socket", "FILE")] = None,
) -> None:
    """Run a broker."""
    flags = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "durability": durability,
        "memory": memory,
        "config": config,
        "log_level": log_level,
        "log_format": log_format,
        "max_connections": max_connections,
        "backend": backend,
        "definitions": definitions,
        "control_socket": control_socket,
    }
    from amqpd.cli import serve as serving  # loads the broker, which help can do without

    raise typer.Exit(serving.serve(flags))


TESTSERVER_HELP = """Run a broker for tests in any language: on a free port, in memory, gone when they are.

When it takes connections it prints one line of JSON on stdout, and nothing after that:

\b
  {"url": "amqp://guest:guest@127.0.0.1:40123/%2F", "host": "127.0.0.1",
   "port": 40123, "pid": 4711, "version": "0.1.0"}

Start it from your tests, read the line, connect to the url. SIGTERM and Ctrl-C stop it.

\b
With --exit-with-parent nothing has to stop it: it ends within a second of the
process that started it, even of one that is killed, and when its standard
input is closed.

\b
Examples:
  amqpd testserver
  amqpd testserver --exit-with-parent
  amqpd testserver --port 5672 --ready-file amqpd.json
  amqpd testserver --definitions rabbitmq.json
  AMQPD_HEARTBEAT_S=5 amqpd testserver

Recipes for JUnit, Go, Node, shells and CI are in docs/testserver.md.
"""

TESTSERVER_EPILOG = """\b
Settings that have no option here are taken from their variables, and from the
file that AMQPD_CONFIG names, as by "amqpd serve". AMQPD_PORT and the variables
of the other options are not: they are for a real broker.

\b
Exit codes:
  0 stopped as asked, or whoever started it is gone
  1 the data directory could not be written any more
  2 cannot start, or a wrong option; one line on stderr says why
  70 a bug
"""


@app.command(
    "testserver",
    help=TESTSERVER_HELP,
    epilog=TESTSERVER_EPILOG,
    short_help="Run a broker for tests in any language.",
)
def serve_tests(
    *,
    port: Annotated[
        str | None, typer.Option("--port", metavar="NUMBER", help="TCP port to listen on.  [default a free one]")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.  [default 127.0.0.1]")
    ] = None,
    ready_file: Annotated[
        str | None,
        typer.Option(
            "--ready-file",
            metavar="FILE",
            help="Write the line of JSON there too, all at once, and remove the file at exit.",
        ),
    ] = None,
    exit_with_parent: Annotated[
        bool, typer.Option("--exit-with-parent", help="End when the process that started this one does.")
    ] = False,
    definitions: Annotated[
        str | None,
        typer.Option(
            "--definitions", metavar="FILE", help="Queues, exchanges, users to begin with, as RabbitMQ exports them."
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option("--data-dir", metavar="DIRECTORY", help="Keep what is durable there.  [default in memory]"),
    ] = None,
    control_socket: Annotated[
        str | None,
        typer.Option(
            "--control-socket", metavar="FILE", help="Socket for amqpd ctl ... --socket FILE.  [default none in memory]"
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level",
            metavar="debug|info|warning|error",
            help="The least severe events to log to stderr.  [default error]",
        ),
    ] = None,
) -> None:
    """Run a broker for tests."""
    flags = {
        "port": port,
        "host": host,
        "ready_file": ready_file,
        "exit_with_parent": exit_with_parent,
        "definitions": definitions,
        "data_dir": data_dir,
        "control_socket": control_socket,
        "log_level": log_level,
    }
    from amqpd.cli import testserver as serving

    raise typer.Exit(serving.serve(flags))


TRACE_HELP = """See what clients and a broker say to each other: a line for each frame.

Listens on a port of its own, hands everything on to the broker, and prints what passes. Point the client at that port.
BROKER is the port or HOST:PORT of any broker that speaks AMQP 0-9-1. Passwords are never shown, bodies only if asked
for.

\b
  12:31:05.114 1 > 1 basic.publish routing_key='tasks' mandatory=True
                 |   | method and arguments; what is 0, false or empty is left out
                 |   channel
                 > from the client, < from the broker; before it the number of the connection

\b
Examples:
  amqpd trace 5672                       listens on 5673
  amqpd trace 5672 --port 0 --bodies 80  on a free port, with the first 80 bytes of each body
  amqpd trace rabbit.example:5672
"""


@app.command("trace", help=TRACE_HELP, short_help="See what a client and a broker say to each other.")
def trace(
    *,
    broker: Annotated[str, typer.Argument(metavar="BROKER", help="Port, or HOST:PORT.", show_default=False)],
    port: Annotated[int, typer.Option("--port", metavar="NUMBER", help="Port to listen on; 0 is a free one.")] = 5673,
    bodies: Annotated[int, typer.Option("--bodies", metavar="BYTES", help="How much of each body frame to show.")] = 0,
) -> None:
    """Print what passes."""
    from amqpd.cli import trace as tracing

    raise typer.Exit(tracing.trace(broker, port, bodies))


STORE_HELP = """Look at the data of a broker that does not run, verify it, or make its file smaller.

\b
Examples:
  amqpd store info amqpd-data          how large it is, which queue holds what
  amqpd store info amqpd-data --json   the same, for a program
  amqpd store verify amqpd-data        is every byte as it was written?
  amqpd store compact amqpd-data       give its free pages back to the disk

DIR is what the broker has as --data-dir. Stop the broker first: one process at a time may have the directory.
"""

STORE_EPILOG = """\b
Exit codes:
  0 fine
  1 cannot (a broker runs there, no store, no room), or problems were found
  2 wrong option
"""

INFO_HELP = """Print how large the store is, and what of it each table and each durable queue has.

Reads no message, so it takes a moment only, with ten million messages too. "live" is what holds something; "free" is
used again before the file grows, and "amqpd store compact" gives it back. "holes" are messages that are acked but lie
in a segment with others that are not. "quarantined" are segments that were found damaged.

\b
Examples:
  amqpd store info amqpd-data
  amqpd store info /var/lib/amqpd --json | jq '.queues[].messages'
"""

VERIFY_HELP = """Verify LMDB's structure, every checksum, and that queues, bindings, messages and acks fit together.

Reads all of the file and changes nothing. Each problem is named with its queue and segment, and with what the broker
will do about it. Safe for a file that is damaged anyhow.

\b
Examples:
  amqpd store verify amqpd-data
  amqpd store verify /backup/amqpd && echo the backup is good
"""

COMPACT_HELP = """Rebuild the store without its free pages, so that its file is as small as it can be.

Copies what is live to a new file, verifies the copy, and puts it in the place of the old one. A crash leaves the old
file or the new one. Needs as much free disk as "amqpd store info" says is live.

\b
Examples:
  amqpd store compact amqpd-data
"""

store = typer.Typer(help=STORE_HELP, epilog=STORE_EPILOG, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(store, name="store", short_help="Look at, verify or compact the data of a stopped broker.")

_Directory = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="The broker's data directory.")]


@store.command("info", help=INFO_HELP, epilog=STORE_EPILOG, short_help="Print its size, its tables and its queues.")
def store_info(
    directory: _Directory,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; sizes in bytes.")] = False,
) -> None:
    """Print what a store holds."""
    from amqpd.cli import store as stores

    raise typer.Exit(stores.info(directory, as_json=as_json))


@store.command("verify", help=VERIFY_HELP, epilog=STORE_EPILOG, short_help="Verify it; name all that is damaged.")
def store_verify(directory: _Directory) -> None:
    """Verify a store."""
    from amqpd.cli import store as stores

    raise typer.Exit(stores.verify(directory))


@store.command("compact", help=COMPACT_HELP, epilog=STORE_EPILOG, short_help="Give its free pages back to the disk.")
def store_compact(directory: _Directory) -> None:
    """Compact a store."""
    from amqpd.cli import store as stores

    raise typer.Exit(stores.compact(directory))


app.add_typer(ctl, name="ctl", short_help="Ask a running broker, or have it do something.")
app.add_typer(definitions_group, name="definitions", short_help="Export or import users, queues and the rest.")


app.command(
    "perf",
    help=perf.HELP,
    epilog=perf.EPILOG,
    context_settings=perf.SETTINGS,
    short_help="Put load on a broker, and see what it bears.",
)(perf.perf)


@app.command(help="Print versions, for a bug report.")
def version() -> None:
    """Print versions."""
    raise typer.Exit(versions.show())


def run(words: Sequence[str]) -> int:
    """Parse ``words`` and do as they say; the process's exit code."""
    code = typer.main.get_command(app).main(args=words, prog_name="amqpd", standalone_mode=True)
    return int(code or 0)
