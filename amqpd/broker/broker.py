"""The broker: virtual hosts, users, live connections, and the turn they share. The object that adapters and management
talk to.
"""

from collections.abc import Sequence
from typing import Any, Final

from amqpd import limits
from amqpd.broker import records
from amqpd.broker.ids import Ids, QueueNumbers
from amqpd.broker.journal import Journal
from amqpd.broker.logins import Logins
from amqpd.broker.owner import Owner
from amqpd.broker.parameters import Parameters
from amqpd.broker.permissions import Permissions
from amqpd.broker.policies import Policies
from amqpd.broker.ports import ENTITIES, THERE, Store
from amqpd.broker.turn import Turn
from amqpd.broker.users import Users
from amqpd.broker.vhost import VirtualHost
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS, Limits

VHOST: Final = "vhost"


class Broker:
    """Everything that clients see, without sockets, files or a clock.

    ``recovery.restore`` brings back what ``store`` holds; until then the broker has the default virtual host and guest.
    """

    def __init__(self, store: Store, ids: Ids, *, queue_window_bytes: int = limits.QUEUE_WINDOW_BYTES) -> None:
        self.ids = ids
        self.journal = Journal(store)
        self.turn = Turn(self.journal)
        self.users = Users(self.journal)
        self.logins = Logins(self.users, ids)
        self.permissions = Permissions(self.journal, self.forget_routes)
        self.limits = Limits(self.journal)
        self.policies = Policies(self.journal)
        self.parameters = Parameters(self.journal)
        self.vhosts: dict[str, VirtualHost] = {}
        self.connections: dict[Owner, None] = {}  # those that are open, oldest first
        self.queue_window_bytes = queue_window_bytes
        self.queue_numbers = QueueNumbers()
        self.make_vhost("/")

    # -- virtual hosts --

    def find_vhost(self, name: str) -> VirtualHost | None:
        return self.vhosts.get(name)

    def add_vhost(
        self, name: str, *, description: str = "", tags: Sequence[str] = (), default_queue_type: str = ""
    ) -> int:
        """Make a virtual host, or give the one that is there this description; the ticket that holds it."""
        vhost = self.vhosts.get(name)
        if vhost is None:
            vhost = self.make_vhost(name)
        vhost.description, vhost.tags, vhost.default_queue_type = description, tuple(tags), default_queue_type
        return self.save_vhost(vhost)

    def make_vhost(self, name: str) -> VirtualHost:
        """A virtual host that is not stored."""
        vhost = VirtualHost(name, self.turn, self.ids, self.queue_numbers, self.queue_window_bytes, self.policies)
        self.vhosts[name] = vhost
        return vhost

    def save_vhost(self, vhost: VirtualHost) -> int:
        """Have a virtual host stored; the ticket that holds it."""
        fact = {
            "name": vhost.name,
            "description": vhost.description,
            "tags": vhost.tags,
            "default_queue_type": vhost.default_queue_type,
        }
        return self.journal.put(ENTITIES, *records.entity_row(VHOST, [vhost.name], fact))

    def restore_vhosts(self, facts: list[dict[str, Any]]) -> None:
        """What the store says of virtual hosts; it says nothing when it was written before there were others."""
        if facts:
            kept = {fact["name"] for fact in facts}
            self.vhosts = {name: vhost for name, vhost in self.vhosts.items() if name in kept}
        for fact in facts:
            vhost = self.vhosts.get(fact["name"]) or self.make_vhost(fact["name"])
            vhost.description, vhost.tags = fact["description"], tuple(fact["tags"])
            vhost.default_queue_type = fact["default_queue_type"]

    def delete_vhost(self, name: str) -> int:
        """Delete a virtual host with all that is in it, and close its connections; the ticket that holds it.

        Raises KeyError when there is none of that name.
        """
        vhost = self.vhosts.pop(name)
        for connection in list(self.connections):
            if connection.vhost_name == name:
                connection.force_close(f"vhost '{name}' is deleted")
        for queue in list(vhost.queues.values()):
            vhost.remove_queue(queue)
        for exchange in list(vhost.exchanges.values()):
            if exchange.name in vhost.exchanges:  # an auto-delete one may have gone with another
                vhost.remove_exchange(exchange)
        self.policies.clear_vhost(name)
        self.parameters.clear_vhost(name)
        self.permissions.clear_vhost(name)
        self.limits.clear(VHOST_LIMITS, name)
        return self.journal.delete(THERE | ENTITIES, records.entity_key(VHOST, name))

    def forget_routes(self) -> None:
        """Who may publish what has changed: nothing that was remembered of it counts any more."""
        for vhost in self.vhosts.values():
            vhost.version += 1

    # -- users --

    def delete_user(self, name: str) -> int:
        """Delete a user with all that he may, and close his connections; the ticket that holds it.

        Raises NoSuchUser.
        """
        self.users.delete(name)
        self.limits.clear(USER_LIMITS, name)
        self.permissions.clear_user(name)
        for connection in list(self.connections):
            if connection.user_name == name:
                connection.force_close(f"user '{name}' is deleted")
        return self.journal.ticket

    # -- the end --

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
