"""What a line of the log looks like, and what never gets into one."""

import io
import json
import logging
import re

import pytest

from amqpd import logs

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture
def text() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    return stream


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    return stream


LOG = logging.getLogger("amqpd.some.module")


def test_text_line(text: io.StringIO) -> None:
    LOG.warning("%d connections", 3)
    assert re.fullmatch(rf"{TIME} warning amqpd\.some\.module: 3 connections\n", text.getvalue())


def test_text_line_ends_with_the_extra_fields(text: io.StringIO) -> None:
    LOG.info("opened", extra={"peer": "::1", "channels": 2})
    assert text.getvalue().endswith(": opened peer=::1 channels=2\n")


def test_json_line(lines: io.StringIO) -> None:
    LOG.error("%s is full", "disk", extra={"free_bytes": 12, "path": io.StringIO})
    event = json.loads(lines.getvalue())
    assert re.fullmatch(TIME, event.pop("ts"))
    assert event == {
        "level": "error",
        "logger": "amqpd.some.module",
        "message": "disk is full",
        "free_bytes": 12,
        "path": "<class '_io.StringIO'>",
    }


def test_extra_field_cannot_replace_our_own(lines: io.StringIO) -> None:
    LOG.info("m", extra={"level": "x", "ts": "y"})
    event = json.loads(lines.getvalue())
    assert (event["level"], event["level_"], event["ts_"]) == ("info", "x", "y")


def test_time_is_of_the_event(lines: io.StringIO) -> None:
    event = {"name": LOG.name, "msg": "m", "levelno": logging.INFO, "created": 86400.25, "msecs": 250.0}
    LOG.handle(logging.makeLogRecord(event))
    assert json.loads(lines.getvalue())["ts"] == "1970-01-02T00:00:00.250Z"


def test_level(text: io.StringIO) -> None:
    LOG.debug("unseen")
    LOG.info("seen")
    assert text.getvalue().count("\n") == 1


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_every_level_can_be_the_least(level: str) -> None:
    stream = io.StringIO()
    logs.configure(level, "text", stream)
    for name in ("debug", "info", "warning", "error"):
        LOG.log(getattr(logging, name.upper()), "event")
    assert stream.getvalue().split("\n")[0].split(" ")[1] == level


def test_second_call_replaces_the_first(text: io.StringIO) -> None:
    again = io.StringIO()
    logs.configure("debug", "json", again)
    LOG.debug("m")
    assert text.getvalue() == ""
    assert again.getvalue().count("\n") == 1


def test_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    LOG.info("m")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("amqpd.some.module: m\n")


def test_other_loggers_are_let_be(text: io.StringIO) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    logs.configure("debug", "text", text)
    assert root.handlers == before


def test_peer_cannot_forge_a_line(text: io.StringIO) -> None:
    LOG.info("user %s", "a\n2025 info amqpd: b\r\x1b[31m\x85\u2028", extra={"vhost": "c\nd"})
    assert text.getvalue().count("\n") == 1
    assert len(text.getvalue().splitlines()) == 1
    assert "\x1b" not in text.getvalue()
    assert "a\\x0a2025" in text.getvalue()


def test_peer_cannot_forge_a_json_line(lines: io.StringIO) -> None:
    LOG.info("user %s", 'a"}\n{"b', extra={"vhost": "c\nd"})
    assert len(lines.getvalue().splitlines()) == 1
    assert json.loads(lines.getvalue())["message"] == 'user a"}\n{"b'


def test_traceback_follows_in_text(text: io.StringIO) -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        LOG.exception("bug")
    first, *rest = text.getvalue().splitlines()
    assert first.endswith(": bug")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "RuntimeError: broken"


def test_traceback_is_a_field_in_json(lines: io.StringIO) -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        LOG.exception("bug", stack_info=True)
    event = json.loads(lines.getvalue())
    assert "RuntimeError: broken" in event["traceback"]
    assert "Stack (most recent call last)" in event["traceback"]


@pytest.mark.parametrize("layout", ["text", "json"])
def test_secrets_are_masked(layout: str) -> None:
    stream = io.StringIO()
    logs.configure("info", layout, stream)
    try:
        raise RuntimeError("amqp://eve:hunter2@host")
    except RuntimeError:
        LOG.exception(
            "to %s", "amqps://eve:hunter2@host/v", extra={"user_password": "hunter2", "uri": "amqp://:hunter2@h"}
        )
    assert "hunter2" not in stream.getvalue()
    assert "amqps://eve:***@host/v" in stream.getvalue()
