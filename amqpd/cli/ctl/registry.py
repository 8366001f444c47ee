"""``amqpd ctl`` with all its commands."""

from amqpd.cli.ctl import status  # isort: skip  # in the order of its help
from amqpd.cli.ctl import connections, definitions, policies, topology, users
from amqpd.cli.ctl.command import app

__all__ = ["app", "connections", "definitions", "policies", "status", "topology", "users"]
