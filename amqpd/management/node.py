"""What verbs work on: the broker, and what is to be told of the process around it."""

from collections.abc import Mapping
from dataclasses import dataclass

from amqpd.broker.broker import Broker
from amqpd.broker.vhost import VirtualHost
from amqpd.management.requests import Refused
from amqpd.server.lifecycle import Server


@dataclass(frozen=True, slots=True)
class Node:
    """``settings``: by name, as they are in force."""

    server: Server
    settings: Mapping[str, object]

    @property
    def broker(self) -> Broker:
        return self.server.broker

    def vhost(self, name: str) -> VirtualHost:
        """Raises Refused."""
        vhost = self.broker.vhosts.get(name)
        if vhost is None:
            raise Refused(f"Virtual host '{name}' does not exist: amqpd ctl list_vhosts shows those that do")
        return vhost
