"""A fault of each kind and the reply code it gets: the standard's table of conditions, by example (AMQP 0-9-1, 1.2)."""

import pytest

from amqpd.broker.queues.classic import ClassicQueue
from tests.fuzz import inputs
from tests.fuzz.inputs import Input
from tests.fuzz.run import Runner, check_cuts
from tests.support.raw_peer import HEADER, Typed, content_header, frame, method_payload, properties, shortstr
from tests.support.wire import DelayedStore, Server, login, method, queues_of

PUBLISH = method(1, "basic.publish", routing_key="q")
DECLARE = method_payload("queue.declare", queue="q")[:-4]
BIND = method(1, "queue.declare", queue="q") + frame(
    1, 1, method_payload("queue.bind", queue="q", exchange="amq.headers")
)
VOIDS = b"\x01aA"


def declare(table: bytes) -> bytes:
    return frame(1, 1, DECLARE + table)


def header(size: int, props: bytes = b"\x00\x00", *, class_id: int = 60, weight: int = 0) -> bytes:
    return PUBLISH + frame(2, 1, content_header(size, props, class_id=class_id, weight=weight))


def sized(size: int) -> bytes:
    """The head of a method frame and one octet of it."""
    return b"\x01\x00\x01" + size.to_bytes(4, "big") + b"\x00"


def array(claimed: int, rest: bytes) -> bytes:
    inner = VOIDS + claimed.to_bytes(4, "big") + rest
    return len(inner).to_bytes(4, "big") + inner


FAULTS: dict[str, tuple[bytes, list[int]]] = {
    # Frames.
    "frame of unknown type": (frame(4, 1, b""), [501]),
    "frame of type 0": (frame(0, 0, b""), [501]),
    "frame with a wrong end": (frame(1, 1, method_payload("tx.select"), end=b"\xcd"), [501]),
    "frame above frame_max": (sized(131_073), [501]),
    "frame of 2^31 - 1 octets": (sized(2**31 - 1), [501]),
    "frame of 2^31 octets": (sized(2**31), [501]),
    "frame of 2^32 - 1 octets": (sized(2**32 - 1), [501]),
    "method frame without a method": (frame(1, 1, b""), [501]),
    "method frame with half a method": (frame(1, 1, b"\x00\x3c\x00"), [501]),
    "heartbeat on a channel": (frame(8, 1, b""), [505]),
    "heartbeat with a payload": (frame(8, 0, b"x"), [501]),
    "header on channel 0": (frame(2, 0, content_header(0)), [505]),
    "body on channel 0": (frame(3, 0, b"x"), [505]),
    "header without a method": (frame(2, 1, content_header(0)), [505]),
    "body without a method": (frame(3, 1, b"x"), [505]),
    "header on a closed channel": (frame(2, 9, content_header(0)), [505]),
    # Methods.
    "unknown class": (frame(1, 1, b"\x00\x63\x00\x0a"), [503]),
    "unknown method": (frame(1, 1, b"\x00\x3c\x00\x63"), [503]),
    "unknown class on a closed channel": (frame(1, 9, b"\x00\x63\x00\x0a"), [503]),
    "unknown method on channel 0": (frame(1, 0, b"\x00\x0a\x00\x63"), [503]),
    "method of the server": (method(1, "queue.declare-ok"), [503]),
    "content of the server": (method(1, "basic.deliver") + frame(2, 1, content_header(0)), [503]),
    "method of a channel on channel 0": (method(0, "tx.select"), [504]),
    "method of the connection on a channel": (method(1, "connection.open"), [503]),
    "second connection.open": (method(0, "connection.open", virtual_host="/"), [504]),
    "method on a closed channel": (method(9, "tx.select"), [504]),
    "second channel.open": (method(1, "channel.open"), [504]),
    "channel above channel_max": (method(2048, "channel.open"), [530]),
    "channel 65535": (method(65535, "channel.open"), [530]),
    "immediate": (method(1, "basic.publish", immediate=True) + frame(2, 1, content_header(0)), [540]),
    "prefetch in octets": (method(1, "basic.qos", prefetch_size=1), [540]),
    "recover without requeue": (method(1, "basic.recover"), [540]),
    "tag 0 acked": (method(1, "basic.ack"), [406]),
    "tag 2^64 - 1 acked": (method(1, "basic.ack", delivery_tag=2**64 - 1), [406]),
    "tag 2^63 acked, multiple": (method(1, "basic.ack", delivery_tag=2**63, multiple=True), [406]),
    "tag 2^64 - 1 nacked": (method(1, "basic.nack", delivery_tag=2**64 - 1, multiple=True), [406]),
    "tag 2^63 rejected": (method(1, "basic.reject", delivery_tag=2**63), [406]),
    # Tables.
    "table longer than its frame": (declare((2**31).to_bytes(4, "big")), [501]),
    "table of 2^32 - 1 octets": (declare(b"\xff" * 4 + b"\x01aV"), [501]),
    "table shorter than the frame": (declare(b"\x00" * 4 + b"\x01aV"), [501]),
    "table with a name beyond its end": (declare(b"\x00\x00\x00\x02\xffV"), [501]),
    "table without a type": (declare(b"\x00\x00\x00\x02\x01a"), [501]),
    "table with an unknown type": (declare(b"\x00\x00\x00\x03\x01aZ"), [501]),
    "array of 2^31 voids": (declare(array(2**31, b"V" * 50)), [501]),
    "array of 2^32 - 1 voids": (declare(array(2**32 - 1, b"V" * 50)), [501]),
    "array of one void too many": (declare(array(51, b"V" * 50)), [501]),
    "array of 100,000 voids": (declare(array(100_000, b"V" * 100_000)), [501]),
    "tables nested 10,000 deep": (declare(inputs.nested(10_000, "F")), [501]),
    "arrays nested 10,000 deep": (declare(inputs.nested(10_000, "A")), [501]),
    # Contents.
    "method where a header is due": (PUBLISH + method(1, "tx.select"), [505]),
    "body where a header is due": (PUBLISH + frame(3, 1, b"x"), [505]),
    "second publish where a header is due": (PUBLISH + PUBLISH, [505]),
    "method where a body is due": (header(3) + method(1, "tx.select"), [505]),
    "header where a body is due": (header(3) + frame(2, 1, content_header(3)), [505]),
    "ack where a body is due": (header(3) + method(1, "basic.ack", delivery_tag=1), [505]),
    "header of another class": (header(0, class_id=50), [505]),
    "header with a weight": (header(0, weight=1), [505]),
    "header of 11 octets": (PUBLISH + frame(2, 1, content_header(0)[:11]), [501]),
    "header without flags": (PUBLISH + frame(2, 1, content_header(0)[:12]), [501]),
    "body longer than announced": (header(3) + frame(3, 1, b"abcd"), [501]),
    "body longer than announced, in parts": (header(3) + frame(3, 1, b"ab") + frame(3, 1, b"cd"), [501]),
    "body where none was announced": (header(0) + frame(3, 1, b"x"), [505]),
    "body of 2^64 - 1 octets": (header(2**64 - 1), [406]),
    "body of 2^63 octets": (header(2**63), [406]),
    "body of 2^62 octets": (header(2**62), [406]),
    "properties beyond the frame": (header(0, b"\x80\x00\xffx"), [501]),
    "properties with octets left": (header(0, b"\x00\x00x"), [501]),
    "properties with more flags": (header(0, b"\x00\x01\x00\x00"), [501]),
    "delivery mode beyond the frame": (header(0, b"\x10\x00"), [501]),
    "priority beyond the frame": (header(0, b"\x08\x00"), [501]),
    "timestamp beyond the frame": (header(0, b"\x00\x40\x00"), [501]),
    "headers longer than the frame": (header(0, b"\x20\x00" + (2**31 - 1).to_bytes(4, "big")), [501]),
    "headers of 2^31 octets": (header(0, b"\x20\x00" + (2**31).to_bytes(4, "big")), [501]),
    "tables nested 65 deep": (declare(inputs.nested(64, "F")), [501]),
    "headers nested 65 deep": (header(0, b"\x20\x00" + inputs.nested(64, "F")), [501]),
    "headers nested 65 deep in arrays": (header(0, b"\x20\x00" + inputs.nested(64, "A")), [501]),
    "headers nested 10,000 deep": (header(0, b"\x20\x00" + inputs.nested(10_000, "F")), [501]),
    "headers with 100,000 voids": (header(0, b"\x20\x00" + array(100_000, b"V" * 100_000)), [501]),
    "headers with 2^31 voids": (header(0, b"\x20\x00" + array(2**31, b"V" * 100)), [501]),
    "delivery mode 3": (header(0, properties(delivery_mode=3)), [406]),
    "delivery mode 255": (header(0, properties(delivery_mode=255)), [406]),
    "another user's name": (header(0, properties(user_id="root")), [406]),
    "a user's name outside UTF-8": (header(0, b"\x00\x10" + shortstr("\udcff")), [406]),
    # Names.
    "queue of 255 octets outside UTF-8": (method(1, "queue.purge", queue="\udcff" * 255), [404]),
    "queue with quotes and line ends": (method(1, "queue.purge", queue="'\r\n'%s"), [404]),
    "exchange of 255 octets": (method(1, "basic.publish", exchange="x" * 255) + frame(2, 1, content_header(0)), [404]),
    "exchange type outside UTF-8": (method(1, "exchange.declare", exchange="x", type="\udcff"), [503]),
    "reserved name": (method(1, "queue.declare", queue="amq.x"), [403]),
    # Right, however odd.
    "tables nested 64 deep": (declare(inputs.nested(63, "F")), []),
    "headers nested 64 deep": (header(0, b"\x20\x00" + inputs.nested(63, "F")), []),
    "empty names everywhere": (declare(b"\x00\x00\x00\x02\x00V"), []),
    "headers of all types": (
        header(0, properties(headers={kind: Typed(kind, 1) for kind in "bBsuIilTfd"} | {"D": Typed("D", (1, 2))})),
        [],
    ),
    "body in many frames, some empty": (header(3) + frame(3, 1, b"") * 9 + frame(3, 1, b"a") * 3, []),
    "flood of heartbeats": (frame(8, 0, b"") * 10_000, []),
    "queue name of 255 octets": (method(1, "queue.declare", queue="\udcff" * 255, durable=True), []),
    "bound twice": (BIND + BIND, []),
}


@pytest.mark.parametrize(("data", "codes"), FAULTS.values(), ids=FAULTS)
def test_fault(data: bytes, codes: list[int]) -> None:
    given = Input("fault", login(1) + data, turns={0})
    with Runner() as runner:
        assert runner.run(given) == codes
        given.cuts = list(range(1, len(given.data), 1 if len(given.data) < 2000 else 997))
        check_cuts(given)


BEFORE_LOGIN: dict[str, tuple[bytes, list[int]]] = {
    "a header frame": (frame(2, 0, content_header(0)), [505]),
    "a method on a channel": (method(1, "channel.open"), [505]),
    "an unknown frame": (frame(9, 0, b""), [501]),
    "a frame above the limit of a handshake": (b"\x01\x00\x00" + (131_073).to_bytes(4, "big") + b"\x00", [501]),
    "start-ok cut short": (frame(1, 0, method_payload("connection.start-ok")[:-1]), [501]),
    "start-ok nested deep": (frame(1, 0, b"\x00\x0a\x00\x0b" + inputs.nested(10_000, "F")), [501]),
    "start-ok with voids": (frame(1, 0, b"\x00\x0a\x00\x0b" + array(2**31, b"V" * 100_000)), [501]),
    "an unknown mechanism": (method(0, "connection.start-ok", mechanism="\udcff"), [503]),
    "no response": (method(0, "connection.start-ok", mechanism="PLAIN"), []),
    "the wrong step": (method(0, "connection.open", virtual_host="/"), []),
    "the wrong end": (method(0, "connection.start-ok")[:-1] + b"\x00", [501]),
}


@pytest.mark.parametrize(("data", "codes"), BEFORE_LOGIN.values(), ids=BEFORE_LOGIN)
def test_fault_before_login(data: bytes, codes: list[int]) -> None:
    given = Input("fault", HEADER + data, turns={0})
    with Runner() as runner:
        assert runner.run(given) == codes
        given.cuts = list(range(1, len(given.data), 1 if len(given.data) < 2000 else 997))
        check_cuts(given)


def test_reproducible() -> None:
    assert [inputs.make(7, index) for index in range(60)] == [inputs.make(7, index) for index in range(60)]


def test_a_body_in_frames_of_one_octet_takes_no_more_room_than_any() -> None:
    server = Server()
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    data = header(10_000) + frame(3, 1, b"x") * 10_000
    for start in range(0, len(data), 1000):
        peer.feed(data[start : start + 1000])
    peer.turn()
    (queue,) = queues_of(server.broker)
    assert isinstance(queue, ClassicQueue)
    assert len(queue.ready[0].content) < 10_200


def test_a_forced_close_of_a_connection_that_waits_for_the_disk() -> None:
    server = Server(DelayedStore())
    peer = server.peer(1)
    peer.send(1, "queue.declare", queue="q", durable=True)
    peer.turn()
    assert not peer.connection.is_reading
    peer.connection.force_close("shutdown")
    peer.turn()
    assert [said.args["reply_code"] for said in peer.output()] == [320]
    peer.send(0, "connection.close-ok")
    peer.turn()
    assert peer.is_gone
