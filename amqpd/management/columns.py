"""Columns of listings: by name, how each is had from a thing; and the rows of those that were asked for."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from amqpd.management.requests import Listing, Misused, Request

_Thing = TypeVar("_Thing")
Columns: TypeAlias = Mapping[str, Callable[[_Thing], Any]]


def listing(request: Request, columns: Columns[_Thing], usual: list[str], things: Iterable[_Thing]) -> Listing:
    """The columns that the request names, or the ``usual`` ones, of all ``things``. Raises Misused.

    ``things`` is read as rows are sent, over several turns: a copy of what may change meanwhile.
    """
    names = request.texts("columns") or usual
    for name in names:
        if name not in columns:
            raise Misused(f"there is no column {name}; {_advice(name, columns)}")
    wanted = [columns[name] for name in names]
    return Listing(names, ([column(thing) for column in wanted] for thing in things))


def _advice(name: str, columns: Iterable[str]) -> str:
    difflib = importlib.import_module("difflib")  # 1.5 ms that only a mistake pays
    known = sorted(columns)
    near: list[str] = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
