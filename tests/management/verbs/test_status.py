import os

import pytest

from amqpd import __version__
from amqpd.management.requests import Misused, Refused
from tests.management.operators import SETTINGS, Operator


def test_status_counts_everything(operator: Operator) -> None:
    operator.world.publish(operator.world.queue(), b"1", b"2")
    operator.world.take(operator.world.find())
    operator.peer()
    facts = operator.ask("status")
    wanted = {
        "amqpd_version": __version__,
        "os_pid": os.getpid(),
        "data_dir": "",
        "durability": "memory",
        "listeners": [],
        "alarms": "",
        "connections": 1,
        "queues": 1,
        "messages_ready": 1,
        "messages_unacknowledged": 1,
        "vhosts": 1,
        "users": 1,
    }
    assert {name: facts[name] for name in wanted} == wanted
    assert facts["memory_used_bytes"] > 1_000_000
    assert 0 <= facts["uptime_s"] < 60


def test_environment_shows_the_settings(operator: Operator) -> None:
    assert operator.rows("environment") == [[name, SETTINGS[name]] for name in sorted(SETTINGS)]


def test_a_watermark_wants_memory_to_be_watched(operator: Operator) -> None:
    with pytest.raises(Refused, match="memory is not watched"):
        operator.ask("set_vm_memory_high_watermark", fraction=0.5)
    with pytest.raises(Misused, match="fraction must be a number from 0 to 1"):
        operator.ask("set_vm_memory_high_watermark", fraction=2)
