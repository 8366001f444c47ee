"""What can be asked for, and what cannot."""

from typing import Any

import pytest

from amqpd.broker.fields import Field
from amqpd.perf import plan as plans
from amqpd.perf.plan import Plan, PlanError, Schedule


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"producers": -1}, "--producers"),
        ({"consumers": 70_000}, "--consumers"),
        ({"producers": 0, "consumers": 0}, "nothing to do"),
        ({"sizes": (100, 15)}, "--size: at least 16"),
        ({"size_schedule": Schedule(((10, 5.0),))}, "--size: at least 16"),
        ({"interval_s": 0}, "--interval"),
        ({"multi_ack_every": 0}, "--multi-ack-every"),
        ({"qos": 65_536}, "--qos"),
        ({"qos": 10, "multi_ack_every": 11}, "wait"),
        ({"confirm": -1}, "not below 0"),
        ({"rate": Schedule(((-1, 5.0),))}, "not below 0"),
        ({"predeclared": True}, "--predeclared: of which --queue"),
        ({"consumers": 0}, "--consumers 0: name the --queue"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        Plan(**options)


def test_a_prefetch_count_does_not_matter_without_acks() -> None:
    assert Plan(qos=10, multi_ack_every=11, autoack=True).qos == 10


@pytest.mark.parametrize(
    ("options", "exchange"),
    [
        ({}, "amq.direct"),
        ({"queues": ("q",)}, ""),
        ({"queues": ("q",), "routing_key": "k"}, "amq.direct"),
        ({"queues": ("q",), "exchange_type": "topic"}, "amq.topic"),
        ({"exchange_type": "fanout"}, "amq.fanout"),
        ({"exchange": "mine"}, "mine"),
        ({"queues": ("q",), "exchange": "mine"}, "mine"),
        ({"queues": ("q",), "predeclared": True}, ""),
    ],
)
def test_where_messages_go(options: dict[str, Any], exchange: str) -> None:
    assert Plan(**options).exchange_name == exchange


def test_sizes() -> None:
    assert plans.parse_sizes("1000") == (1000,)
    assert plans.parse_sizes("100,2000") == (100, 2000)
    with pytest.raises(PlanError, match="--size: '1k'"):
        plans.parse_sizes("1k")


def test_a_schedule_goes_round() -> None:
    schedule = plans.parse_schedule("--variable-rate", ["100:60", "1000:10.5"])
    assert schedule is not None
    assert [schedule.value_at(at) for at in (0, 59.9, 60, 70.4, 70.5, 71, 140)] == [
        100,
        100,
        1000,
        1000,
        100,
        100,
        1000,
    ]
    assert plans.parse_schedule("--variable-rate", []) is None


@pytest.mark.parametrize("word", ["100", "100:0", "a:1", "1:b", "1:-5"])
def test_what_is_no_schedule(word: str) -> None:
    with pytest.raises(PlanError, match=f"^--variable-rate: '{word}'"):
        plans.parse_schedule("--variable-rate", [word])


def test_one_rate_of_three() -> None:
    assert plans.read_rate(50, 0, []).value_at(1) == 50
    assert plans.read_rate(0, 4, []).value_at(1) == 0.25
    assert plans.read_rate(0, 0, ["7:1"]).value_at(1) == 7
    assert plans.read_rate(0, 0, []).value_at(1) == 0
    for rate, interval, steps in ((1, 1, []), (1, 0, ["1:1"]), (0, 1, ["1:1"])):
        with pytest.raises(PlanError, match="one"):
            plans.read_rate(rate, interval, steps)
    with pytest.raises(PlanError, match="above 0"):
        plans.read_rate(0, -1, [])


def test_one_latency_of_two() -> None:
    assert plans.read_latency(50, []).value_at(0) == 50
    assert plans.read_latency(0, ["7:1"]).value_at(0) == 7
    with pytest.raises(PlanError, match="not both"):
        plans.read_latency(50, ["7:1"])


def test_queue_arguments() -> None:
    arguments = plans.parse_arguments("x-max-length=10,x-queue-mode=lazy,x-single-active-consumer=true")
    plan = Plan(queue_arguments=arguments)
    assert plan.queue_table() == {
        "x-max-length": Field("l", 10),
        "x-queue-mode": Field("S", "lazy"),
        "x-single-active-consumer": Field("t", True),
    }
    assert plan.limiting_argument == "x-max-length"
    assert Plan().limiting_argument == ""
    with pytest.raises(PlanError, match="--queue-args: 'lazy'"):
        plans.parse_arguments("lazy")


def test_flags() -> None:
    assert plans.parse_flags([]) == frozenset()
    assert plans.parse_flags(["persistent,mandatory"]) == plans.parse_flags(["mandatory", "persistent"])
    with pytest.raises(PlanError, match="--flag: immediate"):
        plans.parse_flags(["immediate"])


def test_truth() -> None:
    assert plans.parse_truth("--auto-delete", "true")
    assert not plans.parse_truth("--auto-delete", "false")
    with pytest.raises(PlanError, match="--auto-delete: 'no'"):
        plans.parse_truth("--auto-delete", "no")


def test_queue_names() -> None:
    assert plans.queue_names("", "", None, None) == ()
    assert plans.queue_names("q", "", None, None) == ("q",)
    assert plans.queue_names("", "perf-%03d", 9, 11) == ("perf-009", "perf-010", "perf-011")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("q", "", 1, None), "of which --queue-pattern"),
        (("q", "perf-%d", 1, 2), "not both"),
        (("", "perf-%d", 1, None), "from which number to which"),
        (("", "perf-%d", 2, 1), "from which number to which"),
        (("", "perf", 1, 2), "no place for one number"),
        (("", "perf-%d-%d", 1, 2), "no place for one number"),
        (("", "perf-%c", 0x10FFFF, 0x110000), "no place for one number"),
    ],
)
def test_what_are_no_queue_names(words: tuple[str, str, int | None, int | None], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        plans.queue_names(*words)
