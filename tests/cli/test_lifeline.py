"""The lifeline is cut when whoever started us is gone, in whichever way they did and they are."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amqpd.cli import lifeline
from amqpd.cli.lifeline import Lifeline
from tests.cli.conftest import ROOT

WAIT_S = 20.0

# Says its number once it holds on, and ends when it is cut.
CHILD = """
import os, time
from amqpd.cli.lifeline import Lifeline
line = Lifeline()
print(os.getpid(), flush=True)
while line.holds():
    time.sleep(0.01)
"""
# Starts what it is told to, and waits to be killed.
RUNNER = """
import signal, subprocess, sys
child = subprocess.Popen(sys.argv[2:], stdin={"null": subprocess.DEVNULL, "pipe": subprocess.PIPE}[sys.argv[1]])
signal.pause()
"""


@contextlib.contextmanager
def runner(stdin: str, *command: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has started the child by way of ``command``, and a descriptor that is readable when that ends."""
    words = [sys.executable, "-c", RUNNER, stdin, *command]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = os.pidfd_open(int(process.stdout.readline()))
        try:
            yield process, child
        finally:
            process.kill()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
            os.close(child)


def assert_ends(child: int) -> None:
    assert select.select([child], [], [], WAIT_S)[0], "the child did not notice"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


# Parents


def test_parent_that_is_killed() -> None:
    with runner("null", sys.executable, "-c", CHILD) as (process, child):
        assert not select.select([child], [], [], 0)[0]
        process.kill()
        assert_ends(child)


@pytest.mark.parametrize("depth", [1, 2])
def test_shell_in_between_that_was_told_our_flag(depth: int) -> None:
    """`; true` keeps shells from becoming what they start."""
    inner = f"{sys.executable} -c '{CHILD}' {lifeline.FLAG}; true"
    command = ["sh", "-c", inner] if depth == 1 else ["env", "X=1", "sh", "-c", 'sh -c "$0"; true', inner]
    with runner("null", *command) as (process, child):
        process.kill()
        assert_ends(child)


def test_script_in_between(tmp_path: Path) -> None:
    """Nothing about the script says that it is there for us, but our standard input is that of its parent."""
    script = tmp_path / "start"
    script.write_text(f"#!/bin/sh\n{sys.executable} -c '{CHILD}'\ntrue\n")
    script.chmod(0o700)
    with runner("pipe", str(script)) as (process, child):
        process.kill()
        assert_ends(child)


def test_parent_by_any_name() -> None:
    """The kernel writes a process's name between brackets, whatever it is."""
    name = Path("/proc/self/comm")
    before = name.read_text()
    try:
        name.write_text(") 1 (")
        assert lifeline._parent_of(os.getpid()) == os.getppid()
    finally:
        name.write_text(before)


def test_no_such_process() -> None:
    assert lifeline._parent_of(0) == 0
    assert not lifeline._is_wrapper(0)


# Standard input


def test_pipe_that_is_closed(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    line = Lifeline(reader)
    assert line.holds()
    os.close(writer)
    assert not line.holds()


def test_closed_with_something_unread(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    line = Lifeline(reader)
    os.write(writer, b"hello\n")
    assert line.holds()
    os.close(writer)
    assert not line.holds()
    assert os.read(reader, 100) == b"hello\n", "it took what it was not given"


@pytest.mark.parametrize("half", [True, False])
def test_socket_that_is_closed(half: bool) -> None:
    """As Node makes pipes to children."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = Lifeline(ours.fileno())
        assert line.holds()
        if half:
            theirs.shutdown(socket.SHUT_WR)
        else:
            theirs.close()
        assert not line.holds()


def test_terminal_that_is_closed() -> None:
    theirs, ours = os.openpty()
    try:
        line = Lifeline(ours)
        assert line.holds()
        os.close(theirs)
        assert not line.holds()
    finally:
        os.close(ours)


def test_closed_before_we_came(pipe: tuple[int, int]) -> None:
    """So are those of many CI systems, and it means nothing."""
    reader, writer = pipe
    os.close(writer)
    assert Lifeline(reader).holds()


def test_no_standard_input_at_all(pipe: tuple[int, int]) -> None:
    """Its number is given to the next file that is opened, which is not ours to look at."""
    reader, _ = pipe
    os.close(reader)
    line = Lifeline(reader)
    again = os.open(os.devnull, os.O_RDONLY)
    try:
        assert again == reader
        assert line.holds()
    finally:
        os.close(again)
    assert line.holds()


@pytest.mark.parametrize("path", [os.devnull, __file__])
def test_what_nobody_holds_the_other_end_of(path: str) -> None:
    with Path(path).open("rb") as file:
        line = Lifeline(file.fileno())
        file.read()
        assert line.holds()
