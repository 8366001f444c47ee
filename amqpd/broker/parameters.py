"""Runtime parameters: JSON that operators keep with a virtual host, or with all of the broker, for parts that read it.

Nothing here reads one yet: they come with the definitions of a RabbitMQ (its shovels and federation, the name of its
cluster), and are kept so that they are there when definitions are exported. Policies and limits, which RabbitMQ keeps
as parameters too, have registries of their own.
"""

from typing import Any, Final

from amqpd.broker import records
from amqpd.broker.journal import Journal
from amqpd.broker.ports import ENTITIES, THERE

PARAMETER: Final = "parameter"
GLOBAL_PARAMETER: Final = "global_parameter"


class Parameters:
    """``of_vhosts``: values by virtual host, component and name; ``of_all``: the global ones by name."""

    KINDS: Final = (PARAMETER, GLOBAL_PARAMETER)

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.of_vhosts: dict[tuple[str, str, str], Any] = {}
        self.of_all: dict[str, Any] = {}

    def restore(self, fact: dict[str, Any]) -> None:
        """Take a parameter that the store holds."""
        if fact["kind"] == GLOBAL_PARAMETER:
            self.of_all[fact["name"]] = fact["value"]
        else:
            self.of_vhosts[fact["vhost"], fact["component"], fact["name"]] = fact["value"]

    def set(self, vhost: str, component: str, name: str, value: Any) -> int:
        """Keep ``value``; the ticket that holds it."""
        fact = {"kind": PARAMETER, "vhost": vhost, "component": component, "name": name, "value": value}
        return self._keep((vhost, component, name), fact)

    def set_global(self, name: str, value: Any) -> int:
        """Keep ``value``; the ticket that holds it."""
        return self._keep((name,), {"kind": GLOBAL_PARAMETER, "name": name, "value": value})

    def clear(self, vhost: str, component: str, name: str) -> int:
        """Forget one; the ticket that holds that. Raises KeyError when there is none."""
        del self.of_vhosts[vhost, component, name]
        return self.journal.delete(THERE | ENTITIES, records.entity_key(PARAMETER, vhost, component, name))

    def clear_global(self, name: str) -> int:
        """Forget one; the ticket that holds that. Raises KeyError when there is none."""
        del self.of_all[name]
        return self.journal.delete(THERE | ENTITIES, records.entity_key(GLOBAL_PARAMETER, name))

    def clear_vhost(self, vhost: str) -> None:
        """Forget a virtual host that is deleted."""
        for names in [names for names in self.of_vhosts if names[0] == vhost]:
            self.clear(*names)

    def _keep(self, names: tuple[str, ...], fact: dict[str, Any]) -> int:
        self.restore(fact)
        return self.journal.put(ENTITIES, *records.entity_row(fact["kind"], names, fact))
