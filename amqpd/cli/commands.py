"""The typer application: every command, its options and its help.

Owns words, not deeds: each command calls the module of its name. Names, defaults and variables come from
``amqpd.settings``, so help cannot disagree with what is read. Values arrive as text and are judged there, with the
same errors as variables and files.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from amqpd.cli import version as versions
from amqpd.settings import CONFIG_VARIABLE, RULES, default_text, flag_name, variable_name

app = typer.Typer(
    name="amqpd",
    help="""A message broker that speaks AMQP 0-9-1 as RabbitMQ does, durable on LMDB.

    \b
      amqpd serve              start a broker on 127.0.0.1:5672, data in ./amqpd-data
      amqpd serve --memory     the same, with nothing written to disk
      amqpd serve --help       all options, variables and files
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
    }
    from amqpd.cli import serve as serving  # loads the broker, which help can do without

    raise typer.Exit(serving.serve(flags))


@app.command(help="Print versions, for a bug report.")
def version() -> None:
    """Print versions."""
    raise typer.Exit(versions.show())


def run(words: Sequence[str]) -> int:
    """Parse ``words`` and do as they say; the process's exit code."""
    code = typer.main.get_command(app).main(args=words, prog_name="amqpd", standalone_mode=True)
    return int(code or 0)
