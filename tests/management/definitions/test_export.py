"""What RabbitMQ exported comes in unchanged, and comes out equal.

The two files were written by one rabbitmq-server 3.10.8: by `rabbitmqctl export_definitions`, and by its HTTP API.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from amqpd import __version__
from amqpd.broker.fields import Field, longstr
from amqpd.management.definitions.export import assemble, export
from amqpd.management.definitions.file import load
from tests.broker.world import World
from tests.management.definitions.spelling import normal

HERE = Path(__file__).parent
FILES = ["rabbitmqctl-3.10.8.json", "http-3.10.8.json"]


def file(name: str) -> dict[str, Any]:
    definitions: dict[str, Any] = json.loads((HERE / name).read_text(encoding="utf-8"))
    return definitions


def imported(name: str) -> World:
    world = World()
    load(world.broker, HERE / name)
    world.turn()
    return world


@pytest.mark.parametrize("name", FILES)
def test_what_rabbitmq_exported_comes_out_equal(name: str) -> None:
    given, world = file(name), imported(name)
    exported = assemble(export(world.broker))
    if name.startswith("http"):  # it does not say what it knows of virtual hosts
        for section in (given["vhosts"], exported["vhosts"]):
            section[:] = [{"name": vhost["name"]} for vhost in section]
    assert normal(exported) == normal(given)


@pytest.mark.parametrize("name", FILES)
def test_and_is_the_same_after_a_restart(name: str) -> None:
    world = imported(name)
    durable = {"queues", "exchanges", "bindings"}
    before, after = (assemble(export(broker)) for broker in (world.broker, world.crash().broker))
    for section, facts in before.items():
        if section not in durable:
            assert after[section] == facts
    kept = [queue for queue in before["queues"] if queue["durable"]]
    assert after["queues"] == kept


def test_the_file_says_who_wrote_it() -> None:
    head = assemble(export(World().broker))
    assert (head["product_name"], head["product_version"]) == ("amqpd", __version__)


def test_what_ends_with_its_connection_is_left_out() -> None:
    world = World()
    world.queue("mine", exclusive=True)
    world.queue("ours")
    peer = world.server.peer(1)
    peer.call(1, "queue.declare", queue="its", exclusive=True)
    peer.call(1, "queue.bind", queue="its", exchange="amq.topic", routing_key="#")
    definitions = assemble(export(world.broker))
    assert [queue["name"] for queue in definitions["queues"]] == ["ours"]
    assert definitions["bindings"] == []


def test_one_virtual_host_without_its_name() -> None:
    world = World()
    world.queue(arguments={"x-max-length": Field("I", 1), "x-overflow": longstr("drop-head")})
    world.broker.add_vhost("other")
    definitions = assemble(export(world.broker, world.vhost))
    assert definitions["queues"] == [
        {
            "name": "q",
            "type": "classic",
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-max-length": 1, "x-overflow": "drop-head"},
        }
    ]
    assert "users" not in definitions
    assert "vhosts" not in definitions


def test_while_it_is_read_the_broker_goes_on() -> None:
    world = World()
    for name in "abc":
        world.queue(name)
    objects = export(world.broker)
    found = [next(objects)]
    while found[-1][0] != "queues":
        found.append(next(objects))
    world.vhost.remove_queue(world.find("b"))
    world.queue("d")
    found += objects
    assert [fact["name"] for section, fact in found if section == "queues"] == ["a", "b", "c"]
