"""pytest's fixtures: a broker for the session, a virtual host for each test. `pytest --help` and docs/embedding.md.

Loaded by every run of pytest where amqpd is installed, used or not: so it imports next to nothing, and the broker comes
with the first test that asks for it. Each process of pytest-xdist has a session, and a broker, of its own.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import pytest

from amqpd import testing

if TYPE_CHECKING:
    from amqpd.testing.isolation import Leaks

MARKER: Final = (
    "amqpd(**arguments): give the test, or each test of the class, a broker of its own, made with these arguments of "
    'amqpd.testing.Broker, as in @pytest.mark.amqpd(clock="manual", definitions={"queues": [{"name": "orders"}]}). '
    "amqpd_vhost and amqpd_url are of that broker then, and have what is in its definitions."
)
BROKER: Final = pytest.StashKey["testing.Broker"]()
LEAKS: Final = ("warn", "error", "ignore")


class Option(NamedTuple):
    """What can be said on the command line, or in the configuration file as ``amqpd_NAME``."""

    name: str
    flag: Mapping[str, Any]
    kind: Any  # of the ini option, as pytest calls it
    default: Any
    help: str


OPTIONS: Final = (
    Option(
        "leaks",
        {"choices": LEAKS},
        "string",
        "warn",
        "what connections are that a test leaves open in its virtual host: warn (the default), error, or ignore",
    ),
    Option(
        "record",
        {"metavar": "HOW"},
        "string",
        "true",
        "whether amqpd.published() remembers messages: true (10,000 of them; the default), false, or how many",
    ),
    Option(
        "settings",
        {"action": "append", "metavar": "NAME=VALUE"},
        "linelist",
        [],
        "settings of the broker, as heartbeat_s=5, one a line; docs/configuration.md has them all",
    ),
    Option(
        "definitions",
        {"metavar": "PATH"},
        "string",
        "",
        "file of definitions that the broker begins with, as RabbitMQ exports them; relative to pytest's rootdir",
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Said on the command line, an option beats the configuration file."""
    group = parser.getgroup("amqpd", "amqpd, a message broker inside of the tests")
    for option in OPTIONS:
        group.addoption(f"--amqpd-{option.name}", dest=f"amqpd_{option.name}", help=option.help, **option.flag)
        parser.addini(f"amqpd_{option.name}", option.help, type=option.kind, default=option.default)


def pytest_configure(config: pytest.Config) -> None:
    """Have the marker known."""
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where a test is marked the fixture ``amqpd`` has an argument. By pytest's own rules all that depends on the
    fixture is then made for that test, and the session's broker waits unharmed for the next one.
    """
    markers = list(metafunc.definition.iter_markers("amqpd"))
    if not markers or "amqpd" not in metafunc.fixturenames:
        return
    arguments: dict[str, Any] = {}
    for marker in reversed(markers):  # the function's own comes first, and counts most
        if marker.args:
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: the marker amqpd takes arguments by name only")
        arguments.update(marker.kwargs)
    no_id = getattr(pytest, "HIDDEN_PARAM", "amqpd")  # pytest 8.4 can leave it out of the test's name
    metafunc.parametrize("amqpd", [arguments], indirect=True, ids=[no_id], scope="function")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Trouble ends with the test's own function: a fixture that closes its connection may wait for the broker."""
    isolation = sys.modules.get("amqpd.testing.isolation")  # not there: nobody has a broker
    broker = item.stash.get(BROKER, None) or getattr(item, "funcargs", {}).get("amqpd")
    if isolation is not None and isinstance(broker, testing.Broker):  # others may have a fixture of that name
        isolation.recover(broker)


@pytest.fixture(scope="session")
def _amqpd_of_session(pytestconfig: pytest.Config) -> Iterator["testing.Broker"]:
    with _make_broker(pytestconfig, {}) as broker:
        yield broker


@pytest.fixture(scope="session")
def amqpd(request: pytest.FixtureRequest) -> Iterator["testing.Broker"]:
    """A broker on a free port, an amqpd.testing.Broker: that of the session, or the test's own where it is marked."""
    own: Mapping[str, Any] | None = getattr(request, "param", None)
    if own is None:
        yield request.getfixturevalue("_amqpd_of_session")
    else:
        with _make_broker(request.config, own) as broker:
            yield broker


@pytest.fixture
def amqpd_vhost(request: pytest.FixtureRequest, amqpd: "testing.Broker") -> Iterator[str]:
    """The name of a virtual host that only this test uses: meanwhile the one that `amqpd` means where none is said, as
    in amqpd.queue("q"). It begins with the definitions, if there are some, and is gone after the test. Connections left
    open in it are told of.
    """
    leaks: Leaks = _option(request.config, "leaks")
    if leaks not in LEAKS:
        _refuse("leaks", leaks, f"one of {', '.join(LEAKS)}")
    request.node.stash[BROKER] = amqpd  # a test may have it through fixtures of its own only
    with testing.fresh_vhost(amqpd, request.node.name, leaks) as name:
        yield name


@pytest.fixture
def amqpd_url(amqpd: "testing.Broker", amqpd_vhost: str) -> str:
    """The URL of this test's own virtual host, for any client: amqp://guest:guest@127.0.0.1:PORT/NAME."""
    return amqpd.url


@pytest.fixture
def amqpd_factory(pytestconfig: pytest.Config) -> Iterator[Callable[..., "testing.Broker"]]:
    """Makes further brokers, ready to use, with any arguments of amqpd.testing.Broker; stopped after the test."""
    with ExitStack() as brokers:
        yield lambda **arguments: brokers.enter_context(_make_broker(pytestconfig, arguments))


# -- from options to arguments --


def _make_broker(config: pytest.Config, own: Mapping[str, Any]) -> "testing.Broker":
    """What is said for this one counts more than what is said for all. A clock that is moved by hand is faster than
    heartbeats, which only the broker itself may be told to want then.
    """
    definitions = _option(config, "definitions")
    settings = dict(_read_setting(line) for line in _option(config, "settings"))
    if own.get("clock") == "manual":
        settings.pop("heartbeat_s", None)
    return testing.Broker(
        **{
            "record": _read_record(_option(config, "record")),
            "definitions": config.rootpath / definitions if definitions else None,
            **settings,
            **own,
        }
    )


def _option(config: pytest.Config, name: str) -> Any:
    said = config.getoption(f"amqpd_{name}")
    ini = config.getini(f"amqpd_{name}")
    if isinstance(ini, list):
        return [*ini, *(said or ())]
    return ini if said is None else said


def _read_record(text: str) -> bool | int:
    if text.isdecimal():
        return int(text)
    if text.lower() not in ("true", "false"):
        _refuse("record", text, "true, false or a number")
    return text.lower() == "true"


def _read_setting(line: str) -> tuple[str, object]:
    """One of ``amqpd_settings``. Whether its value is allowed is the broker's to say."""
    name, _, text = (part.strip() for part in line.partition("="))
    settings = importlib.import_module("amqpd.settings")
    if name not in {field.name for field in fields(settings.Settings)}:
        _refuse("settings", line, "NAME=VALUE, with a name of docs/configuration.md")
    try:
        return name, settings.RULES[name].parse(text)
    except (LookupError, ValueError):
        _refuse("settings", line, settings.RULES[name].allowed)


def _refuse(option: str, value: str, allowed: str) -> NoReturn:
    pytest.fail(f"amqpd_{option}: {value!r} is not allowed: must be {allowed}", pytrace=False)
