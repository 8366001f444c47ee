"""The plugin in runs of pytest of its own, where every warning is an error."""

import importlib
from collections.abc import Callable
from typing import TypeAlias

import pytest

from amqpd.testing import pytest_plugin

pytest_plugins = ["pytester"]
for name in ("anyio.from_thread", "pika", "amqpd.testing.isolation", "amqpd.management.definitions.adoption"):
    importlib.import_module(name)  # once for all runs: what a run imports it forgets

Run: TypeAlias = Callable[..., pytest.RunResult]

DEFINITIONS = '{"queues": [{"name": "orders", "vhost": "/"}], "vhosts": [{"name": "/"}]}'


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a file of tests, in this process, with no other plugin."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source: str, *flags: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        args = ["-W", "error", "-p", "no:cacheprovider", *flags]
        return pytester.runpytest_inprocess(*args, plugins=[pytest_plugin])

    return run


@pytest.fixture
def run_with(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a file of tests, in a process of its own, with other plugins, which are called as their packages are."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(plugins: dict[str, str], source: str, *flags: str) -> pytest.RunResult:
        for package in plugins:
            pytest.importorskip(package)
        pytester.makepyfile(source)
        names = ["amqpd.testing.pytest_plugin", *plugins.values()]
        loaded = [word for name in names for word in ("-p", name)]
        return pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *loaded, *flags)

    return run


# -- fixtures --


def test_each_test_has_a_virtual_host_of_the_one_broker(run: Run) -> None:
    result = run("""
        import pika, pytest
        seen = []

        def publish(url):
            with pika.BlockingConnection(pika.URLParameters(url)) as connection:
                channel = connection.channel()
                channel.queue_declare("orders")
                channel.basic_publish("", "orders", b"1")

        @pytest.mark.parametrize("number", [1, 2])
        def test_order(number, amqpd, amqpd_url, amqpd_vhost):
            publish(amqpd_url)
            amqpd.wait_for(queue="orders", ready=1)
            assert [message.body for message in amqpd.published()] == [b"1"]
            assert amqpd_vhost.startswith(f"test_order-{number}-")
            seen.append((amqpd, amqpd_vhost))

        def test_afterwards(amqpd):
            (broker, one), (same, other) = seen
            assert broker is same is amqpd
            assert one != other
            assert amqpd.call(lambda: list(amqpd.node.vhosts)) == ["/"]
            assert amqpd.vhost == "/"
    """)
    result.assert_outcomes(passed=3)


def test_fixtures_of_the_session_may_use_the_broker(run: Run) -> None:
    result = run("""
        import pytest

        @pytest.fixture(scope="session")
        def config(amqpd):
            return amqpd.url

        def test_config(config, amqpd_url):
            assert config.endswith("/%2F")
            assert not amqpd_url.endswith("/%2F")
    """)
    result.assert_outcomes(passed=1)


def test_factory_stops_what_it_made(run: Run) -> None:
    result = run("""
        made = []

        def test_federation(amqpd_factory, amqpd):
            made.extend([amqpd_factory(), amqpd_factory(vhost="b", clock="manual")])
            assert len({amqpd.port, *[broker.port for broker in made]}) == 3
            made[1].advance(60)
            assert made[1].published() == []

        def test_afterwards():
            import pytest
            from amqpd.testing import NotRunning
            for broker in made:
                with pytest.raises(NotRunning):
                    broker.queues()
    """)
    result.assert_outcomes(passed=2)


# -- what tests leave behind --

LEAKING = """
    import pika
    left = []

    def test_forgets(amqpd_url):
        left.append(pika.BlockingConnection(pika.URLParameters(amqpd_url)))

    def test_afterwards(amqpd):
        assert amqpd.connections == []
        try:
            left[0].process_data_events(5)
        except pika.exceptions.ConnectionClosedByBroker:
            pass
        assert left[0].is_closed
"""


@pytest.mark.parametrize(
    ("flags", "outcomes", "line"),
    [
        (
            ["-W", "default"],
            {"passed": 2, "warnings": 1},
            "*AmqpdLeakWarning: test_forgets has left a connection open: *",
        ),
        (["--amqpd-leaks=error"], {"passed": 2, "errors": 1}, "*LeakedConnections: test_forgets has left a *"),
        (["-o", "amqpd_leaks=error"], {"passed": 2, "errors": 1}, "ERROR *::test_forgets *"),
        (["-o", "amqpd_leaks=error", "--amqpd-leaks=ignore"], {"passed": 2}, "*2 passed*"),
        (
            ["-o", "amqpd_leaks=loud"],
            {"passed": 1, "errors": 1},
            "*amqpd_leaks: 'loud' is not allowed: must be one of *",
        ),
    ],
)
def test_connections_left_open(run: Run, flags: list[str], outcomes: dict[str, int], line: str) -> None:
    source = LEAKING if "loud" not in str(flags) else "def test_1(amqpd_url): ...\ndef test_2(): ..."
    result = run(source, *flags)
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines([line])


# -- the marker --


def test_a_marked_test_has_a_broker_of_its_own(run: Run) -> None:
    result = run(
        """
        import pytest
        ports, brokers = [], []

        @pytest.fixture(scope="session")
        def config(amqpd):
            return amqpd.port

        def test_before(amqpd, config):
            ports.append(amqpd.port)
            brokers.append(amqpd)

        @pytest.mark.amqpd(clock="manual", definitions={"queues": [{"name": "orders"}]})
        def test_marked(amqpd, config, amqpd_vhost):
            assert config == amqpd.port != ports[0]
            amqpd.advance(60)
            assert amqpd.queue("orders").ready == 0
            assert amqpd.vhost == amqpd_vhost != "/"
            brokers.append(amqpd)

        @pytest.mark.amqpd(clock="manual", record=5)
        class TestMarked:
            @pytest.mark.amqpd(vhost="own")
            @pytest.mark.parametrize("number", [1, 2])
            def test_both(self, number, amqpd):
                assert amqpd.url.endswith("/own")
                amqpd.advance(1)
                assert amqpd not in brokers
                brokers.append(amqpd)

        def test_after(amqpd, config):
            assert amqpd is brokers[0]
            assert config == amqpd.port == ports[0]
            assert len(brokers) == 4
            for broker in brokers[1:]:
                with pytest.raises(RuntimeError):
                    broker.queues()
    """,
        "-v",
        "--strict-markers",
    )
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*::test_marked PASSED*", "*::TestMarked::test_both?1? PASSED*"])


def test_marker_takes_names_only(run: Run) -> None:
    result = run("""
        import pytest

        @pytest.mark.amqpd("manual")
        def test_marked(amqpd): ...
    """)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*::test_marked: the marker amqpd takes arguments by name only*"])


def test_marker_on_a_test_without_fixtures_does_nothing(run: Run) -> None:
    result = run("""
        import pytest, threading

        @pytest.mark.amqpd(nonsense=1)
        def test_marked():
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("amqpd")]
    """)
    result.assert_outcomes(passed=1)


# -- options --


def test_options_are_arguments_of_every_broker(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("""
        [pytest]
        amqpd_record = false
        amqpd_definitions = rabbit.json
        amqpd_settings =
            heartbeat_s = 5
            consumer_timeout_closes_channel = yes
    """)
    pytester.makefile(".json", rabbit=DEFINITIONS)
    result = run(
        """
        import pytest

        def settings(broker):
            return broker._settings.heartbeat_s, broker._settings.consumer_timeout_closes_channel

        def test_session(amqpd, amqpd_vhost):
            assert settings(amqpd) == (7, True)
            assert amqpd.queue("orders").exists
            with pytest.raises(RuntimeError, match="record"):
                amqpd.published()

        @pytest.mark.amqpd(heartbeat_s=9, record=True)
        def test_marked(amqpd, amqpd_vhost):
            assert settings(amqpd) == (9, True)
            assert amqpd.queue("orders").exists
            assert amqpd.published() == []

        def test_factory(amqpd_factory):
            assert settings(amqpd_factory(definitions=None)) == (7, True)
    """,
        "--amqpd-settings=heartbeat_s=7",
    )
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("record=some", "amqpd_record: 'some' is not allowed: must be true, false or a number"),
        (
            "settings=heartbeats=5",
            "amqpd_settings: 'heartbeats=5' is not allowed: must be NAME=VALUE, with a name of *",
        ),
        (
            "settings=heartbeat_s",
            "amqpd_settings: 'heartbeat_s' is not allowed: must be a whole number from 0 to 65535",
        ),
        ("settings=heartbeat_s=-1", "*SettingsError: heartbeat_s: -1 is not allowed: must be a whole number *"),
        ("definitions=none.json", "*InvalidDefinitions: *none.json*"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(run: Run, option: str, line: str) -> None:
    result = run("def test(amqpd): ...", f"--amqpd-{option}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([line])


def test_record_may_be_a_number(run: Run) -> None:
    result = run("def test(amqpd): assert amqpd.published() == []", "--amqpd-record=3")
    result.assert_outcomes(passed=1)


def test_help_tells_all(run: Run) -> None:
    lines = run("", "--help").stdout.str()
    for option in pytest_plugin.OPTIONS:
        assert f"--amqpd-{option.name}" in lines
        assert f"amqpd_{option.name} " in lines
    run("", "--markers").stdout.fnmatch_lines(["@pytest.mark.amqpd(*arguments): give the test*"])
    fixtures = run("", "--fixtures").stdout
    fixtures.fnmatch_lines_random([f"{name} *" for name in ("amqpd", "amqpd_vhost", "amqpd_url", "amqpd_factory")])


# -- among others; what it is to those who do not use it: test_light.py --


def test_coroutines_of_either_plugin(run_with: Run) -> None:
    pytest.importorskip("aio_pika")
    result = run_with(
        {"pytest_asyncio": "asyncio", "anyio": "anyio"},
        """
        import aio_pika, pytest

        @pytest.fixture
        async def channel(amqpd_url):
            async with await aio_pika.connect(amqpd_url) as connection:
                yield await connection.channel()

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_anyio(channel, amqpd):
            await check(channel, amqpd)

        @pytest.mark.asyncio
        async def test_asyncio(amqpd_url, amqpd):
            async with await aio_pika.connect(amqpd_url) as connection:
                await check(await connection.channel(), amqpd)

        async def check(channel, amqpd):
            queue = await channel.declare_queue("orders")
            await channel.default_exchange.publish(aio_pika.Message(b"1"), "orders")
            message = await queue.get()
            await message.ack()
            assert [message.body for message in amqpd.published()] == [b"1"]
    """,
        "--amqpd-leaks=error",
        "--asyncio-mode=strict",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    )
    result.assert_outcomes(passed=2)


def test_many_processes_in_any_order(run_with: Run) -> None:
    result = run_with(
        {"xdist": "xdist", "pytest_randomly": "randomly", "pytest_asyncio": "asyncio"},
        """
        import pytest

        @pytest.fixture(scope="session")
        def port(amqpd):
            return amqpd.port

        @pytest.mark.parametrize("number", range(8))
        async def test_order(number, port, amqpd, amqpd_vhost):
            assert amqpd.port == port
            assert amqpd.queues() == []

        @pytest.mark.amqpd(clock="manual")
        def test_marked(amqpd, amqpd_vhost):
            amqpd.advance(1)
    """,
        "-n2",
        "--asyncio-mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    )
    result.assert_outcomes(passed=9)


def test_trouble_is_over_before_fixtures_are_torn_down(run: Run) -> None:
    result = run("""
        import pika, pytest

        @pytest.fixture
        def connection(amqpd_url):
            with pika.BlockingConnection(pika.URLParameters(amqpd_url)) as connection:
                yield connection  # its close() would wait for ever for a broker that is frozen

        @pytest.fixture
        def broker(request):
            return request.getfixturevalue("amqpd")

        def test_frozen(broker, connection):
            broker.faults.freeze_connections()

        def test_dead(amqpd, amqpd_vhost):
            amqpd.kill()

        def test_next(connection):
            assert connection.is_open
        """)
    result.assert_outcomes(passed=3)


def test_a_fixture_of_the_same_name_is_left_alone(run: Run) -> None:
    result = run("""
        import pytest

        @pytest.fixture
        def amqpd():
            return "something else"

        def test_other(amqpd, amqpd_factory):
            assert amqpd == "something else"
            assert amqpd_factory().queues() == []
        """)
    result.assert_outcomes(passed=1)


def test_heartbeats_of_all_are_not_those_of_a_clock_moved_by_hand(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.mark.amqpd(clock="manual")
        def test_manual(amqpd):
            assert amqpd._settings.heartbeat_s == 0

        @pytest.mark.amqpd(clock="manual", heartbeat_s=7)
        def test_both(amqpd):
            assert amqpd._settings.heartbeat_s == 7

        def test_session(amqpd):
            assert amqpd._settings.heartbeat_s == 30
        """,
        "--amqpd-settings=heartbeat_s=30",
    )
    result.assert_outcomes(passed=3)
