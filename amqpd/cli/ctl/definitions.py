"""Commands about definitions: everything that a broker has been told, as a file that RabbitMQ reads and writes, too."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from amqpd.cli.ctl.client import EXIT_USAGE, Failed
from amqpd.cli.ctl.command import EPILOG, Ctl, add, command

_To = Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="Where to; - is stdout.")]
_From = Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="Where from; - is stdin.")]
_Only = Annotated[
    str, typer.Option("-p", "--vhost", metavar="VHOST", help="Only what is inside of this one.", show_default=False)
]
_Into = Annotated[
    str,
    typer.Option(
        "-p", "--vhost", metavar="VHOST", help="Where what says no virtual host of its own goes.", show_default=False
    ),
]


@command
def export_definitions(ctl: Ctl, file: _To, vhost: _Only = "") -> None:
    """Write all that was declared to a file.

    Users, virtual hosts, permissions, policies, queues, exchanges and bindings: all but messages.

    RabbitMQ reads it, but for users who were added here: their passwords are hashed in a way that it does not know.
    The file holds hashes of passwords: keep it to yourself.

    \b
    Examples:
      amqpd ctl export_definitions definitions.json
      amqpd ctl export_definitions - | jq '.queues[].name'
      amqpd ctl export_definitions --vhost staging staging.json
    """
    text = json.dumps(_assembled(ctl, vhost), indent=2) + "\n"
    if file == "-":
        sys.stdout.write(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}", EXIT_USAGE) from error
    ctl.say(f"Exported definitions to {file}.", {"file": file})


@command
def import_definitions(ctl: Ctl, file: _From, vhost: _Into = "") -> None:
    """Take all that a file declares.

    The file is one that RabbitMQ or amqpd exported. Nothing of it is taken if any of it cannot be.

    Queues and exchanges that are there already stay as they are; users, permissions and policies are changed.

    \b
    Examples:
      amqpd ctl import_definitions definitions.json
      rabbitmqctl export_definitions - | amqpd ctl import_definitions -
      amqpd ctl import_definitions --vhost review staging.json
    """
    facts = ctl.call("import_definitions", definitions=_read(file), vhost=vhost)
    counts = ", ".join(f"{count} {section.replace('_', ' ')}" for section, count in facts["counts"].items())
    for skipped in facts["skipped"]:
        print(f"amqpd: left out: {skipped}", file=sys.stderr)
    ctl.say(f"Imported {counts or 'nothing: all of it was there'}.", facts)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}", EXIT_USAGE) from error
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is no text: {error}", EXIT_USAGE) from error


def _assembled(ctl: Ctl, vhost: str) -> dict[str, Any]:
    """The file, of the pieces that the broker gives: first its head, then object by object."""
    rows = ctl.broker.rows("export_definitions", {"vhost": vhost})
    next(rows)
    _, definitions = next(rows)
    for section, fact in rows:
        definitions[section].append(fact)
    return definitions  # type: ignore[no-any-return]


HELP = """Export or import definitions: everything that a running broker has been told, all but messages.

\b
Examples:
  amqpd definitions export definitions.json
  amqpd definitions import definitions.json
  amqpd serve --definitions definitions.json      takes them at each start

The file is RabbitMQ's: what rabbitmqctl export_definitions wrote can be imported. The commands are those of amqpd ctl,
export_definitions and import_definitions.
"""

group = typer.Typer(help=HELP, epilog=EPILOG, no_args_is_help=True, rich_markup_mode=None)
add(group, "export", export_definitions)
add(group, "import", import_definitions)
