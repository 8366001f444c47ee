import json

import pytest

from amqpd.management.definitions.export import assemble
from amqpd.management.requests import Refused
from tests.management.operators import Operator


def test_out_and_in(operator: Operator) -> None:
    operator.world.queue("mine")
    operator.ask("add_vhost", name="other")
    rows = operator.rows("export_definitions")
    definitions = assemble((section, fact) for section, fact in rows)
    assert [queue["name"] for queue in definitions["queues"]] == ["mine"]
    operator.ask("delete_queue", vhost="/", name="mine")
    facts = operator.ask("import_definitions", definitions=json.dumps(definitions))
    assert facts["counts"]["queues"] == 1
    assert operator.rows("list_queues", "name", vhost="/") == [["mine"]]


def test_from_one_virtual_host_into_another(operator: Operator) -> None:
    operator.world.queue("mine")
    operator.ask("add_vhost", name="other")
    definitions = assemble((section, fact) for section, fact in operator.rows("export_definitions", vhost="/"))
    assert "users" not in definitions
    operator.ask("import_definitions", definitions=json.dumps(definitions), vhost="other")
    assert operator.rows("list_queues", "name", vhost="other") == [["mine"]]


def test_a_file_that_cannot_be_taken(operator: Operator) -> None:
    with pytest.raises(Refused, match=r"^nothing was imported: the file is not JSON: "):
        operator.ask("import_definitions", definitions="{")
    with pytest.raises(Refused, match=r"^nothing was imported: queues\[0\], queue '\?' in vhost '/': name is missing$"):
        operator.ask("import_definitions", definitions='{"queues": [{"vhost": "/"}]}')
    with pytest.raises(Refused, match=r"^nothing was imported: queue 'q': there is no vhost 'no'"):
        operator.ask("import_definitions", definitions='{"queues": [{"name": "q", "vhost": "no"}]}')
    with pytest.raises(Refused, match="Virtual host 'no' does not exist"):
        operator.ask("import_definitions", definitions="{}", vhost="no")
