"""What verbs work on: the broker, and what is to be told of the process around it."""

from collections.abc import Mapping

from amqpd.broker.broker import Broker
from amqpd.broker.vhost import VirtualHost
from amqpd.management.requests import Refused
from amqpd.server.lifecycle import Server


class Node:
    """``settings``: by name, as they are in force."""

    def __init__(self, server: Server, settings: Mapping[str, object]) -> None:
        self.server = server
        self.settings = settings

    @property
    def broker(self) -> Broker:
        return self.server.broker

    def vhost(self, name: str) -> VirtualHost:
        """Raises Refused."""
        vhost = self.broker.vhosts.get(name)
        if vhost is None:
            raise Refused(f"Virtual host '{name}' does not exist: amqpd ctl list_vhosts shows those that do")
        return vhost
