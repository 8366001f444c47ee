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
    from amqpd.testing.isolation import AmqpdLeakWarning, fresh_vhost
    from amqpd.testing.topology import Snapshot
    from amqpd.testing.unittest_case import BrokerMixin

__all__ = [
    "Broker",
    "AsyncBroker",
    "BrokerMixin",
    "fresh_vhost",
    "Fault",
    "Snapshot",
    "AmqpdLeakWarning",
    "InvalidDefinitions",
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
    "Fault": "amqpd.testing.faults",
    "InvalidDefinitions": "amqpd.management.definitions.plan",
    "NoSuchQueue": "amqpd.testing.errors",
    "NotRunning": "amqpd.testing.errors",
    "Snapshot": "amqpd.testing.topology",
    "StartError": "amqpd.app",
    "WaitTimeout": "amqpd.testing.errors",
    "fresh_vhost": "amqpd.testing.isolation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
