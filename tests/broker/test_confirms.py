from hypothesis import given
from hypothesis import strategies as st

from amqpd.broker.confirms import Confirms
from tests.support.raw_peer import properties
from tests.support.wire import DelayedStore, Server


def published(*tickets: int) -> Confirms:
    confirms = Confirms()
    for ticket in tickets:
        confirms.record(ticket)
    return confirms


def take(confirms: Confirms, durable: int) -> int:
    """As a channel does it."""
    up_to = confirms.take(durable)
    if up_to:
        confirms.confirmed = up_to
    return up_to


def test_nothing_published() -> None:
    confirms = Confirms()
    assert not confirms.waiting()
    assert take(confirms, 5) == 0


def test_what_needs_no_disk_waits_for_none() -> None:
    confirms = published(0, 0)
    assert confirms.waiting()
    assert take(confirms, 0) == 2
    assert not confirms.waiting()
    assert take(confirms, 0) == 0, "each once"


def test_what_is_not_durable_waits() -> None:
    confirms = published(1)
    assert take(confirms, 0) == 0
    assert confirms.waiting()
    assert take(confirms, 1) == 1


def test_a_run_of_one_ticket_is_one_confirm() -> None:
    confirms = published(*[3] * 1000)
    assert take(confirms, 3) == 1000
    assert not confirms.runs


def test_runs_that_are_durable_together_are_one_confirm() -> None:
    confirms = published(1, 2, 2, 4, 5)
    assert take(confirms, 4) == 4
    assert take(confirms, 5) == 5


def test_order_is_kept_behind_what_waits() -> None:
    confirms = published(0, 1, 0, 0, 2, 0)
    assert take(confirms, 0) == 1
    assert take(confirms, 1) == 4, "3 and 4 needed no disk, but 2 did"
    assert take(confirms, 1) == 0
    assert take(confirms, 2) == 6


def test_memory_is_a_run_a_ticket() -> None:
    confirms = published(*[ticket for ticket in range(1, 11) for _ in range(100)])
    assert len(confirms.runs) == 9, "and the newest"


TICKETS = st.lists(st.one_of(st.just("seal"), st.just("durable"), st.booleans()), max_size=60)


@given(steps=TICKETS)
def test_confirmed_is_the_longest_row_that_is_durable(steps: list[str | bool]) -> None:
    confirms, ticket, durable = Confirms(), 1, 0
    published: list[int] = []
    for step in steps:
        if step == "seal":
            ticket += 1
        elif step == "durable":
            durable = ticket - 1
        else:
            published.append(ticket if step else 0)
            confirms.record(published[-1])
        take(confirms, durable)
        row = next((index for index, needed in enumerate(published) if needed > durable), len(published))
        assert confirms.confirmed == row
        assert confirms.waiting() == (row < len(published))


# --- on the wire ---

PERSISTENT = properties(delivery_mode=2)


def test_neighbours_are_folded_into_one_multiple_ack() -> None:
    store = DelayedStore()
    store.is_delaying = False
    server = Server(store)
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "confirm.select")
    store.is_delaying = True
    for count in (1, 3, 2):  # 1 is with the store; the others become the next batch together
        for _ in range(count):
            peer.publish(1, "", "q", b"x", PERSISTENT)
        peer.turn()
    acks = []
    while store.complete():
        peer.turn()
        acks.append([(said.name, said.args["delivery_tag"], said.args["multiple"]) for said in peer.output()])
    assert acks == [[("basic.ack", 1, False)], [("basic.ack", 6, True)]]
