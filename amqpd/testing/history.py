"""What was published to a broker, as far back as it goes: noted as it came, made readable when somebody looks."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from amqpd.broker.publication import Publication
from amqpd.testing.views import PublishedMessage, view_published


class _Note(NamedTuple):
    publication: Publication
    queues: tuple[str, ...]
    vhost: str


class History:
    """The last ``limit`` messages that were published, oldest first."""

    def __init__(self, limit: int) -> None:
        self._notes: deque[_Note] = deque(maxlen=limit)

    def note(self, publication: Publication, queues: tuple[str, ...], vhost: str) -> None:
        """A message was published in ``vhost``, and went to these queues."""
        self._notes.append(_Note(publication, queues, vhost))

    def find(
        self, exchange: str | None = None, routing_key: str | None = None, vhost: str | None = None
    ) -> list[PublishedMessage]:
        """Those that were published to this exchange, with this routing key, in this virtual host; None is any."""
        return [
            view_published(
                note.publication.shown(),
                note.publication.exchange,
                note.publication.routing_key,
                note.queues,
                note.vhost,
            )
            for note in self._chosen(exchange, routing_key, vhost)
        ]

    def count(self, exchange: str | None = None, routing_key: str | None = None, vhost: str | None = None) -> int:
        """How many ``find`` would find."""
        return sum(1 for _ in self._chosen(exchange, routing_key, vhost))

    def clear(self) -> None:
        """Forget all."""
        self._notes.clear()

    def _chosen(self, exchange: str | None, routing_key: str | None, vhost: str | None) -> Iterator[_Note]:
        for note in self._notes:
            if (
                exchange in (None, note.publication.exchange)
                and routing_key in (None, note.publication.routing_key)
                and vhost in (None, note.vhost)
            ):
                yield note
