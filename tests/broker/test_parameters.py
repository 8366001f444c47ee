"""Runtime parameters: kept, and there after a restart."""

import pytest

from amqpd.broker import records
from amqpd.broker.journal import Journal
from amqpd.broker.parameters import Parameters
from amqpd.broker.ports import ENTITIES
from amqpd.store.memory import MemoryStore


def restarted(parameters: Parameters) -> Parameters:
    """What the next start of the broker reads."""
    parameters.journal.seal()
    store = parameters.journal.store
    again = Parameters(Journal(store))
    for key, value in store.scan(ENTITIES, b""):
        again.restore(records.decode(key, value))
    return again


def test_parameters_are_kept_by_all_their_names() -> None:
    parameters = Parameters(Journal(MemoryStore()))
    parameters.set("/", "shovel", "s", {"src-uri": "amqp://"})
    parameters.set("/", "federation-upstream", "s", 1)
    parameters.set("other", "shovel", "s", [2])
    parameters.set_global("cluster_name", "a")
    parameters.set_global("cluster_name", "b")
    again = restarted(parameters)
    assert again.of_vhosts == {
        ("/", "shovel", "s"): {"src-uri": "amqp://"},
        ("/", "federation-upstream", "s"): 1,
        ("other", "shovel", "s"): [2],
    }
    assert again.of_all == {"cluster_name": "b"}


def test_a_deleted_virtual_host_takes_its_own_along() -> None:
    parameters = Parameters(Journal(MemoryStore()))
    parameters.set("gone", "shovel", "s", 1)
    parameters.set("/", "shovel", "s", 2)
    parameters.set_global("gone", 3)
    parameters.clear_vhost("gone")
    again = restarted(parameters)
    assert parameters.of_vhosts == again.of_vhosts == {("/", "shovel", "s"): 2}
    assert again.of_all == {"gone": 3}


def test_one_is_forgotten_durably() -> None:
    parameters = Parameters(Journal(MemoryStore()))
    for name in ("a", "b"):
        parameters.set("/", "shovel", name, 1)
        parameters.set_global(name, 2)
    parameters.clear("/", "shovel", "a")
    parameters.clear_global("a")
    again = restarted(parameters)
    assert parameters.of_vhosts == again.of_vhosts == {("/", "shovel", "b"): 1}
    assert parameters.of_all == again.of_all == {"b": 2}
    with pytest.raises(KeyError):
        parameters.clear("/", "shovel", "a")
    with pytest.raises(KeyError):
        parameters.clear_global("a")
