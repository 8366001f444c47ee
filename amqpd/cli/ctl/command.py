"""What all commands of ``amqpd ctl`` share: the typer application, options, and how results and errors are shown."""

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from amqpd.cli.ctl import output
from amqpd.cli.ctl.client import EXIT_USAGE, Broker, Failed
from amqpd.management.control_path import SOCKET_NAME
from amqpd.settings import SettingsError, load_process_settings

HELP: Final = """Ask a running broker, or have it do something: rabbitmqctl's commands, by their names.

\b
Examples:
  amqpd ctl list_queues name messages consumers
  amqpd ctl list_queues -p staging --format json
  amqpd ctl add_user alice                  asks for the password
  amqpd ctl set_permissions alice '^app-' '.*' '.*'
  amqpd ctl set_policy ttl '^tmp\\.' '{"message-ttl": 60000}' --apply-to queues
  amqpd ctl status

Talks to the broker through a socket in its data directory, ./amqpd-data unless --data-dir or AMQPD_DATA_DIR says
otherwise. Only the user who runs the broker may open it. A broker with --memory has one where --control-socket says.
"""
EPILOG: Final = """\b
Exit codes:
  0 done, 1 the broker refused, 2 wrong option, argument or column,
  69 no broker there, 70 a bug
"""

app = typer.Typer(help=HELP, epilog=EPILOG, no_args_is_help=True, rich_markup_mode=None)

Vhost: TypeAlias = Annotated[
    str, typer.Option("-p", "--vhost", metavar="VHOST", help="The virtual host.", show_default=True)
]
ColumnNames: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="COLUMN", show_default=False, help="What to show, in this order."),
]

# The options that every command has, after its own.
_DATA_DIR = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="The broker's data directory.", show_default=False)
]
_SOCKET = Annotated[
    Path | None, typer.Option("--socket", metavar="FILE", help="The broker's control socket.", show_default=False)
]
_FORMAT = Annotated[str, typer.Option("--format", "--formatter", metavar="table|json|csv", help="How to show it.")]
_QUIET = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but results.", show_default=False)]
_SILENT = Annotated[bool, typer.Option("-s", "--silent", help="As --quiet, and no headers.", show_default=False)]
_NO_HEADERS = Annotated[bool, typer.Option("--no-table-headers", help="No headers.", show_default=False)]
_COMMON: Final = {
    "form": (_FORMAT, "table"),
    "quiet": (_QUIET, False),
    "silent": (_SILENT, False),
    "no_headers": (_NO_HEADERS, False),
    "data_dir": (_DATA_DIR, None),
    "socket": (_SOCKET, None),
}


class Ctl:
    """One command on its way: asks the broker, and shows what it answers as the options say."""

    def __init__(
        self, *, form: str, quiet: bool, silent: bool, no_headers: bool, data_dir: Path | None, socket: Path | None
    ) -> None:
        if form not in output.FORMATS:
            raise Failed(f"--format {form}: there are {', '.join(output.FORMATS)}", EXIT_USAGE)
        self.form = form
        self.headers = not (silent or no_headers)
        self.is_quiet = quiet or silent
        self.broker = Broker(_socket_path(data_dir, socket))

    def list(self, banner: str, verb: str, **values: Any) -> None:
        """Show a listing; ``banner`` says to a person what it is of."""
        if not self.is_quiet and sys.stdout.isatty():
            print(f"{banner} ...", file=sys.stderr)
        rows = self.broker.rows(verb, values)
        columns = next(rows)
        for line in output.lines(self.form, columns, rows, headers=self.headers, aligned=sys.stdout.isatty()):
            print(line)

    def call(self, verb: str, **values: Any) -> dict[str, Any]:
        """Have it done; what the broker says about it."""
        return self.broker.call(verb, values)

    def do(self, words: str, verb: str, **values: Any) -> None:
        """Have it done, and say so."""
        self.say(words, self.call(verb, **values))

    def say(self, words: str, facts: dict[str, Any]) -> None:
        """A sentence for a person, or the facts for a program."""
        if self.form == "json":
            print(output.compact(facts))
        elif not self.is_quiet:
            print(words)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make ``function``, whose first parameter is a Ctl, a command of its name; its docstring is the help."""
    add(app, function.__name__, function)
    return function


def add(group: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Make ``function`` a command of ``group``: the options that all have come after its own."""
    signature = inspect.signature(function)
    own = list(signature.parameters.values())[1:]
    shared = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for option, (annotation, default) in _COMMON.items()
    ]

    @functools.wraps(function)
    def run(**values: Any) -> None:
        common = {option: values.pop(option) for option in _COMMON}
        with _complaints():
            function(Ctl(**common), **values)

    run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in [*own, *shared]}
    group.command(name, epilog=EPILOG)(run)


def _socket_path(data_dir: Path | None, given: Path | None) -> Path:
    """Where the broker's socket is: as told, or where the settings of a broker started here would have it."""
    if given is not None:
        return given
    if data_dir is not None:
        return data_dir / SOCKET_NAME
    settings = load_process_settings({})
    return Path(settings.control_socket) if settings.control_socket else settings.data_dir / SOCKET_NAME


@contextlib.contextmanager
def _complaints() -> Iterator[None]:
    """What cannot be done is told on stderr, and in the exit code."""
    try:
        yield
        sys.stdout.flush()
    except Failed as failed:
        print(f"amqpd: {failed}", file=sys.stderr)
        raise typer.Exit(failed.exit_code) from None
    except SettingsError as error:
        print(f"amqpd: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE) from None
    except BrokenPipeError:  # `| head` has seen enough; nothing is left to be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
