"""Verbs of definitions: all that a broker has been told, out to a file and in from one."""

from collections.abc import Callable, Mapping
from typing import Final

from amqpd.management.definitions.adoption import adopt
from amqpd.management.definitions.export import export
from amqpd.management.definitions.file import parse
from amqpd.management.definitions.plan import InvalidDefinitions, Plan, read
from amqpd.management.node import Node
from amqpd.management.requests import Aside, Listing, Refused, Request, Result, Steps


def export_definitions(node: Node, request: Request) -> Listing:
    """Everything, or what is inside of one virtual host, object by object."""
    name = request.text("vhost", "")
    objects = export(node.broker, node.vhost(name) if name else None)
    return Listing(["section", "object"], ([section, fact] for section, fact in objects))


def import_definitions(node: Node, request: Request) -> Aside:
    """All of a file, or nothing of it."""
    text = request.text("definitions")
    vhost = request.text("vhost", "") or None
    if vhost is not None:
        node.vhost(vhost)
    return Aside(lambda: _read(text, vhost), lambda plan: _adopt(node, plan))


def _read(text: str, vhost: str | None) -> Plan:
    try:
        return read(parse(text), vhost)
    except InvalidDefinitions as error:
        raise Refused(f"nothing was imported: {error}") from error


def _adopt(node: Node, plan: Plan) -> Steps:
    try:
        return (yield from adopt(node.broker, plan))
    except InvalidDefinitions as error:
        raise Refused(f"nothing was imported: {error}") from error


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "export_definitions": export_definitions,
    "import_definitions": import_definitions,
}
