"""Listings on the screen: a table for people, tabs for scripts as rabbitmqctl writes them, JSON, CSV."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final


def lines(form: str, columns: list[str], rows: Iterable[list[Any]], *, headers: bool, aligned: bool) -> Iterator[str]:
    """A listing in one of FORMATS. ``aligned``: for a person, who sees all of it at once."""
    if form == "table" and aligned:
        return _aligned(columns, rows, headers=headers)
    return FORMATS[form](columns, rows, headers)


def compact(value: Any) -> str:
    """JSON on one line."""
    return json.dumps(value, separators=(",", ":"))


def cell(value: Any) -> str:
    """A value in a table: texts as they are, but for characters that cannot be seen or would mean something."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return _visible(value)
        case list() if all(isinstance(item, str) for item in value):
            return f"[{', '.join(map(_visible, value))}]"
        case dict() | list():
            return _visible(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return str(value)


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _aligned(columns: list[str], rows: Iterable[list[Any]], *, headers: bool) -> Iterator[str]:
    table = [columns] if headers else []
    numbers = [True] * len(columns)
    for row in rows:
        table.append([cell(value) for value in row])
        numbers = [was and type(value) in (int, float) for was, value in zip(numbers, row, strict=True)]
    if not table:
        return
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    for line in table:
        parts = [
            text.rjust(width) if is_number else text.ljust(width)
            for text, width, is_number in zip(line, widths, numbers, strict=True)
        ]
        yield "  ".join(parts).rstrip()


def _tabs(columns: list[str], rows: Iterable[list[Any]], headers: bool) -> Iterator[str]:
    if headers:
        yield "\t".join(columns)
    for row in rows:
        yield "\t".join(map(cell, row))


def _csv(columns: list[str], rows: Iterable[list[Any]], headers: bool) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="")
    if headers:
        yield _csv_line(buffer, writer.writerow, columns)
    for row in rows:
        yield _csv_line(buffer, writer.writerow, [cell(value) for value in row])


def _csv_line(buffer: io.StringIO, write: Callable[[list[str]], Any], row: list[str]) -> str:
    buffer.seek(0)
    buffer.truncate()
    write(row)
    return buffer.getvalue()


def _json(columns: list[str], rows: Iterable[list[Any]], _: bool) -> Iterator[str]:
    """An array with an object a line, so that a long one can be read bit by bit."""
    yield "["
    comma = ""
    for row in rows:
        yield comma + compact(dict(zip(columns, row, strict=True)))
        comma = ","
    yield "]"


FORMATS: Final[Mapping[str, Callable[[list[str], Iterable[list[Any]], bool], Iterator[str]]]] = {
    "table": _tabs,
    "json": _json,
    "csv": _csv,
}
