"""What was published, as far back as it goes."""

from amqpd.broker.publication import received
from amqpd.testing.history import History
from amqpd.testing.views import MessageProperties, PublishedMessage
from tests.broker.world import content_of


def note(history: History, body: bytes, exchange: str = "e", key: str = "k", vhost: str = "/") -> None:
    history.note(received(exchange, key, content_of(body), 1, persistent=False), ("q",), vhost)


def test_everything_in_order() -> None:
    history = History(10)
    history.note(received("e", "k", content_of(b"1", app_id="a"), 1, persistent=False), ("q1", "q2"), "/")
    history.note(received("", "q3", content_of(b"2"), 1, persistent=False), (), "other")
    assert history.find() == [
        PublishedMessage(
            body=b"1",
            properties=MessageProperties(app_id="a"),
            exchange="e",
            routing_key="k",
            queues=("q1", "q2"),
            vhost="/",
        ),
        PublishedMessage(
            body=b"2", properties=MessageProperties(), exchange="", routing_key="q3", queues=(), vhost="other"
        ),
    ]


def test_chosen_by_what_is_said() -> None:
    history = History(10)
    note(history, b"1", "e", "k")
    note(history, b"2", "e", "other")
    note(history, b"3", "", "k")
    note(history, b"4", "e", "k", "other")
    for words, expected in [
        ({}, b"1234"),
        ({"exchange": "e"}, b"124"),
        ({"exchange": ""}, b"3"),
        ({"routing_key": "k"}, b"134"),
        ({"vhost": "/"}, b"123"),
        ({"exchange": "e", "routing_key": "k", "vhost": "/"}, b"1"),
        ({"exchange": "nowhere"}, b""),
    ]:
        assert b"".join(found.body for found in history.find(**words)) == expected
        assert history.count(**words) == len(expected)


def test_the_oldest_are_forgotten_beyond_the_limit() -> None:
    history = History(2)
    for body in (b"1", b"2", b"3"):
        note(history, body)
    assert [found.body for found in history.find()] == [b"2", b"3"]


def test_all_are_forgotten() -> None:
    history = History(2)
    note(history, b"1")
    history.clear()
    assert history.find() == []
    assert history.count() == 0


def test_blind_copies_are_not_shown() -> None:
    history = History(2)
    content = content_of(b"1", headers={"BCC": ["secret"], "a": 1})
    history.note(received("e", "k", content, 1, persistent=False), ("secret",), "/")
    (found,) = history.find()
    assert found.headers == {"a": 1}
    assert found.queues == ("secret",)
