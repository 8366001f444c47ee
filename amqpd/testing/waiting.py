"""What tests wait for: facts about the broker that are looked at after each of its turns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from amqpd.broker.broker import Broker
from amqpd.server.reactor import Reactor
from amqpd.testing.history import History
from amqpd.testing.host import Host

TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.005  # for what only the test can see
Count: TypeAlias = int | Callable[[int], bool]  # exactly so many, or so many that this is true


class Waiter:
    """Somebody who waits until ``is_true``; ``wake`` is called once on the loop's thread, when it is or never will be.

    ``at_rest``: looked at only when the broker has nothing to do.
    """

    def __init__(self, is_true: Callable[[], bool], wake: Callable[[], None], *, at_rest: bool = False) -> None:
        self.is_true = is_true
        self.wake = wake
        self.at_rest = at_rest
        self.is_over = False
        self.error: Exception | None = None

    def look(self, worked: bool) -> bool:
        """Whether the wait is over."""
        if not (worked and self.at_rest):
            try:
                self.is_over = self.is_true()
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
                self.fail(error)
        if self.is_over:
            self.wake()
        return self.is_over

    def fail(self, error: Exception) -> None:
        """It will never be true."""
        self.error = error
        self.is_over = True


class Waiters:
    """All who wait for one broker."""

    def __init__(self) -> None:
        self._waiting: list[Waiter] = []
        self._is_looking = False

    def add(self, waiter: Waiter) -> None:
        self._waiting.append(waiter)

    def drop(self, waiter: Waiter) -> None:
        """It has waited long enough."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def on_turn(self, worked: bool) -> None:
        """After a turn; ``worked``: there may be more to do at once."""
        if self._waiting and not self._is_looking:  # who is asked may ask the broker, which takes turns for it
            self._is_looking = True
            waiting, self._waiting = self._waiting, []
            self._waiting += [waiter for waiter in waiting if not waiter.look(worked)]
            self._is_looking = False

    def fail(self, error: Exception) -> None:
        """The broker is gone."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.fail(error)
            waiter.wake()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is waited for: in words for a person, and as a question to ask between two turns."""

    words: str
    is_true: Callable[[], bool]
    at_rest: bool = False


class Wishes:
    """What can be wished for of one broker; ``vhost`` None is the broker's own."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def choose(
        self, what: str | Callable[[], bool] | None, queue: str | None, vhost: str | None, **counts: Count | None
    ) -> Wish | Callable[[], bool]:
        """What ``wait_for`` is asked for: a queue with its counts, or something to call. Raises TypeError for neither,
        and for both.
        """
        if callable(what):
            if queue is not None or any(count is not None for count in counts.values()):
                raise TypeError("wait_for() takes either something to call, or a queue and its counts")
            return what
        name = queue if what is None else what
        if name is None:
            raise TypeError("wait_for() needs the name of a queue, or something to call")
        return self.queue(name, vhost, **counts)

    def queue(self, name: str, vhost: str | None, **counts: Count | None) -> Wish:
        """That there is a queue, and its ``ready``, ``unacked`` and ``consumers`` are as many as is said."""
        where = self._where(vhost)
        wanted = {noun: count for noun, count in counts.items() if count is not None}
        words = ", ".join(f"{_shown(count)} {noun}" for noun, count in wanted.items())
        return Wish(
            f"queue '{name}' in vhost '{where}'{' with ' if words else ''}{words}",
            lambda: _is_like(self._host.node, where, name, wanted),
        )

    def consumers(self, name: str, vhost: str | None, count: int) -> Wish:
        """That a queue has at least so many consumers."""
        where = self._where(vhost)
        wanted = {"consumers": lambda found: found >= count}
        return Wish(
            f"{count} or more consumers of queue '{name}' in vhost '{where}'",
            lambda: _is_like(self._host.node, where, name, wanted),
        )

    def connections(self, count: int) -> Wish:
        """That at least so many connections are open."""
        return Wish(f"{count} or more connections", lambda: len(self._host.node.connections) >= count)

    def publishes(
        self, history: History, count: int, exchange: str | None, routing_key: str | None, vhost: str | None
    ) -> Wish:
        """That at least so many messages of a kind were published."""
        where = self._where(vhost)
        return Wish(f"{count} or more published messages", lambda: history.count(exchange, routing_key, where) >= count)

    def idleness(self) -> Wish:
        """That nothing is under way: every message that a consumer could have is delivered and settled, and everything
        is written, to the store and to the sockets. Messages that nobody consumes may wait, and what time alone brings
        may be due later.
        """
        return Wish("the broker to be idle", lambda: _is_idle(self._host.node, self._host.server.reactor), at_rest=True)

    def _where(self, vhost: str | None) -> str:
        return self._host.vhost if vhost is None else vhost


def _shown(count: Count) -> str:
    return "some number of" if callable(count) else str(count)


def _is_like(node: Broker, vhost: str, name: str, wanted: Mapping[str, Count]) -> bool:
    found = node.vhosts.get(vhost)
    queue = None if found is None else found.queues.get(name)
    if queue is None:
        return False
    counts = {"ready": queue.ready_count, "unacked": queue.unacked_count, "consumers": len(queue.consumers.all)}
    return all(count(counts[noun]) if callable(count) else count == counts[noun] for noun, count in wanted.items())


def _is_idle(node: Broker, reactor: Reactor) -> bool:
    queues = (queue for vhost in node.vhosts.values() for queue in vhost.queues.values())
    return (
        not any(queue.unacked_count or (queue.ready_count and queue.consumers.all) for queue in queues)
        and not any(link.unsent or link.outbox.size for link in reactor.links.values())
        and node.journal.is_idle()
    )
