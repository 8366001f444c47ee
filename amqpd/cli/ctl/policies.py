"""Commands about policies and operator policies."""

from typing import Annotated

import typer

from amqpd.cli.ctl.command import Ctl, Vhost, command

_Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="The policy's name.")]
_Pattern = Annotated[
    str, typer.Argument(metavar="PATTERN", show_default=False, help="A regular expression about names.")
]
_Definition = Annotated[
    str, typer.Argument(metavar="DEFINITION", show_default=False, help="An object of JSON: keys and values.")
]
_Priority = Annotated[int, typer.Option("--priority", metavar="NUMBER", help="The highest that matches applies.")]
_ApplyTo = Annotated[
    str,
    typer.Option(
        "--apply-to", metavar="KIND", help="queues, classic_queues, quorum_queues, streams, exchanges or all."
    ),
]


@command
def set_policy(
    ctl: Ctl,
    name: _Name,
    pattern: _Pattern,
    definition: _Definition,
    vhost: Vhost = "/",
    priority: _Priority = 0,
    apply_to: _ApplyTo = "all",
) -> None:
    """Set a policy for names that match.

    It says what all queues and exchanges do whose names match, those that are there already included.

    \b
    Keys for queues: message-ttl expires max-length max-length-bytes overflow
      dead-letter-exchange dead-letter-routing-key consumer-timeout;
      for quorum queues delivery-limit and dead-letter-strategy as well
    Key for exchanges: alternate-exchange

    \b
    Examples:
      amqpd ctl set_policy cap '.*' '{"max-length": 100000}' --apply-to queues
      amqpd ctl set_policy -p staging dlx '^jobs\\.' '{"dead-letter-exchange": "dead"}' --priority 2
    Of several that match one name, the one with the highest priority applies, alone.
    """
    ctl.do(
        f"Policy {name} applies in vhost {vhost}.",
        "set_policy",
        vhost=vhost,
        name=name,
        pattern=pattern,
        definition=definition,
        priority=priority,
        apply_to=apply_to,
    )


@command
def clear_policy(ctl: Ctl, name: _Name, vhost: Vhost = "/") -> None:
    """Remove a policy.

    Queues and exchanges follow at once.
    """
    ctl.do(f"Policy {name} is gone from vhost {vhost}.", "clear_policy", vhost=vhost, name=name)


@command
def list_policies(ctl: Ctl, vhost: Vhost = "/") -> None:
    """List the policies of a virtual host.

    In the order in which they are asked whether they match.
    """
    ctl.list(f"Listing policies for vhost {vhost}", "list_policies", vhost=vhost)


@command
def set_operator_policy(
    ctl: Ctl,
    name: _Name,
    pattern: _Pattern,
    definition: _Definition,
    vhost: Vhost = "/",
    priority: _Priority = 0,
    apply_to: _ApplyTo = "all",
) -> None:
    """Set bounds that no policy exceeds.

    Neither do arguments of queues. Of two numbers the smaller one counts.

    \b
    Keys: message-ttl expires max-length max-length-bytes overflow delivery-limit

    \b
    Example:
      amqpd ctl set_operator_policy cap '.*' '{"max-length": 1000000}' --apply-to queues
    """
    ctl.do(
        f"Operator policy {name} applies in vhost {vhost}.",
        "set_operator_policy",
        vhost=vhost,
        name=name,
        pattern=pattern,
        definition=definition,
        priority=priority,
        apply_to=apply_to,
    )


@command
def clear_operator_policy(ctl: Ctl, name: _Name, vhost: Vhost = "/") -> None:
    """Remove an operator policy.

    Queues follow at once.
    """
    ctl.do(f"Operator policy {name} is gone from vhost {vhost}.", "clear_operator_policy", vhost=vhost, name=name)


@command
def list_operator_policies(ctl: Ctl, vhost: Vhost = "/") -> None:
    """List the operator policies.

    Those of a virtual host, in the order in which they are asked whether they match.
    """
    ctl.list(f"Listing operator policies for vhost {vhost}", "list_operator_policies", vhost=vhost)
