from typing import Any

import pytest

from amqpd.broker.arguments import QUORUM
from amqpd.broker.bindings import Binding
from amqpd.broker.vhost_limits import VHOST_LIMITS
from amqpd.management.definitions import adoption
from amqpd.management.definitions.adoption import adopt
from amqpd.management.definitions.export import assemble, export
from amqpd.management.definitions.plan import InvalidDefinitions, read
from amqpd.management.requests import Done
from tests.broker.world import World

USER = {"name": "alice", "password_hash": "", "tags": "monitoring"}
DURABLE = {"vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}


def take(world: World, **sections: Any) -> Done:
    """Import, a turn between any two steps."""
    steps = adopt(world.broker, read(sections))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            world.turn()
            done: Done = stop.value
            assert world.journal.durable >= done.ticket
            return done
        world.turn()


def problems(world: World, **sections: Any) -> list[str]:
    """What is wrong with a file, of which nothing is imported."""
    before = assemble(export(world.broker))
    with pytest.raises(InvalidDefinitions) as caught:
        take(world, **sections)
    assert assemble(export(world.broker)) == before
    return caught.value.problems


def binding(source: str, destination: str, kind: str = "queue", **fields: Any) -> dict[str, Any]:
    return {"vhost": "/", "source": source, "destination": destination, "destination_type": kind, **fields}


def test_everything_is_there_and_durable() -> None:
    world = World()
    done = take(
        world,
        users=[USER],
        vhosts=[{"name": "v", "metadata": {"description": "d", "tags": ["t"], "default_queue_type": "quorum"}}],
        permissions=[{"user": "alice", "vhost": "v", "configure": "", "write": "", "read": ".*"}],
        topic_permissions=[{"user": "alice", "vhost": "v", "exchange": "amq.topic", "write": "", "read": ""}],
        parameters=[{"component": "shovel", "name": "s", "vhost": "v", "value": 1}],
        global_parameters=[{"name": "g", "value": 2}],
        policies=[{"vhost": "/", "name": "p", "pattern": "", "definition": {"max-length": 5}}],
        exchanges=[{**DURABLE, "name": "x", "type": "topic"}],
        queues=[{**DURABLE, "name": "q"}, {**DURABLE, "vhost": "v", "name": "typed"}],
        bindings=[binding("x", "q", routing_key="#"), binding("x", "amq.fanout", "exchange")],
    )
    assert done.facts == {
        "counts": {
            "users": 1,
            "vhosts": 1,
            "permissions": 1,
            "topic_permissions": 1,
            "parameters": 2,
            "policies": 1,
            "exchanges": 1,
            "queues": 2,
            "bindings": 2,
        },
        "skipped": [],
    }
    again = world.crash().broker
    assert assemble(export(again)) == assemble(export(world.broker))
    assert again.vhosts["/"].queues["q"].settings.max_length == 5
    assert again.vhosts["v"].queues["typed"].settings.queue_type == QUORUM


def test_what_is_there_stays_as_it_is_or_is_changed() -> None:
    world = World()
    queue = world.queue("q")
    world.publish(queue, b"1")
    take(world, queues=[{**DURABLE, "name": "q", "arguments": {"x-max-length": 0}}], users=[{**USER, "name": "guest"}])
    assert world.find("q") is queue
    assert queue.ready_count == 1
    assert world.broker.users.get("guest").tags == ("monitoring",)


def test_a_second_time_nothing_changes() -> None:
    sections = {
        "exchanges": [{**DURABLE, "name": "x", "type": "topic"}],
        "queues": [{**DURABLE, "name": "q"}],
        "bindings": [binding("x", "q")],
        "vhosts": [{"name": "/"}],
    }
    world = World()
    take(world, **sections)
    before = assemble(export(world.broker))
    assert take(world, **sections).facts["counts"] == {}
    assert assemble(export(world.broker)) == before


def test_limits_do_not_stand_in_the_way_of_what_comes_with_them() -> None:
    world = World()
    limits = {"component": "vhost-limits", "name": "limits", "vhost": "/", "value": {"max-queues": 1}}
    take(world, parameters=[limits], queues=[{**DURABLE, "name": name} for name in "abc"])
    assert len(world.vhost.queues) == 3
    assert world.broker.limits.of(VHOST_LIMITS, "/") == {"max-queues": 1}


def test_a_long_file_is_taken_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "STEP_OBJECTS", 10)
    world = World()
    queues = [{**DURABLE, "name": f"q{number}"} for number in range(35)]
    steps = list(adopt(world.broker, read({"queues": queues})))
    assert len(steps) == (2 + 35) // 10 + 35 // 10  # looked at, and declared


def test_a_binding_without_an_end_is_left_out_and_told() -> None:
    world = World()
    world.queue("q")
    sections = [binding("no", "q"), binding("amq.topic", "no"), binding("amq.topic", "no", "exchange")]
    done = take(world, bindings=[*sections, binding("amq.topic", "q")])
    assert done.facts == {
        "counts": {"bindings": 1},
        "skipped": [
            "binding from 'no' to 'q' in vhost '/': no does not exist",
            "binding from 'amq.topic' to 'no' in vhost '/': no does not exist",
            "binding from 'amq.topic' to 'no' in vhost '/': no does not exist",
        ],
    }
    assert list(world.vhost.bindings) == [Binding("amq.topic", "q", True, "")]


def test_names_of_the_broker_are_left_out_and_told() -> None:
    done = take(
        World(),
        queues=[{**DURABLE, "name": "amq.gen-1"}],
        exchanges=[{**DURABLE, "name": "amq.mine", "type": "topic"}, {**DURABLE, "name": "amq.topic", "type": "topic"}],
    )
    assert done.facts == {
        "counts": {},
        "skipped": [
            "exchange 'amq.mine' in vhost '/': names that begin with amq. are the broker's own",
            "queue 'amq.gen-1' in vhost '/': names that begin with amq. are the broker's own",
        ],
    }


def test_a_virtual_host_to_come_has_the_exchanges_that_all_have() -> None:
    world = World()
    take(
        world,
        vhosts=[{"name": "v"}],
        queues=[{**DURABLE, "vhost": "v", "name": "q"}],
        bindings=[{**binding("amq.topic", "q"), "vhost": "v"}],
    )
    assert len(world.broker.vhosts["v"].bindings) == 1


def test_all_that_this_broker_cannot_do_is_told_and_nothing_done() -> None:
    world = World()
    world.queue("q")
    found = problems(
        world,
        users=[USER],
        vhosts=[{"name": "v", "metadata": {"default_queue_type": "stream"}}],
        permissions=[{"user": "nobody", "vhost": "/", "configure": "", "write": "", "read": ""}],
        policies=[{"vhost": "no", "name": "p", "pattern": "", "definition": {"max-length": 5}}],
        exchanges=[
            {**DURABLE, "name": "x", "type": "x-jms-topic"},
            {**DURABLE, "name": "y", "type": "topic", "arguments": {"alternate-exchange": 1}},
            {**DURABLE, "name": "z", "type": "x-delayed-message"},
        ],
        queues=[
            {**DURABLE, "name": "s", "arguments": {"x-queue-type": "stream"}},
            {**DURABLE, "name": "t", "arguments": {"x-max-length": -1}},
            {**DURABLE, "vhost": "no", "name": "u"},
        ],
        bindings=[binding("amq.headers", "q", arguments={"x-match": "perhaps"})],
    )
    beginnings = [
        "permissions of user 'nobody' in vhost '/': there is no such user",
        "vhost 'v': default_queue_type stream is not supported",
        "policy 'p': there is no vhost 'no', neither in the file nor here",
        "queue 'u': there is no vhost 'no', neither in the file nor here",
        "exchange 'x' in vhost '/': its type x-jms-topic is not supported",
        "invalid type 'long' for arg 'alternate-exchange' in exchange 'y' in vhost '/'",
        "exchange 'z' in vhost '/': ",
        "queue 's' in vhost '/': x-queue-type stream is not supported; change its arguments",
        "invalid arg 'x-max-length' for queue 't' in vhost '/'",
        "binding from 'amq.headers' to 'q' in vhost '/': ",
    ]
    assert [problem[: len(words)] for problem, words in zip(found, beginnings, strict=True)] == beginnings
