from amqpd.cli.ctl.registry import app
from amqpd.management.verbs.registry import VERBS


def test_every_command_has_its_verb_and_every_verb_its_command() -> None:
    assert sorted(command.name or "" for command in app.registered_commands) == sorted(VERBS)
