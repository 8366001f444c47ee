"""amqpd inside of a test: a real broker on a free port, ready in milliseconds, gone without a trace. docs/embedding.md.

Names are loaded when they are first used: who imports this package for one of them pays for no other.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amqpd.app import StartError
    from amqpd.management.definitions.plan import InvalidDefinitions
    from amqpd.testing.async_broker import AsyncBroker
    from amqpd.testing.broker import Broker
    from amqpd.testing.errors import NoSuchQueue, NotRunning, WaitTimeout
    from amqpd.testing.faults import Fault
    from amqpd.testing.handles import ChannelHandle, ConnectionHandle, ConsumerHandle, QueueHandle
    from amqpd.testing.isolation import AmqpdLeakWarning, LeakedConnections, fresh_vhost
    from amqpd.testing.topology import Snapshot
    from amqpd.testing.unittest_case import BrokerMixin
    from amqpd.testing.views import MessageProperties, MessageView, PublishedMessage, UnackedMessage

__all__ = [
    "Broker",
    "AsyncBroker",
    "BrokerMixin",
    "fresh_vhost",
    "ChannelHandle",
    "ConnectionHandle",
    "ConsumerHandle",
    "QueueHandle",
    "MessageView",
    "MessageProperties",
    "PublishedMessage",
    "UnackedMessage",
    "Fault",
    "Snapshot",
    "AmqpdLeakWarning",
    "InvalidDefinitions",
    "LeakedConnections",
    "NoSuchQueue",
    "NotRunning",
    "StartError",
    "WaitTimeout",
]

_HOMES = {
    "AmqpdLeakWarning": "amqpd.testing.isolation",
    "AsyncBroker": "amqpd.testing.async_broker",
    "Broker": "amqpd.testing.broker",
    "BrokerMixin": "amqpd.testing.unittest_case",
    "ChannelHandle": "amqpd.testing.handles",
    "ConnectionHandle": "amqpd.testing.handles",
    "ConsumerHandle": "amqpd.testing.handles",
    "Fault": "amqpd.testing.faults",
    "InvalidDefinitions": "amqpd.management.definitions.plan",
    "LeakedConnections": "amqpd.testing.isolation",
    "MessageProperties": "amqpd.testing.views",
    "MessageView": "amqpd.testing.views",
    "NoSuchQueue": "amqpd.testing.errors",
    "NotRunning": "amqpd.testing.errors",
    "PublishedMessage": "amqpd.testing.views",
    "QueueHandle": "amqpd.testing.handles",
    "Snapshot": "amqpd.testing.topology",
    "StartError": "amqpd.app",
    "UnackedMessage": "amqpd.testing.views",
    "WaitTimeout": "amqpd.testing.errors",
    "fresh_vhost": "amqpd.testing.isolation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
