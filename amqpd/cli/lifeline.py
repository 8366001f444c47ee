"""Whether the process that started this one is still there: what a test has started must not outlive it, however the
test ends.

``kill -9`` runs no handler in who is killed, so it has to be noticed from here. The kernel's own signal for it
(PR_SET_PDEATHSIG) is bound to the *thread* that started us, and threads of a JVM or of Go come and go. So two things
are looked at, a few times a second: who our parent is, which changes when it ends, and whether anybody still holds the
other end of standard input, which tells of those behind a wrapper as well. Nothing is read: others may share it.
"""

import os
import select
from itertools import pairwise
from pathlib import Path
from typing import Final

import anyio

FLAG: Final = "--exit-with-parent"
LOOK_EVERY_S: Final = 0.2


class Lifeline:
    """The processes that have started this one, as they are when it is made; make it as early as can be."""

    def __init__(self, stdin: int = 0) -> None:
        self._parents = _find_parents()
        self._stdin = stdin
        self._counts_stdin = not _has_hung_up(stdin)  # what was closed before we came says nothing about anybody

    async def until_cut(self) -> None:
        """Return when it does not hold any more."""
        while self.holds():  # noqa: ASYNC110  no event tells of it
            await anyio.sleep(LOOK_EVERY_S)

    def holds(self) -> bool:
        """Whether all of them are there, and nobody has closed our standard input."""
        if self._counts_stdin and _has_hung_up(self._stdin):
            return False
        parents = self._parents
        return os.getppid() == parents[0] and all(_parent_of(child) == parent for child, parent in pairwise(parents))


def _find_parents() -> list[int]:
    """Our parent; and the parent of each that is there for nothing but to start us."""
    parents = [os.getppid()]
    while _is_wrapper(parents[-1]):
        parents.append(_parent_of(parents[-1]))
    return parents


def _is_wrapper(pid: int) -> bool:
    """Whether our own flag is among its words, as with ``sh -c "... amqpd testserver --exit-with-parent; ..."``."""
    try:
        return FLAG.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # gone, or of another container
        return False


def _parent_of(pid: int) -> int:
    """0 if there is no such process, or nobody knows."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])  # the name before it may hold spaces and brackets


def _has_hung_up(descriptor: int) -> bool:
    """Whether a pipe, a socket or a terminal has nobody on its other end. A file or /dev/null never has."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)  # for sockets, of which Node makes its pipes
    return bool(poll.poll(0))
