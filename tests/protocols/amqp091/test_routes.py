"""What is remembered of a publish: one route for one method frame, whoever sends it again."""

from tests.support.wire import Server, method, publish


def test_one_for_each_method_frame() -> None:
    peer = Server().peer(1, 2)
    peer.call(1, "queue.declare", queue="q")
    for channel, key, mandatory in ((1, "q", False), (1, "q", True), (2, "q", False), (1, "other", False)):
        for body in (b"", b"x", bytes(5000)):
            peer.publish(channel, "", key, body, mandatory=mandatory)
    routes = peer.connection.routes
    assert list(routes) == [
        method(1, "basic.publish", routing_key="q"),
        method(1, "basic.publish", routing_key="q", mandatory=True),
        method(2, "basic.publish", routing_key="q"),
        method(1, "basic.publish", routing_key="other"),
    ]
    assert [route.channel.number for route in routes.values()] == [1, 1, 2, 1]
    assert [route.mandatory for route in routes.values()] == [False, True, False, False]
    assert [len(route.queues) for route in routes.values()] == [1, 1, 1, 0]


def test_the_same_route_is_used_again() -> None:
    peer = Server().peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.publish(1, "", "q", b"x")
    (route,) = peer.connection.routes.values()
    peer.feed(publish(1, "", "q", b"x") * 10)
    assert list(peer.connection.routes.values()) == [route]
    assert route.queues[0].ready_count == 11


def test_each_connection_remembers_its_own() -> None:
    server = Server()
    one, other = server.peer(1), server.peer(1)
    one.publish(1, "", "q", b"x")
    assert len(one.connection.routes) == 1
    assert not other.connection.routes
