import itertools

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


def tell(confirms: Confirms, durable: int) -> list[tuple[int, bool]]:
    """As a channel does it, until nothing is left to tell: (up to, refused) of each frame."""
    told = []
    while up_to := confirms.take(durable):
        told.append((up_to, confirms.taken_refused))
        confirms.confirmed = up_to
    return told


def answered(*publishes: int | None) -> Confirms:
    """Publishes with these tickets, None for what was refused."""
    confirms = Confirms()
    for ticket in publishes:
        confirms.record(ticket or 0, refused=ticket is None)
    return confirms


def test_what_was_refused_is_told_apart() -> None:
    assert tell(answered(0, 0, None, None, 0), 0) == [(2, False), (4, True), (5, False)]
    assert tell(answered(None), 0) == [(1, True)]
    assert tell(answered(None, None, None), 0) == [(3, True)]


def test_a_refusal_waits_for_what_came_before() -> None:
    confirms = answered(1, None, 0, 2, None)
    assert tell(confirms, 0) == []
    assert tell(confirms, 1) == [(1, False), (2, True), (3, False)]
    assert confirms.waiting()
    assert tell(confirms, 2) == [(4, False), (5, True)]
    assert not confirms.waiting()


def test_runs_of_one_answer_are_one_frame_whatever_their_tickets() -> None:
    assert tell(answered(1, 2, 3, None, None, 4, 5, None), 9) == [(3, False), (5, True), (7, False), (8, True)]


def test_telling_and_publishing_by_turns() -> None:
    """The newest run is told of while it still grows."""
    confirms = Confirms()
    told = []
    for ticket in (None, None, 0, None, 0, 0):
        confirms.record(ticket or 0, refused=ticket is None)
        told += tell(confirms, 0)
    assert told == [(1, True), (2, True), (3, False), (4, True), (5, False), (6, False)]
    assert len(confirms.runs) <= 1


STEPS = st.lists(st.sampled_from(["seal", "durable", "disk", "plain", "refused"]), max_size=60)


@given(steps=STEPS)
def test_every_publish_is_told_of_once_in_order_and_as_it_was(steps: list[str]) -> None:
    """Against a plain list: of each publish the ticket that it needs, and whether it was refused."""
    confirms, ticket, durable = Confirms(), 1, 0
    published: list[tuple[int, bool]] = []
    told: list[bool] = []
    for step in steps:
        if step == "seal":
            ticket += 1
        elif step == "durable":
            durable = ticket - 1
        else:
            published.append((ticket if step == "disk" else 0, step == "refused"))
            confirms.record(*published[-1])
        frames = tell(confirms, durable)
        for up_to, refused in frames:
            assert up_to > len(told)
            told += [refused] * (up_to - len(told))
        assert all(one[1] is not other[1] for one, other in itertools.pairwise(frames)), "neighbours are folded"
        row = next((index for index, (needed, _) in enumerate(published) if needed > durable), len(published))
        assert told == [refused for _, refused in published[:row]]
        assert confirms.waiting() == (row < len(published))


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


def test_what_a_full_queue_refused_is_nacked_in_its_place() -> None:
    store = DelayedStore()
    store.is_delaying = False
    server = Server(store)
    peer = server.peer(1)
    limit = {"x-max-length": 2, "x-overflow": "reject-publish"}
    peer.call(1, "queue.declare", queue="q", durable=True, arguments=limit)
    peer.call(1, "confirm.select")
    store.is_delaying = True
    for queue in ("q", "q", "q", "q", "elsewhere"):
        peer.publish(1, "", queue, b"x", PERSISTENT)
    peer.turn()
    assert peer.output() == [], "the first ones are not on disk"
    store.complete()
    peer.turn()
    told = [(said.name, said.args["delivery_tag"], said.args["multiple"]) for said in peer.output()]
    assert told == [("basic.ack", 2, True), ("basic.nack", 4, True), ("basic.ack", 5, False)]
