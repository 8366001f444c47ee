"""How the events of the ``amqpd`` loggers are written to stderr: a line of text or a JSON object each.

Owns the two layouts and what must never be in a log. Knows nothing of who logs. Peers choose names that end up in
messages, so control characters are escaped: no peer can forge a line. Rules for callers: names and counts, never
bodies or secrets; the mask here is a second fence, not a licence.
"""

import importlib
import logging
import re
import sys
import time
from typing import Any, Final, TextIO

# The second word of a URI's `user:password@`, which is how secrets usually get into messages.
_URI_PASSWORD: Final = re.compile(r"(://[^\s/@:]*:)[^\s/@]*@")
_SECRET_WORDS: Final = ("password", "passwd", "secret", "token", "credential")
_MASK: Final = "***"
_UNPRINTABLE: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Write the events of ``amqpd`` and its children from ``level`` up; a second call replaces the first."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logger = logging.getLogger("amqpd")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())


class TextLines(logging.Formatter):
    """``2025-01-31T12:00:00.000Z info amqpd.server: message key=value``; a traceback follows on its own lines."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {key}={value}" for key, value in _extras(record).items())
        words = _printable(_masked(record.getMessage()) + pairs)
        line = f"{_timestamp(record)} {record.levelname.lower()} {record.name}: {words}"
        traceback = _traceback(self, record)
        return f"{line}\n{traceback}" if traceback else line


class JsonLines(logging.Formatter):
    """One object a line: ts, level, logger, message, then the event's ``extra`` fields and its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._dumps: Any = importlib.import_module("json").dumps  # 1.2 ms that only this layout pays

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _masked(record.getMessage()),
        }
        traceback = _traceback(self, record)
        if traceback:
            event["traceback"] = traceback
        for key, value in _extras(record).items():
            event[f"{key}_" if key in event else key] = value
        return str(self._dumps(event, default=str))


def _timestamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _masked(text: str) -> str:
    return _URI_PASSWORD.sub(rf"\1{_MASK}@", text)


def _printable(text: str) -> str:
    return text.translate(_UNPRINTABLE)


def _extras(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, value in vars(record).items():
        if key not in _STANDARD_ATTRIBUTES:
            is_secret = any(word in key.lower() for word in _SECRET_WORDS)
            fields[key] = _MASK if is_secret else _masked(value) if isinstance(value, str) else value
    return fields


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return _masked("\n".join(parts))
