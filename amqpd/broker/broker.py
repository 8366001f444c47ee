"""The broker: virtual hosts, users, live connections, and the turn they share. The object that adapters and management
talk to.
"""

from amqpd import limits
from amqpd.broker.ids import Ids, QueueNumbers
from amqpd.broker.journal import Journal
from amqpd.broker.ports import Store
from amqpd.broker.turn import Turn
from amqpd.broker.users import Users, guest
from amqpd.broker.vhost import VirtualHost


class Broker:
    """Everything that clients see, without sockets, files or a clock.

    ``recovery.restore`` brings back what ``store`` holds; until then the broker has the default virtual host and guest.
    """

    def __init__(self, store: Store, ids: Ids, *, queue_window_bytes: int = limits.QUEUE_WINDOW_BYTES) -> None:
        self.ids = ids
        self.journal = Journal(store)
        self.turn = Turn(self.journal)
        self.users = Users()
        self.users.add(guest())
        self.vhosts: dict[str, VirtualHost] = {}
        self.queue_window_bytes = queue_window_bytes
        self.queue_numbers = QueueNumbers()
        self.add_vhost("/")

    def add_vhost(self, name: str) -> VirtualHost:
        vhost = VirtualHost(name, self.turn, self.ids, self.queue_numbers, self.queue_window_bytes)
        self.vhosts[name] = vhost
        return vhost

    def find_vhost(self, name: str) -> VirtualHost | None:
        return self.vhosts.get(name)

    def stop(self) -> None:
        """Note what the next start must know; the caller then seals and waits."""
        for vhost in self.vhosts.values():
            for queue in vhost.queues.values():
                queue.stop()

    def forget(self) -> None:
        """Let go of every message: the last batch is written. Compiled messages are not seen by the collector."""
        for vhost in self.vhosts.values():
            for queue in vhost.queues.values():
                queue.forget()
