"""The verbs of the control socket by name."""

from collections.abc import Callable, Mapping
from typing import Final

from amqpd.management.node import Node
from amqpd.management.requests import Request, Result
from amqpd.management.verbs import (
    connections,
    definitions,
    delayed,
    exchanges,
    limits,
    permissions,
    policies,
    queues,
    status,
    users,
    vhosts,
)

VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    **status.VERBS,
    **vhosts.VERBS,
    **queues.VERBS,
    **exchanges.VERBS,
    **connections.VERBS,
    **users.VERBS,
    **permissions.VERBS,
    **limits.VERBS,
    **policies.VERBS,
    **delayed.VERBS,
    **definitions.VERBS,
}
