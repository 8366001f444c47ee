"""Definitions: what amqpd exports, RabbitMQ takes, and amqpd; and it comes out as it went in."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amqpd.management.definitions.adoption import adopt
from amqpd.management.definitions.export import assemble, export
from amqpd.management.definitions.plan import read
from tests.broker.world import World
from tests.conformance.conftest import Control
from tests.management.definitions.spelling import normal

IMPORT_TIMEOUT_S = 20


@pytest.fixture
def prefix(control: Control) -> Iterator[str]:
    """What the names of virtual hosts and users begin with; they are deleted afterwards."""
    prefix = f"definitions-{secrets.token_hex(4)}"
    yield prefix
    control("delete_vhost", f"{prefix}-v")
    control("delete_user", f"{prefix}-u")


def definitions(prefix: str) -> dict[str, Any]:
    vhost, name = f"{prefix}-v", f"{prefix}-u"
    user = {"name": name, "password_hash": "HCCd6VhImC4Tbo+HxT85aZSR7ll7CVoLqhCptEbYyUbdJ7oG", "tags": ["monitoring"]}
    policy = {"vhost": vhost, "name": "p", "pattern": "^q", "definition": {"expires": 60000, "ha-mode": "all"}}
    thing = {"vhost": vhost, "durable": True, "auto_delete": False}
    binding = {"source": "x", "vhost": vhost, "destination_type": "queue"}
    arguments = {"x-match": "all", "n": 1, "s": "\u00fc", "b": True, "f": 1.5, "t": {"a": [1, "x"]}}
    bound = {"pattern": ".*", "definition": {"max-length": 1000}, "priority": 2, "apply-to": "queues"}
    return {
        "users": [user],
        "vhosts": [{"name": vhost, "metadata": {"description": "d \u00fc", "tags": ["a", "b"]}}],
        "permissions": [{"user": name, "vhost": vhost, "configure": "^a", "write": "", "read": ".*"}],
        "topic_permissions": [
            {"user": name, "vhost": vhost, "exchange": "amq.topic", "write": "^{username}", "read": "^r"}
        ],
        "parameters": [
            {"component": "operator_policy", "name": "bound", "vhost": vhost, "value": bound},
            {"component": "vhost-limits", "name": "limits", "vhost": vhost, "value": {"max-queues": 5}},
        ],
        "policies": [{**policy, "priority": -1}],
        "exchanges": [
            {**thing, "name": "x", "type": "headers", "arguments": {"alternate-exchange": "y"}},
            {**thing, "name": "y", "type": "topic", "durable": False, "auto_delete": True},
        ],
        "queues": [
            {**thing, "name": "q", "arguments": {"x-max-length": 5, "x-overflow": "reject-publish", "mine": [1, 2.5]}},
            {**thing, "name": "typed", "arguments": {"x-queue-type": "quorum"}},
        ],
        "bindings": [
            {**binding, "destination": "q", "routing_key": "k", "arguments": arguments},
            {**binding, "destination": "y", "destination_type": "exchange", "routing_key": ""},
        ],
    }


def exported_by_amqpd(prefix: str) -> dict[str, Any]:
    world = World()
    for _ in adopt(world.broker, read(definitions(prefix))):
        pass
    return assemble(export(world.broker))


def of(prefix: str, file: dict[str, Any]) -> dict[str, list[str]]:
    """What a file says of this test's own."""
    return {section: [fact for fact in facts if prefix in fact] for section, facts in normal(file).items()}


def test_what_amqpd_exports_comes_out_as_it_went_in(control: Control, prefix: str, tmp_path: Path) -> None:
    given = exported_by_amqpd(prefix)
    mine = {section: [fact for fact in facts if prefix in json.dumps(fact)] for section, facts in lists(given)}
    (tmp_path / "in.json").write_text(json.dumps(mine))
    control("import_definitions", str(tmp_path / "in.json"))
    wanted = of(prefix, given)
    assert {section: len(facts) for section, facts in wanted.items() if facts} == {
        section: len(facts) for section, facts in definitions(prefix).items()
    }
    give_up_at = time.monotonic() + IMPORT_TIMEOUT_S  # RabbitMQ goes on importing when it has said that it is done
    while (found := exported(control, prefix, tmp_path)) != wanted and time.monotonic() < give_up_at:
        time.sleep(0.1)
    assert found == wanted


def exported(control: Control, prefix: str, tmp_path: Path) -> dict[str, list[str]]:
    control("export_definitions", str(tmp_path / "out.json"))
    return of(prefix, json.loads((tmp_path / "out.json").read_text(encoding="utf-8")))


def lists(file: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    return [(section, facts) for section, facts in file.items() if isinstance(facts, list)]
