"""Blocks that are tests, on any page, pass in a run of pytest of their own; docs/embedding.md tells of all there is."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amqpd import testing
from amqpd.testing import AsyncBroker, Broker, BrokerMixin, handles, pytest_plugin, views
from amqpd.testing.faults import Fault, Faults, PublishFault
from tests.docs.pages import DOCS, PAGES, blocks, name_of, prose, read

RUN_TIMEOUT_S = 50
PLUGINS = ["amqpd", "asyncio"]  # by the names of their entry points
PAGE = DOCS / "embedding.md"
NOUNS = [
    Broker,
    AsyncBroker,
    Faults,
    Fault,
    PublishFault,
    handles.QueueHandle,
    handles.ConnectionHandle,
    handles.ChannelHandle,
    handles.ConsumerHandle,
    views.MessageView,
    views.UnackedMessage,
    views.PublishedMessage,
]
# What the parts of the package share among themselves.
INNER = {"beginning", "call", "history", "host", "node", "server", "subject"}


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.is_test for block in blocks(page))], ids=name_of)
def test_tests_on_a_page_pass(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one run, with what the page says of its configuration, and with every warning an error."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "pyproject.toml").touch()  # or pytest looks for one further up
    files = {block.file_name: block for block in blocks(page) if block.file_name}
    for name, block in files.items():
        (tmp_path / name).write_text(block.text, encoding="utf-8")
    options = [word for plugin in PLUGINS for word in ("-p", plugin)]
    options += ["-o", "asyncio_default_fixture_loop_scope=function"]  # what pytest-asyncio wants to be told
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-v", "-p", "no:cacheprovider", *options, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{name_of(page)}\n{done.stdout}{done.stderr}"
    assert [name for name, block in files.items() if block.is_test and f"{name}::" not in done.stdout] == []


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_page_tells_of_what_it_has(noun: type) -> None:
    classes = [each for each in noun.__mro__ if each.__module__.startswith("amqpd.testing.")]
    names = {name for each in classes for name in vars(each) if not name.startswith("_")} - INNER
    assert names
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", read(PAGE))] == []


def test_signatures_are_those_of_the_code() -> None:
    """All of the last section, with the defaults that it says."""
    _, _, section = read(PAGE).partition("## All that there is")
    constructor = " ".join(section.partition("`Broker(")[2].partition(")`")[0].split())
    assert constructor.replace('"', "'") == bare_parameters(Broker)
    listed = re.findall(r"`(\w+)\(([\w=, *]*)\)`", section)
    assert len(listed) > 30
    assert [f"{name}({arguments})" for name, arguments in listed if not is_signature(name, arguments)] == []


def bare_parameters(noun: type) -> str:
    """As they are written, without their types."""
    parameters = inspect.signature(noun).parameters.values()
    bare = inspect.Signature([each.replace(annotation=inspect.Parameter.empty) for each in parameters])
    return str(bare)[1:-1]


def is_signature(name: str, arguments: str) -> bool:
    said = re.findall(r"(\w+)(?:=(\w+))?", arguments)
    methods = [getattr(noun, name) for noun in NOUNS if callable(getattr(noun, name, None))]
    return any(
        all(word in parameters and default in ("", str(parameters[word].default)) for word, default in said)
        for parameters in (inspect.signature(method).parameters for method in methods)
    )


def test_calls_in_the_text_are_ones_that_exist() -> None:
    codes = re.findall(r"`(amqpd\.[^`]+\))`", prose(PAGE))
    names = {name for code in codes for name in re.findall(r"\.(\w+)[(\[]", code)}
    assert len(names) > 15
    assert [name for name in names if not any(hasattr(noun, name) for noun in NOUNS)] == []


def test_page_tells_of_what_is_exported() -> None:
    page = read(PAGE)
    assert [name for name in testing.__all__ if f"`{name}" not in page] == []


def test_page_tells_of_options_and_fixtures() -> None:
    page = read(PAGE)
    names = [f"amqpd_{option.name}" for option in pytest_plugin.OPTIONS]
    names += ["amqpd", "amqpd_vhost", "amqpd_url", "amqpd_factory"]
    names += [name for name in BrokerMixin.__annotations__ if name != "amqpd_leaks"]
    assert [name for name in names if f"`{name}`" not in page and f"`self.{name}`" not in page] == []
