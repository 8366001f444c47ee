import pytest

from amqpd.management.requests import Misused, Refused
from tests.management.operators import Operator


def test_add_and_list(operator: Operator) -> None:
    facts = operator.ask("add_vhost", name="staging", description="For tests", tags=["qa"], default_queue_type="quorum")
    assert facts == {"is_new": True}
    assert operator.rows("list_vhosts") == [["/"], ["staging"]]
    names = ["name", "description", "tags", "default_queue_type", "tracing", "cluster_state"]
    assert operator.rows("list_vhosts", *names)[1] == ["staging", "For tests", ["qa"], "quorum", False, "running"]
    assert operator.world.crash().broker.vhosts["staging"].description == "For tests"


def test_one_that_is_there_stays_as_it_is(operator: Operator) -> None:
    operator.ask("add_vhost", name="staging", description="For tests")
    assert operator.ask("add_vhost", name="staging", description="Other") == {"is_new": False}
    assert operator.rows("list_vhosts", "description")[1] == ["For tests"]


def test_metadata_that_is_not_named_stays(operator: Operator) -> None:
    operator.ask("add_vhost", name="staging", description="For tests", tags=["qa"], default_queue_type="quorum")
    operator.ask("update_vhost_metadata", name="staging", description="Other")
    names = ["description", "tags", "default_queue_type"]
    assert operator.rows("list_vhosts", *names)[1] == ["Other", ["qa"], "quorum"]
    operator.ask("update_vhost_metadata", name="staging", tags=["eu"], default_queue_type="classic")
    assert operator.rows("list_vhosts", *names)[1] == ["Other", ["eu"], "classic"]
    with pytest.raises(Misused, match="must be one of classic, quorum, not stream"):
        operator.ask("update_vhost_metadata", name="staging", default_queue_type="stream")


def test_a_default_queue_type_that_is_none(operator: Operator) -> None:
    with pytest.raises(Misused, match="must be one of classic, quorum, not stream"):
        operator.ask("add_vhost", name="staging", default_queue_type="stream")
    assert operator.rows("list_vhosts") == [["/"]]


def test_delete_closes_its_connections(operator: Operator) -> None:
    peer = operator.peer(1)
    operator.ask("delete_vhost", name="/")
    assert [said.args["reply_code"] for said in peer.output()] == [320]
    assert operator.rows("list_vhosts") == []
    with pytest.raises(Refused, match="Virtual host '/' does not exist"):
        operator.ask("delete_vhost", name="/")
