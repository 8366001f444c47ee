import pytest

from amqpd.broker import equivalence
from amqpd.broker.exchanges.direct import DirectExchange
from amqpd.broker.fields import Field, Table, boolean, longstr
from amqpd.errors import PreconditionFailed
from tests.broker.world import World

ONE = Field("I", 1)


def check_exchange(
    current: Table,
    received: Table,
    *,
    type_name: str = "direct",
    durable: bool = True,
    auto_delete: bool = False,
    internal: bool = False,
) -> None:
    """``received`` against a durable direct exchange "x"."""
    exchange = DirectExchange("x", durable=True, arguments=current)
    equivalence.check_exchange("/", exchange, type_name, durable, auto_delete, internal, received)


def check_queue(current: Table, received: Table, *, durable: bool = True, auto_delete: bool = False) -> None:
    """``received`` against a durable queue "q"."""
    queue = World().queue("q", arguments=current)
    equivalence.check_queue("/", queue, durable, auto_delete, received)


def text_of_refusal(current: Table, received: Table) -> str:
    with pytest.raises(PreconditionFailed) as refused:
        check_queue(current, received)
    return refused.value.text


def test_the_same_again() -> None:
    check_exchange({}, {})
    check_exchange({"alternate-exchange": longstr("y"), "a": ONE}, {"alternate-exchange": longstr("y"), "a": ONE})
    check_queue({}, {})
    check_queue({"x-max-length": ONE}, {"x-max-length": ONE})


@pytest.mark.parametrize(
    ("flags", "name", "received", "current"),
    [
        ({"type_name": "fanout"}, "type", "fanout", "direct"),
        ({"durable": False}, "durable", "false", "true"),
        ({"auto_delete": True}, "auto_delete", "true", "false"),
        ({"internal": True}, "internal", "true", "false"),
        ({"internal": True, "durable": False}, "durable", "false", "true"),  # the first difference is told
    ],
)
def test_another_exchange(flags: dict[str, bool], name: str, received: str, current: str) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        check_exchange({}, {}, **flags)  # type: ignore[arg-type]  # one of them is the type
    assert refused.value.reply_text == (
        f"PRECONDITION_FAILED - inequivalent arg '{name}' for exchange 'x' in vhost '/': "
        f"received '{received}' but current is '{current}'"
    )


@pytest.mark.parametrize(("name", "durable", "auto_delete"), [("durable", False, False), ("auto_delete", True, True)])
def test_another_queue(name: str, durable: bool, auto_delete: bool) -> None:
    with pytest.raises(PreconditionFailed, match=f"^inequivalent arg '{name}' for queue 'q' in vhost '/': received '"):
        check_queue({}, {}, durable=durable, auto_delete=auto_delete)


# --- arguments ---


def test_of_an_exchange_only_the_alternate_counts() -> None:
    check_exchange({"a": ONE}, {"x-b": ONE})
    with pytest.raises(
        PreconditionFailed, match=r"^inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/'"
    ):
        check_exchange({"alternate-exchange": longstr("y")}, {})


def test_of_a_queue_arguments_with_x_count() -> None:
    check_queue({"a": ONE}, {"b": ONE, "xa": ONE})
    assert text_of_refusal({}, {"x-a": ONE}).startswith("inequivalent arg 'x-a'")


@pytest.mark.parametrize("kind", "bBsuIil")
def test_integers_of_any_width_are_equal_by_value(kind: str) -> None:
    check_queue({"x-a": Field("l", 7)}, {"x-a": Field(kind, 7)})
    text_of_refusal({"x-a": Field("l", 7)}, {"x-a": Field(kind, 8)})


@pytest.mark.parametrize("other", [Field("d", 1.0), boolean(True), longstr("1"), Field("T", 1)])
def test_other_types_are_never_equal_to_integers(other: Field) -> None:
    assert text_of_refusal({"x-a": ONE}, {"x-a": other}).startswith("inequivalent arg 'x-a'")


def test_no_queue_type_is_the_classic_one() -> None:
    check_queue({}, {"x-queue-type": longstr("classic")})
    check_queue({"x-queue-type": longstr("classic")}, {})
    text_of_refusal({}, {"x-queue-type": longstr("quorum")})


# --- texts ---

WHAT = "for queue 'q' in vhost '/'"


@pytest.mark.parametrize(
    ("current", "received", "text"),
    [
        (ONE, Field("I", 2), f"inequivalent arg 'x-a' {WHAT}: received '2' but current is '1'"),
        (
            None,
            ONE,
            f"inequivalent arg 'x-a' {WHAT}: received the value '1' of type 'signedint' but current is none",
        ),
        (
            longstr("v"),
            None,
            f"inequivalent arg 'x-a' {WHAT}: received none but current is the value 'v' of type 'longstr'",
        ),
        (boolean(True), boolean(False), f"inequivalent arg 'x-a' {WHAT}: received 'false' but current is 'true'"),
    ],
)
def test_texts(current: Field | None, received: Field | None, text: str) -> None:
    def arguments(field: Field | None) -> Table:
        return {} if field is None else {"x-a": field}

    assert text_of_refusal(arguments(current), arguments(received)) == text


# --- which of several differences is told ---

KINDS = {"classic": {}, "quorum": {"x-queue-type": longstr("quorum")}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "second"), [("x-overflow", "x-a"), ("x-a", "x-b")])
def test_arguments_that_a_type_knows_come_first_then_the_others_by_name(kind: str, first: str, second: str) -> None:
    others = {second: ONE, first: ONE}
    assert f"'{first}'" in text_of_refusal(KINDS[kind], KINDS[kind] | others)
    assert f"'{first}'" in text_of_refusal(KINDS[kind] | others, KINDS[kind])


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("classic", "x-expires", "x-dead-letter-exchange"),
        ("quorum", "x-dead-letter-exchange", "x-expires"),
        ("classic", "x-max-priority", "x-delivery-limit"),
        ("quorum", "x-delivery-limit", "x-max-priority"),
    ],
)
def test_each_type_of_queue_has_an_order_of_its_own(kind: str, first: str, second: str) -> None:
    assert f"'{first}'" in text_of_refusal(KINDS[kind], {**KINDS[kind], second: ONE, first: ONE})
