"""What stands in for testcontainers' ``RabbitMqContainer``: the same names and no Docker, so that moving over is

    from amqpd.testing.containers import RabbitMqContainer

in place of ``from testcontainers.rabbitmq import RabbitMqContainer``. What only a real container can do raises
NoContainer, which says what to do instead. What only tunes a container, such as its memory, is taken and does nothing.

The names and their meaning are those of testcontainers 4.
"""

import importlib
import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from amqpd.testing.broker import Broker
from amqpd.testing.errors import NotRunning

if TYPE_CHECKING:
    import pika

GUEST: Final = "guest"
LOG: Final = b"Server startup complete; 0 plugins started.\n"  # what many projects wait for
# What is asked for, and cannot be -> what there is instead.
INSTEAD: Final[Mapping[str, str]] = {
    "command": "with_env() says user, password and virtual host; amqpd.testing.Broker takes settings and definitions",
    "copies": "definitions are an argument of amqpd.testing.Broker; there is no file system to copy to or from",
    "docker": "there is no Docker here; `broker` is what runs, and can be looked into",
    "env_file": "say its lines with with_env()",
    "exec": "look, change and make trouble through `broker`, an amqpd.testing.Broker, instead of rabbitmqctl",
    "network": "other containers cannot reach it by a name; what runs on this machine finds it by get_exposed_port()",
    "ports": "only AMQP 0-9-1 is served; what the management API is asked for, `broker` knows",
    "volumes": "definitions are an argument of amqpd.testing.Broker, and so is data_dir, a directory to keep data in",
    "wait": "it ends when stop() is called",
}
REFUSED_ARGUMENTS: Final[Mapping[str, str]] = {
    "command": "command",
    "network": "network",
    "network_aliases": "network",
    "transferables": "copies",
    "volumes": "volumes",
}


class NoContainer(NotImplementedError):
    """Asked for what only a container can do. The text says what there is instead."""


class RabbitMqContainer:
    """A broker of amqpd, as ``broker``, behind the methods of a container of RabbitMQ.

    ``port`` is the one "inside of the container"; ``get_exposed_port`` says where it listens. What is not said of
    ``username``, ``password`` and ``vhost`` is in the variables RABBITMQ_DEFAULT_USER, RABBITMQ_DEFAULT_PASS and
    RABBITMQ_DEFAULT_VHOST, or RabbitMQ's default. ``image`` is only a name. Of ``kwargs``, which are Docker's, ``env``
    and ``ports`` are as in ``with_envs`` and ``with_exposed_ports``.
    """

    def __init__(
        self,
        image: str = "rabbitmq:latest",
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        vhost: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.image = image
        self.port = port or int(os.environ.get("RABBITMQ_NODE_PORT", "5672"))
        self.username = username or os.environ.get("RABBITMQ_DEFAULT_USER", GUEST)
        self.password = password or os.environ.get("RABBITMQ_DEFAULT_PASS", GUEST)
        self.vhost = vhost or os.environ.get("RABBITMQ_DEFAULT_VHOST", "/")
        self.env: dict[str, str] = dict(kwargs.get("env") or {})
        self.ports: dict[str, int | None] = {}  # inside -> outside, None for a free one
        self.broker: Broker | None = None  # once it is started: to look into
        for noun, why in REFUSED_ARGUMENTS.items():
            if kwargs.get(noun):
                _refuse(f"{noun}=", why)
        self.with_exposed_ports(self.port, *(kwargs.get("ports") or ()))
        self.with_envs(
            RABBITMQ_NODE_PORT=str(self.port),
            RABBITMQ_DEFAULT_USER=self.username,
            RABBITMQ_DEFAULT_PASS=self.password,
            RABBITMQ_DEFAULT_VHOST=self.vhost,
        )

    # -- before the start --

    def with_env(self, key: str, value: str) -> Self:
        """RabbitMQ's RABBITMQ_DEFAULT_USER, _PASS and _VHOST count; others do nothing."""
        self.env[key] = value
        return self

    def with_envs(self, **variables: str) -> Self:
        """Several of ``with_env``."""
        self.env.update(variables)
        return self

    def with_bind_ports(self, container: str | int, host: str | int | None = None) -> Self:
        """Where to listen: ``container`` is the port given to the constructor, ``host`` the one to take."""
        self.ports[_number(container)] = None if host is None else int(_number(host))
        return self

    def with_exposed_ports(self, *ports: str | int) -> Self:
        """There is only AMQP's, so this does nothing that can be seen."""
        self.ports.update(dict.fromkeys(map(_number, ports)))
        return self

    def with_name(self, name: str) -> Self:
        """Does nothing."""
        return self

    def with_kwargs(self, **kwargs: Any) -> Self:
        """Does nothing: they are Docker's."""
        return self

    def with_tmpfs_mount(self, container_path: str, size: str | None = None) -> Self:
        """Does nothing: all is in memory anyway."""
        return self

    def maybe_emulate_amd64(self) -> Self:
        """Does nothing."""
        return self

    def waiting_for(self, strategy: object) -> Self:
        """Does nothing: it is ready when ``start`` returns."""
        return self

    # -- start and stop --

    def start(self) -> Self:
        """Start a broker that is empty, ready when this returns. Raises amqpd.testing.StartError."""
        if self.broker is None:
            self.broker = Broker(
                self.ports[str(self.port)] or 0,
                vhost=self.env["RABBITMQ_DEFAULT_VHOST"],
                definitions=self._definitions(),
                record=True,
            ).start()
        return self

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:
        """Stop it; nothing of it is left."""
        if self.broker is not None:
            self.broker.stop()
            self.broker = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        self.stop()

    def readiness_probe(self) -> Self:
        """Whether it is ready, which it is unless this raises NotRunning."""
        self._running()
        return self

    # -- while it runs --

    def get_connection_params(self) -> "pika.ConnectionParameters":
        """For pika, which is imported now. Raises NotRunning."""
        pika = importlib.import_module("pika")
        return self._running().pika_parameters(
            virtual_host=self.vhost, credentials=pika.PlainCredentials(self.username, self.password)
        )

    def get_container_host_ip(self) -> str:
        """Where it listens. Raises NotRunning."""
        return self._running().host

    def get_exposed_port(self, port: int) -> int:
        """Where AMQP's port is to be found. Raises NotRunning, and NoContainer for any other port."""
        broker = self._running()
        if int(port) != self.port:
            _refuse(f"get_exposed_port({port})", "ports")
        return broker.port

    def get_container_id(self) -> str:
        """A name for it. Raises NotRunning."""
        return f"amqpd:{self._running().port}"

    def get_logs(self) -> tuple[bytes, bytes]:
        """That it is ready, in RabbitMQ's words. Raises NotRunning."""
        self._running()
        return LOG, b""

    @property
    def status(self) -> str:
        """In Docker's words."""
        return "not_started" if self.broker is None else "running"

    def reload(self) -> None:
        """Does nothing: ``status`` is always right."""

    def get_container_info(self) -> Mapping[str, Any] | None:
        """None: Docker knows nothing of it."""
        return None

    # -- what only a container can do: NoContainer --

    def with_env_file(self, env_file: object) -> Self:
        """Raises NoContainer."""
        _refuse("with_env_file()", "env_file")

    def with_command(self, command: str | list[str]) -> Self:
        """Raises NoContainer."""
        _refuse("with_command()", "command")

    def with_network(self, network: object) -> Self:
        """Raises NoContainer."""
        _refuse("with_network()", "network")

    def with_network_aliases(self, *aliases: str) -> Self:
        """Raises NoContainer."""
        _refuse("with_network_aliases()", "network")

    def with_volume_mapping(self, host: object, container: str, mode: str = "ro") -> Self:
        """Raises NoContainer."""
        _refuse("with_volume_mapping()", "volumes")

    def with_copy_into_container(self, transferable: object, destination_in_container: str, mode: int = 0o644) -> Self:
        """Raises NoContainer."""
        _refuse("with_copy_into_container()", "copies")

    def copy_into_container(self, transferable: object, destination_in_container: str, mode: int = 0o644) -> None:
        """Raises NoContainer."""
        _refuse("copy_into_container()", "copies")

    def copy_from_container(self, source_in_container: str, destination_on_host: object) -> None:
        """Raises NoContainer."""
        _refuse("copy_from_container()", "copies")

    def exec(self, command: object) -> NoReturn:
        """Raises NoContainer."""
        _refuse("exec()", "exec")

    def wait(self) -> int:
        """Raises NoContainer."""
        _refuse("wait()", "wait")

    def get_wrapped_container(self) -> NoReturn:
        """Raises NoContainer."""
        _refuse("get_wrapped_container()", "docker")

    def get_docker_client(self) -> NoReturn:
        """Raises NoContainer."""
        _refuse("get_docker_client()", "docker")

    # -- the broker --

    def _running(self) -> Broker:
        if self.broker is None:
            raise NotRunning("the container is not started")
        return self.broker

    def _definitions(self) -> dict[str, Any]:
        """The user whom RabbitMQ begins with."""
        user, vhost = self.env["RABBITMQ_DEFAULT_USER"], self.env["RABBITMQ_DEFAULT_VHOST"]
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        return {
            "users": [{"name": user, "password": self.env["RABBITMQ_DEFAULT_PASS"], "tags": "administrator"}],
            "permissions": [{"user": user, "vhost": vhost, **everything}],
        }


def _number(port: str | int) -> str:
    """Of a port as Docker writes it: 5672 of "5672/tcp"."""
    return str(port).partition("/")[0]


def _refuse(what: str, why: str) -> NoReturn:
    raise NoContainer(f"{what} is for a real container: {INSTEAD[why]}")
