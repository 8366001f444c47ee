"""What a person reads of a broker when a wait was in vain."""

from amqpd.testing.report import CONNECTION_LINES, QUEUE_LINES, describe
from tests.broker.world import World
from tests.support.wire import Server


def lines(server: Server) -> list[str]:
    return describe(server.broker).splitlines()


def test_an_empty_broker() -> None:
    assert lines(Server()) == ["The broker has no queues.", "It has no connections."]


def test_queues_with_their_counts() -> None:
    world = World()
    for name in ("q", "empty"):
        world.queue(name)
    world.send("q", b"1", b"2", b"3")
    world.take(world.find())
    peer = world.server.peer(1)
    peer.call(1, "basic.consume", queue="empty", consumer_tag="c")
    assert lines(world.server)[:3] == [
        "The broker has these queues:",
        "  queue 'q': 2 ready, 1 unacked, 0 consumers",
        "  queue 'empty': 0 ready, 0 unacked, 1 consumer",
    ]


def test_queues_of_other_virtual_hosts() -> None:
    server = Server()
    server.broker.add_vhost("tests")
    owner = server.peer(1).connection
    server.broker.vhosts["tests"].declare_queue(
        "q", owner, durable=False, exclusive=False, auto_delete=False, arguments={}
    )
    assert lines(server)[1] == "  queue 'q' in vhost 'tests': 0 ready, 0 unacked, 0 consumers"


def test_connections_with_their_channels() -> None:
    world = World()
    world.queue()
    world.send("q", b"1", b"2", b"3")
    world.turn()
    peer = world.server.peer(1, 2, 3)
    peer.call(1, "basic.qos", prefetch_count=2)
    peer.send(1, "basic.consume", queue="q", consumer_tag="c")
    peer.turn()
    peer.take_bytes()
    peer.call(2, "confirm.select")
    peer.publish(2, "", "nowhere")
    peer.turn()
    peer.take_bytes()
    peer.call(3, "tx.select")
    assert lines(world.server)[2:] == [
        "It has these connections:",
        "  connection peer 1 of 'guest' to vhost '/', wire",
        "    channel 1: 2 unacked, prefetch 2, consumes 'q' as 'c'",
        "    channel 2: 0 unacked, 1 of 1 publish confirmed",
        "    channel 3: 0 unacked, in a transaction",
    ]


def test_a_publisher_that_is_blocked() -> None:
    server = Server()
    publisher, other = server.peer(1), server.peer(1)
    publisher.publish(1, "", "q")
    for peer in (publisher, other):
        peer.connection.set_alarm("low on memory")
    shown = [line for line in lines(server) if "connection peer" in line]
    assert [line.endswith(", blocked: low on memory") for line in shown] == [True, False]


def test_no_more_than_can_be_read() -> None:
    world = World()
    for number in range(100):
        world.queue(f"q{number}")
    world.send("q77", b"1")
    for _ in range(30):
        world.server.peer(1)
    shown = lines(world.server)
    assert len(shown) == QUEUE_LINES + CONNECTION_LINES + 4 <= 40
    assert shown[1] == "  queue 'q77': 1 ready, 0 unacked, 0 consumers", "what has something in it comes first"
    assert shown[2].startswith("  queue 'q0'")
    assert shown[QUEUE_LINES + 1] == f"  and {100 - QUEUE_LINES} more lines like these"
    assert shown[-1] == f"  and {60 - CONNECTION_LINES} more lines like these"
