"""Commands about users, permissions, and limits of users and virtual hosts."""

import getpass
import sys
from typing import Annotated

import typer

from amqpd.cli.ctl.client import EXIT_USAGE, Failed
from amqpd.cli.ctl.command import Ctl, Vhost, command

_User = Annotated[str, typer.Argument(metavar="USER", show_default=False, help="The user's name.")]
_Password = Annotated[
    str | None,
    typer.Argument(metavar="PASSWORD", show_default=False, help="Asked for, or read from stdin, when it is not given."),
]
_Configure = Annotated[str, typer.Argument(metavar="CONFIGURE", show_default=False, help="Names to declare or delete.")]
_Write = Annotated[str, typer.Argument(metavar="WRITE", show_default=False, help="Names to publish or bind to.")]
_Read = Annotated[str, typer.Argument(metavar="READ", show_default=False, help="Names to consume or bind from.")]
_Definition = Annotated[
    str, typer.Argument(metavar="DEFINITION", show_default=False, help="An object of JSON with the limits.")
]
_Everybody = Annotated[bool, typer.Option("--global", help="Of all that have some.", show_default=False)]

# -- users --


@command
def list_users(ctl: Ctl) -> None:
    """List the users and their tags."""
    ctl.list("Listing users", "list_users")


@command
def add_user(ctl: Ctl, user: _User, password: _Password = None) -> None:
    """Add a user, who may do nothing yet.

    Permissions come next: see set_permissions. Without PASSWORD you are asked for it.

    \b
    Examples:
      amqpd ctl add_user alice
      amqpd ctl add_user alice < password.txt
    An empty password is one that nobody has: the user cannot log in with it.
    """
    ctl.do(
        f"User {user} was added. Permissions are next: amqpd ctl set_permissions {user} CONFIGURE WRITE READ",
        "add_user",
        name=user,
        password=_chosen(password),
    )


@command
def change_password(ctl: Ctl, user: _User, password: _Password = None) -> None:
    """Give a user another password. Connections that are open stay."""
    ctl.do(f"User {user} has another password.", "change_password", name=user, password=_chosen(password))


@command
def clear_password(ctl: Ctl, user: _User) -> None:
    """Take a password away from a user.

    No password lets that user in then.
    """
    ctl.do(f"User {user} has no password any more.", "clear_password", name=user)


@command
def authenticate_user(ctl: Ctl, user: _User, password: _Password = None) -> None:
    """Look whether that is the user's password.

    The exit code says it, too: 0 if it is, 1 if not.
    """
    given = _asked("Password: ") if password is None else password
    ctl.do(f"User {user} has that password.", "authenticate_user", name=user, password=given)


@command
def set_user_tags(
    ctl: Ctl,
    user: _User,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG", show_default=False, help="All.")] = None,
) -> None:
    """Give a user these tags and no others.

    RabbitMQ's tags are administrator, monitoring, policymaker, management and impersonator.
    """
    ctl.do(f"User {user} has the tags [{', '.join(tags or [])}].", "set_user_tags", name=user, tags=tags or [])


@command
def delete_user(ctl: Ctl, user: _User) -> None:
    """Delete a user.

    Permissions and limits of that user go, too.
    """
    ctl.do(f"User {user} was deleted.", "delete_user", name=user)


# -- permissions --


@command
def set_permissions(
    ctl: Ctl, user: _User, configure: _Configure, write: _Write, read: _Read, vhost: Vhost = "/"
) -> None:
    """Say what a user may do in a virtual host.

    Three regular expressions about names of queues and exchanges: which may be declared and deleted, which published
    or bound to, which consumed or bound from.

    \b
    Examples:
      amqpd ctl set_permissions alice '.*' '.*' '.*'
      amqpd ctl set_permissions -p staging worker '' '^results$' '^jobs\\.'
    An empty one allows nothing. The default exchange is called amq.default.
    Holds for connections that are open, too.
    """
    ctl.do(
        f"User {user} has these permissions in vhost {vhost}.",
        "set_permissions",
        user=user,
        vhost=vhost,
        configure=configure,
        write=write,
        read=read,
    )


@command
def clear_permissions(ctl: Ctl, user: _User, vhost: Vhost = "/") -> None:
    """Take a user's permissions away.

    With them goes the right to enter the virtual host.
    """
    ctl.do(f"User {user} has no permissions in vhost {vhost}.", "clear_permissions", user=user, vhost=vhost)


@command
def list_permissions(ctl: Ctl, vhost: Vhost = "/") -> None:
    """List who may do what in a virtual host."""
    ctl.list(f"Listing permissions for vhost {vhost}", "list_permissions", vhost=vhost)


@command
def list_user_permissions(ctl: Ctl, user: _User) -> None:
    """List what a user may do where."""
    ctl.list(f"Listing permissions for user {user}", "list_user_permissions", user=user)


@command
def set_topic_permissions(
    ctl: Ctl,
    user: _User,
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", show_default=False, help="A topic exchange.")],
    write: Annotated[str, typer.Argument(metavar="WRITE", show_default=False, help="Routing keys to publish with.")],
    read: Annotated[str, typer.Argument(metavar="READ", show_default=False, help="Routing keys to bind with.")],
    vhost: Vhost = "/",
) -> None:
    """Say which routing keys a user may use.

    Two regular expressions about keys of a topic exchange: which one may publish with, and which bind with.

    {username} and {vhost} in them stand for the user's name and the virtual host's.

    \b
    Example:
      amqpd ctl set_topic_permissions alice amq.topic '^{username}\\.' '.*'
    """
    ctl.do(
        f"User {user} has these topic permissions for exchange {exchange} in vhost {vhost}.",
        "set_topic_permissions",
        user=user,
        vhost=vhost,
        exchange=exchange,
        write=write,
        read=read,
    )


@command
def clear_topic_permissions(
    ctl: Ctl,
    user: _User,
    exchange: Annotated[
        str, typer.Argument(metavar="EXCHANGE", show_default=False, help="All of them when it is not given.")
    ] = "",
    vhost: Vhost = "/",
) -> None:
    """Lift topic permissions of a user.

    Every routing key is allowed then.
    """
    ctl.do(
        f"User {user} has no such topic permissions in vhost {vhost}.",
        "clear_topic_permissions",
        user=user,
        exchange=exchange,
        vhost=vhost,
    )


@command
def list_topic_permissions(ctl: Ctl, vhost: Vhost = "/") -> None:
    """List who may use which routing keys."""
    ctl.list(f"Listing topic permissions for vhost {vhost}", "list_topic_permissions", vhost=vhost)


@command
def list_user_topic_permissions(ctl: Ctl, user: _User) -> None:
    """List which routing keys a user may use."""
    ctl.list(f"Listing topic permissions for user {user}", "list_user_topic_permissions", user=user)


# -- limits --


@command
def set_vhost_limits(ctl: Ctl, definition: _Definition, vhost: Vhost = "/") -> None:
    """Limit a virtual host.

    What is not said is not limited.

    \b
    Example:
      amqpd ctl set_vhost_limits -p staging '{"max-connections": 64, "max-queues": 256}'
    """
    ctl.do(f"Vhost {vhost} has these limits.", "set_vhost_limits", vhost=vhost, definition=definition)


@command
def clear_vhost_limits(ctl: Ctl, vhost: Vhost = "/") -> None:
    """Lift all limits of a virtual host."""
    ctl.do(f"Vhost {vhost} has no limits.", "clear_vhost_limits", vhost=vhost)


@command
def list_vhost_limits(ctl: Ctl, vhost: Vhost = "/", everywhere: _Everybody = False) -> None:
    """List the limits of a virtual host."""
    of = "all vhosts" if everywhere else f"vhost {vhost}"
    ctl.list(f"Listing limits for {of}", "list_vhost_limits", vhost=vhost, everywhere=everywhere)


@command
def set_user_limits(ctl: Ctl, user: _User, definition: _Definition) -> None:
    """Limit a user.

    Limits that are not named stay.

    \b
    Example:
      amqpd ctl set_user_limits alice '{"max-connections": 5, "max-channels": 50}'
    """
    ctl.do(f"User {user} has these limits.", "set_user_limits", user=user, definition=definition)


@command
def clear_user_limits(
    ctl: Ctl,
    user: _User,
    limit: Annotated[
        str,
        typer.Argument(metavar="LIMIT", show_default=False, help="max-connections, max-channels, or all."),
    ],
) -> None:
    """Lift one limit of a user, or all."""
    ctl.do(f"User {user} has no such limit.", "clear_user_limits", user=user, limit=limit)


@command
def list_user_limits(
    ctl: Ctl,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Whose.")] = "guest",
    everybody: _Everybody = False,
) -> None:
    """List the limits of a user."""
    of = "all users" if everybody else f"user {user}"
    ctl.list(f"Listing limits for {of}", "list_user_limits", user=user, everywhere=everybody)


# -- passwords --


def _chosen(given: str | None) -> str:
    """A new password: asked for twice by a terminal, so that no slip locks anybody out."""
    if given is not None:
        return given
    first = _asked("Password: ")
    if sys.stdin.isatty() and _asked("The same again: ") != first:
        raise Failed("these were two different passwords: nothing was changed", EXIT_USAGE)
    return first


def _asked(prompt: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return sys.stdin.readline().rstrip("\n")
