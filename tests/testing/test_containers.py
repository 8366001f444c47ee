"""What stands in for testcontainers' RabbitMqContainer."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pika
import pytest

from amqpd.testing import NotRunning
from amqpd.testing.containers import NoContainer, RabbitMqContainer

# The public names of testcontainers 4.15, with their parameters.
NAMES: Final = {
    "__init__": ["image", "port", "username", "password", "vhost", "kwargs"],
    "copy_from_container": ["source_in_container", "destination_on_host"],
    "copy_into_container": ["transferable", "destination_in_container", "mode"],
    "exec": ["command"],
    "get_connection_params": [],
    "get_container_host_ip": [],
    "get_container_id": [],
    "get_container_info": [],
    "get_docker_client": [],
    "get_exposed_port": ["port"],
    "get_logs": [],
    "get_wrapped_container": [],
    "maybe_emulate_amd64": [],
    "readiness_probe": [],
    "reload": [],
    "start": [],
    "status": [],
    "stop": ["force", "delete_volume"],
    "wait": [],
    "waiting_for": ["strategy"],
    "with_bind_ports": ["container", "host"],
    "with_command": ["command"],
    "with_copy_into_container": ["transferable", "destination_in_container", "mode"],
    "with_env": ["key", "value"],
    "with_env_file": ["env_file"],
    "with_envs": ["variables"],
    "with_exposed_ports": ["ports"],
    "with_kwargs": ["kwargs"],
    "with_name": ["name"],
    "with_network": ["network"],
    "with_network_aliases": ["aliases"],
    "with_tmpfs_mount": ["container_path", "size"],
    "with_volume_mapping": ["host", "container", "mode"],
}


def names_of(container: type) -> dict[str, list[str]]:
    """The public names of a class, each with the names of its parameters."""
    names = [name for name in dir(container) if not name.startswith("_") or name == "__init__"]
    return {name: parameters_of(inspect.getattr_static(container, name)) for name in names}


def parameters_of(member: Any) -> list[str]:
    function: Any = member.fget if isinstance(member, property) else member
    return [name for name in inspect.signature(inspect.unwrap(function)).parameters if name != "self"]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for noun in ("NODE_PORT", "DEFAULT_USER", "DEFAULT_PASS", "DEFAULT_VHOST"):
        monkeypatch.delenv(f"RABBITMQ_{noun}", raising=False)


@pytest.fixture
def container() -> Iterator[RabbitMqContainer]:
    with RabbitMqContainer() as container:
        yield container


def connect(container: RabbitMqContainer) -> pika.BlockingConnection:
    return pika.BlockingConnection(container.get_connection_params())


def test_has_the_same_names() -> None:
    assert names_of(RabbitMqContainer) == NAMES


def test_names_are_those_of_what_is_installed() -> None:
    original = pytest.importorskip("testcontainers.community.rabbitmq").RabbitMqContainer
    assert names_of(original) == NAMES


def test_a_program_for_the_original_runs() -> None:
    with RabbitMqContainer("rabbitmq:4-management").with_name("orders") as rabbitmq:
        with pika.BlockingConnection(rabbitmq.get_connection_params()) as connection:
            channel = connection.channel()
            channel.queue_declare("orders")
            channel.basic_publish("", "orders", b"1")
        address = f"{rabbitmq.get_container_host_ip()}:{rabbitmq.get_exposed_port(5672)}"
        with pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@{address}")) as connection:
            assert connection.channel().basic_get("orders")[2] == b"1"
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@{address}"))


def test_user_and_vhost_are_what_is_asked_for() -> None:
    with RabbitMqContainer(username="ada", password="secret", vhost="orders") as container:
        parameters = container.get_connection_params()
        assert parameters.virtual_host == "orders"
        assert (parameters.credentials.username, parameters.credentials.password) == ("ada", "secret")
        connect(container).close()
        container.password = "wrong"
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            connect(container)


def test_guest_may_have_another_password() -> None:
    with RabbitMqContainer(password="secret") as container:
        connect(container).close()


def test_variables_are_read_as_the_original_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_NODE_PORT", "5000")
    monkeypatch.setenv("RABBITMQ_DEFAULT_USER", "ada")
    monkeypatch.setenv("RABBITMQ_DEFAULT_PASS", "secret")
    monkeypatch.setenv("RABBITMQ_DEFAULT_VHOST", "orders")
    with RabbitMqContainer() as container:
        assert (container.username, container.password, container.vhost, container.port) == (
            "ada",
            "secret",
            "orders",
            5000,
        )
        assert container.get_exposed_port(5000) > 0
        connect(container).close()


def test_environment_says_whom_the_broker_begins_with() -> None:
    container = RabbitMqContainer(env={"LANG": "C"})
    container.with_env("RABBITMQ_DEFAULT_USER", "ada").with_envs(RABBITMQ_DEFAULT_PASS="secret", TZ="UTC")
    container.username, container.password = "ada", "secret"
    assert container.env["LANG"] == "C"
    with container:
        connect(container).close()


def test_port_outside_can_be_chosen() -> None:
    with RabbitMqContainer() as other:
        port = other.get_exposed_port(5672)
    with RabbitMqContainer().with_bind_ports("5672/tcp", f"{port}/tcp") as container:
        assert container.get_exposed_port(5672) == port


def test_what_tunes_a_container_does_nothing(container: RabbitMqContainer) -> None:
    tuned = RabbitMqContainer(docker_client_kw={}, hostname="rabbit", ports=[15672])
    same = [
        tuned.with_kwargs(mem_limit="1g"),
        tuned.with_exposed_ports(15672, "5671/tcp"),
        tuned.with_tmpfs_mount("/data"),
        tuned.maybe_emulate_amd64(),
        tuned.waiting_for(object()),
    ]
    assert all(each is tuned for each in same)
    assert tuned.get_container_info() is None
    container.reload()
    assert container.readiness_probe() is container


def test_logs_say_that_it_is_ready(container: RabbitMqContainer) -> None:
    stdout, stderr = container.get_logs()
    assert b"Server startup complete" in stdout
    assert stderr == b""


def test_status_is_said_in_words_of_docker() -> None:
    container = RabbitMqContainer()
    assert container.status == "not_started"
    with container:
        assert container.status == "running"
    assert container.status == "not_started"


def test_starts_again_empty() -> None:
    container = RabbitMqContainer()
    for _ in range(2):
        assert container.start() is container
        with connect(container) as connection:
            declared = connection.channel().queue_declare("q", durable=True)
            assert declared.method.message_count == 0
            connection.channel().basic_publish("", "q", b"1", pika.BasicProperties(delivery_mode=2))
        container.stop()
        container.stop()


def test_broker_is_there_to_look_into(container: RabbitMqContainer) -> None:
    assert container.broker is not None
    with connect(container) as connection:
        connection.channel().basic_publish("", "nowhere", b"1")
        container.broker.wait_for_published()


@pytest.mark.parametrize(
    "ask",
    [
        RabbitMqContainer.get_connection_params,
        RabbitMqContainer.get_container_host_ip,
        RabbitMqContainer.get_container_id,
        RabbitMqContainer.get_logs,
        RabbitMqContainer.readiness_probe,
        lambda container: container.get_exposed_port(5672),
    ],
)
def test_is_not_running_before_the_start(ask: Callable[[RabbitMqContainer], object]) -> None:
    with pytest.raises(NotRunning, match="not started"):
        ask(RabbitMqContainer())


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda it: it.copy_from_container("/etc", Path("etc")), r"^copy_from_container\(\) is for a real container: "),
        (lambda it: it.copy_into_container("etc", "/etc"), "no file system"),
        (lambda it: it.exec(["rabbitmqctl", "list_queues"]), "instead of rabbitmqctl"),
        (lambda it: it.get_docker_client(), "no Docker"),
        (lambda it: it.get_exposed_port(15672), r"^get_exposed_port\(15672\) .* management API"),
        (lambda it: it.get_wrapped_container(), "no Docker"),
        (lambda it: it.wait(), r"stop\(\)"),
        (lambda it: it.with_command("rabbitmq-server"), "settings"),
        (lambda it: it.with_copy_into_container("etc", "/etc"), "no file system"),
        (lambda it: it.with_env_file(".env"), r"with_env\(\)"),
        (lambda it: it.with_network(SimpleNamespace(name="net")), "cannot reach it"),
        (lambda it: it.with_network_aliases("rabbit"), "cannot reach it"),
        (lambda it: it.with_volume_mapping("data", "/var/lib/rabbitmq"), "data_dir"),
        (lambda _: RabbitMqContainer(volumes=[("data", "/var/lib/rabbitmq", "rw")]), "^volumes= .* data_dir"),
        (lambda _: RabbitMqContainer(network_aliases=["rabbit"]), "cannot reach it"),
    ],
)
def test_what_only_a_container_can_do_says_what_there_is_instead(
    container: RabbitMqContainer, ask: Callable[[RabbitMqContainer], object], text: str
) -> None:
    with pytest.raises(NoContainer, match=text):
        ask(container)
