from typing import Any

import pytest

from amqpd.broker import passwords
from amqpd.broker.fields import Field
from amqpd.broker.policies import OPERATOR_POLICY
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS
from amqpd.management.definitions.plan import PROBLEMS_SHOWN, InvalidDefinitions, PlannedParameter, read

QUEUE = {"name": "q", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
USER = {"name": "a", "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""}


def problems(**sections: Any) -> list[str]:
    with pytest.raises(InvalidDefinitions) as caught:
        read(sections)
    return caught.value.problems


def test_an_empty_file_asks_for_nothing() -> None:
    assert read({}) == read({"rabbit_version": "3.10.8", "queues": [], "other": 1})


def test_users_of_all_ages() -> None:
    tagged = [{**USER, "name": "list", "tags": ["a", "b"]}, {**USER, "name": "text", "tags": "a,b"}]
    plain = {"name": "plain", "password": "secret", "tags": [], "limits": {"max-channels": 5}}
    plan = read({"users": [*tagged, plain, {"name": "old", "password_hash": ""}]})
    assert [user.tags for user in plan.users] == [("a", "b"), ("a", "b"), (), ()]
    assert passwords.is_right(plan.users[2].password, b"secret")
    assert plan.users[3].password.algorithm == passwords.RABBIT_SHA256
    assert plan.limits == {(USER_LIMITS, "plain"): {"max-channels": 5}}


def test_virtual_hosts_of_all_ages() -> None:
    described = {"description": "d", "tags": "a,b", "default_queue_type": "quorum"}
    plan = read(
        {
            "vhosts": [
                {"name": "new", "metadata": described, "limits": [["max-queues", 3]]},
                {"name": "flat", **described},
                {"name": "bare", "limits": []},
                {"name": "undefined", "metadata": {"default_queue_type": "undefined"}},
            ]
        }
    )
    assert [(vhost.description, vhost.tags, vhost.default_queue_type) for vhost in plan.vhosts] == [
        ("d", ("a", "b"), "quorum"),
        ("d", ("a", "b"), "quorum"),
        ("", (), ""),
        ("", (), ""),
    ]
    assert [vhost.is_described for vhost in plan.vhosts] == [True, True, False, True]
    assert plan.limits == {(VHOST_LIMITS, "new"): {"max-queues": 3}}


def test_parameters_are_policies_limits_or_kept() -> None:
    policy = {"pattern": ".*", "definition": [["max-length", 5]], "priority": 2, "apply-to": "queues"}
    plan = read(
        {
            "parameters": [
                {"component": "operator_policy", "name": "o", "vhost": "/", "value": policy},
                {"component": "vhost-limits", "name": "limits", "vhost": "/", "value": {"max-queues": 3}},
                {"component": "shovel", "name": "s", "vhost": "/", "value": {"src-uri": "amqp://"}},
            ],
            "global_parameters": [{"name": "cluster_name", "value": "c"}],
        }
    )
    assert [(policy.kind, policy.name, policy.definition, policy.priority) for policy in plan.policies] == [
        (OPERATOR_POLICY, "o", {"max-length": 5}, 2)
    ]
    assert plan.limits == {(VHOST_LIMITS, "/"): {"max-queues": 3}}
    assert plan.parameters == [
        PlannedParameter("/", "shovel", "s", {"src-uri": "amqp://"}),
        PlannedParameter("", "", "cluster_name", "c"),
    ]


def test_objects_without_a_virtual_host_go_where_one_says() -> None:
    fields = {name: value for name, value in QUEUE.items() if name != "vhost"}
    assert read({"queues": [fields]}, "x").queues[0].vhost == "x"
    assert read({"queues": [QUEUE]}, "x").queues[0].vhost == "/"
    assert problems(queues=[fields]) == ["queues[0], queue 'q': vhost is missing"]


def test_arguments_have_the_types_that_rabbitmq_gives_them() -> None:
    [queue] = read({"queues": [{**QUEUE, "arguments": {"x-max-length": 5, "x-overflow": "drop-head"}}]}).queues
    assert queue.arguments == {"x-max-length": Field("l", 5), "x-overflow": Field("S", "drop-head")}


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = problems(
        users=[
            {**USER, "password_hash": "x"},
            {"name": "b"},
            {**USER, "hashing_algorithm": "rot13"},
            {**USER, "name": ""},
        ],
        vhosts=[1, {"name": "v", "limits": {"max-foo": 1}}],
        permissions=[{"user": "a", "vhost": "/", "configure": "(", "write": "", "read": ""}],
        topic_permissions=[{"user": "a", "vhost": "/", "exchange": "x", "write": "{username}(", "read": ""}],
        policies=[{"vhost": "/", "name": "p", "pattern": "", "definition": {"expires": 0}}],
        parameters=[{"vhost": "/", "component": "operator_policy", "name": "o", "value": {"pattern": "("}}],
        queues=[{**QUEUE, "durable": "yes"}, {**QUEUE, "arguments": 1}],
        exchanges="none",
        bindings=[{"source": "x", "vhost": "/", "destination": "q", "destination_type": "topic"}],
    )
    assert [problem.partition(": ")[0] for problem in found] == [
        "users[0], user 'a'",
        "users[1], user 'b'",
        "users[2], user 'a'",
        "users[3], user ''",
        "vhosts[0] must be an object",
        "vhosts[1], vhost 'v'",
        "permissions[0], permissions of user 'a' in vhost '/'",
        "topic_permissions[0], topic permissions of user 'a' in vhost '/'",
        "parameters[0], parameter 'o' in vhost '/'",
        "policies[0], policy 'p' in vhost '/'",
        "exchanges must be a list of objects",
        "queues[0], queue 'q' in vhost '/'",
        "queues[1], queue 'q' in vhost '/'",
        "bindings[0], binding from 'x' in vhost '/'",
    ]
    assert found[9].endswith(": 0 is not a valid queue expiry")
    assert found[13].endswith(": destination_type must be queue or exchange, not 'topic'")


def test_not_more_is_told_than_one_reads() -> None:
    with pytest.raises(InvalidDefinitions) as caught:
        read({"queues": [1] * (PROBLEMS_SHOWN + 5)})
    assert str(caught.value).count("must be an object") == PROBLEMS_SHOWN
    assert str(caught.value).endswith("\n  ... and 5 more")


@pytest.mark.parametrize("document", [[], 1, "x", None])
def test_a_file_that_is_no_object(document: object) -> None:
    with pytest.raises(InvalidDefinitions, match="the file must be an object of JSON"):
        read(document)


def test_topic_permissions_may_have_variables() -> None:
    permission = {"user": "a", "vhost": "/", "exchange": "x", "write": "^{username}-{vhost}$", "read": "{client_id}"}
    assert read({"topic_permissions": [permission]}).topic_permissions[0].write == "^{username}-{vhost}$"
