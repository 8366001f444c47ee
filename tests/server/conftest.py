"""Both event loops, and brokers that go with their test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.server.serving import Served


class Serve(Protocol):
    """Starts ``amqpd serve``; ready unless told otherwise."""

    def __call__(self, *options: str, environ: dict[str, str] | None = None, ready: bool = True) -> Served: ...


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def serve_on(tmp_path: Path) -> Iterator[Serve]:
    """As ``serve``; the test names the backend, if it minds."""
    brokers: list[Served] = []

    def start(*options: str, environ: dict[str, str] | None = None, ready: bool = True) -> Served:
        where = () if "--data-dir" in options else ("--memory",)
        brokers.append(Served(tmp_path / f"run-{len(brokers)}", *where, *options, environ=environ))
        return brokers[-1].wait_ready() if ready else brokers[-1]

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def serve(serve_on: Serve, backend: str) -> Serve:
    """On each backend in turn."""

    def start(*options: str, environ: dict[str, str] | None = None, ready: bool = True) -> Served:
        return serve_on("--backend", backend, *options, environ=environ, ready=ready)

    return start


@pytest.fixture
def data_dir(tmp_path: Path) -> str:
    return str(tmp_path / "data")
