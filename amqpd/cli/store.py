"""``amqpd store``: look at, verify and compact the store of a broker that does not run.

Turns what ``amqpd.store`` finds into lines and exit codes. Results go to stdout; progress to stderr, and only where a
person sees it.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from amqpd.broker.records import SCHEMA_VERSION
from amqpd.cli.sizes import size
from amqpd.store import rebuild
from amqpd.store.inspection import Figures, QueueFigures, inspect
from amqpd.store.lmdb_store import DataDirectoryError
from amqpd.store.offline import hold
from amqpd.store.tables import NotAStore
from amqpd.store.verification import Problem, Verdict

EXIT_GOOD: Final = 0
EXIT_CANNOT: Final = 1  # or problems were found


def info(directory: Path, *, as_json: bool) -> int:
    """Print what a store holds; the process's exit code."""
    with _complaints(directory) as complaint, hold(directory) as data_file:
        figures = inspect(data_file)
        print(_json(directory, figures) if as_json else "\n".join(_info_lines(data_file, figures)))
        if figures.unreadable:
            parts = _count(len(figures.unreadable), "part")
            it = "it" if len(figures.unreadable) == 1 else "them"
            _say(f"{parts} of it cannot be read: amqpd store verify {directory} names {it}")
        elif not figures.is_known_schema:
            _say(f"{_schema_words(figures)}: its queues cannot be listed")
        else:
            complaint.code = EXIT_GOOD
    return complaint.code


def verify(directory: Path) -> int:
    """Verify all of a store and print its problems; the process's exit code."""
    from amqpd.store.verification import verify as verify_file  # with what knows queues and bindings

    with _complaints(directory) as complaint, hold(directory) as data_file:
        with _bar("verifying") as on_progress:
            verdict = verify_file(data_file, on_progress)
        print("\n".join(_verdict_lines(data_file, verdict)))
        complaint.code = EXIT_CANNOT if verdict.problems else EXIT_GOOD
    return complaint.code


def compact(directory: Path) -> int:
    """Rebuild a store without its free pages; the process's exit code."""
    with _complaints(directory) as complaint, hold(directory) as data_file:
        sizes = _compact(data_file)
        print(f"{data_file}: {size(sizes.before)} before, {size(sizes.after)} after")
        complaint.code = EXIT_GOOD
    return complaint.code


class _Complaint:
    code = EXIT_CANNOT


@contextlib.contextmanager
def _complaints(directory: Path) -> Iterator[_Complaint]:
    """What cannot be done is one line, and an exit code."""
    complaint = _Complaint()
    try:
        yield complaint
    except DataDirectoryError as error:
        _say(str(error))
    except NotAStore as error:
        _say(f"the store in {directory} cannot be read: {error}")
    except rebuild.NoRoom as error:
        _say(
            f"cannot compact: the copy needs {size(error.needed_bytes)} of free disk beside the old file, "
            f"there are {size(error.free_bytes)}; nothing was changed"
        )
    except rebuild.CannotCompact as error:
        _say(f"cannot compact the store in {directory}: {error}; nothing was changed")
    except OSError as error:
        _say(f"the store in {directory} cannot be used: {error.strerror or error}")


def _say(line: str) -> None:
    print(f"amqpd: {line}", file=sys.stderr)


@contextlib.contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function that shows how much is done of how much, on a terminal; and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    import typer

    with contextlib.ExitStack() as stack:
        bars: list[Callable[[int], None]] = []
        shown = 0

        def show(done: int, total: int) -> None:
            nonlocal shown
            if not bars:
                bars.append(
                    stack.enter_context(
                        typer.progressbar(length=max(total, 1), label=f"{label} {size(total)}", file=sys.stderr)
                    ).update
                )
            bars[0](done - shown)
            shown = done

        yield show


# -- compact --


def _compact(data_file: Path) -> rebuild.Sizes:
    total = rebuild.live_bytes(data_file)
    written = 0
    with _bar("copying") as show:

        def on_written(count: int) -> None:
            nonlocal written
            written += count
            show(written, total)

        sizes = rebuild.compact(data_file, on_written)
        show(total, total)
        return sizes


# -- info --


def _schema_words(figures: Figures) -> str:
    if figures.schema is None:
        return "the version of its schema cannot be read"
    return f"its schema is {figures.schema}, and this amqpd reads {SCHEMA_VERSION}"


def _info_lines(data_file: Path, figures: Figures) -> Iterator[str]:
    free = figures.free_pages * figures.page_bytes
    yield f"{data_file}: schema {'unknown' if figures.schema is None else figures.schema}"
    yield ""
    yield f"  {'file':8}{size(figures.file_bytes):>12}"
    yield f"  {'live':8}{size(figures.live_bytes):>12}  {_share(figures.live_bytes, figures.file_bytes)} of the file"
    yield f"  {'free':8}{size(free):>12}  {figures.free_pages:,} pages, used again before the file grows"
    yield ""
    yield f"  {'table':12}{'rows':>12}{'on disk':>14}"
    for table in figures.tables:
        yield f"  {table.name:12}{table.rows:>12,}{size(table.bytes):>14}"
    if figures.is_known_schema:
        yield ""
        yield from _queue_lines(figures.queues)


def _queue_lines(queues: list[QueueFigures]) -> Iterator[str]:
    if not queues:
        yield "  no durable queues"
        return
    yield f"  {'messages':>12}{'segments':>10}{'on disk':>12}{'holes':>10}{'quarantined':>13}  virtual host, queue"
    for queue in queues:
        figures = f"{queue.messages:>12,}{queue.segments:>10,}{size(queue.bytes):>12}{queue.settled:>10,}"
        yield f"  {figures}{queue.quarantined:>13,}  {_name(queue)}"


def _name(queue: QueueFigures) -> str:
    if queue.name is None:
        return f"queue number {queue.queue_id}, which is not declared"
    return f"{_printable(queue.vhost or '')} {_printable(queue.name)}"


def _printable(name: str) -> str:
    """As it is, where it cannot be mistaken."""
    return name if name and name.isprintable() and " " not in name else repr(name)


def _share(part: int, whole: int) -> str:
    return f"{part * 100 // max(whole, 1)} %"


def _json(directory: Path, figures: Figures) -> str:
    facts = dataclasses.asdict(figures)
    return json.dumps({"directory": str(directory), "live_bytes": figures.live_bytes, **facts}, indent=2)


# -- verify --


def _verdict_lines(data_file: Path, verdict: Verdict) -> Iterator[str]:
    for problem in verdict.problems:
        yield from _problem_lines(problem)
    yield (
        f"good: {_count(verdict.exchanges, 'exchange')}, {_count(verdict.queues, 'queue')}, "
        f"{_count(verdict.bindings, 'binding')}, {_count(verdict.messages, 'message')} in "
        f"{_count(verdict.segments, 'segment')}, {size(verdict.bytes)}"
    )
    if verdict.quarantined:
        yield f"in quarantine, found damaged earlier: {_count(verdict.quarantined, 'row')}"
    yield f"{data_file}: {_count(len(verdict.problems), 'problem') if verdict.problems else 'no problems'}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _problem_lines(problem: Problem) -> Iterator[str]:
    yield problem.where
    yield f"    {problem.what}"
    yield f"    {problem.consequence}"
