"""What a fault is, and how one is written.

A fault is a class with a name, in a module of its own beside this one, listed in ``faults/__init__.py``:

    class Kill(Fault):
        name = "kill"

        def cycle(self, campaign: Campaign) -> None:
            campaign.run(self.strike)                          # start, declare, load; then strike; then everything ends

        def strike(self, run: Run) -> None:                    # the load runs in threads meanwhile
            run.load_for(1.0)                                  # so long, or until the broker has ended by itself
            run.signal(signal.SIGKILL)

``cycle`` is one run of the broker on ``campaign.data`` with load and the fault, so that the next start finds the
result. The laboratory runs up to three cycles of one fault, then ``campaign.audit()``: a run without load in which
every queue is read and compared with the ledger. A fault may call ``campaign.audit()`` itself, when what it did must
be looked at before anything else happens. Behind a turn in which
damage was excused the next fault gets an empty data directory.

What a fault has:

* ``campaign.random``: the only source of chance, so that a seed repeats its choices.
* ``campaign.launch()``: how a run is started (``Launch``): change ``environ`` (LD_PRELOAD, AMQPD_...), ``options``,
  ``module`` (another main module than amqpd) or ``before_exec`` (limits), then ``campaign.run(..., launch=launch)``.
* ``campaign.run(act, launch=..., may_die=True, exit_codes=(0, -9))``: returns the exit code. ``may_die``: the broker
  may end at any moment from its first instruction on, ``act`` is not called then. Another exit code than these, or a
  traceback in the log, is a broken promise ("broker failed"). The broker has ended when it returns, whoever ended it:
  when ``act`` returns and the broker still runs, it waits ``END_TIMEOUT_S``.
* ``campaign.run(..., on_ready=look)``: called with the ``Run`` as soon as its ready line is there, before anything else
  is asked of it; also ``campaign.audit(on_ready=look)``. ``run.log()`` is what this run said, for reports of damage.
* ``campaign.data``: the data directory, to be changed while no broker runs (``campaign.data / "store" / "data.mdb"``).
* ``campaign.ledger.excuse(queue, missing=n, may_return=True)``: the broker has *reported* damage in this queue: until
  the next audit is over up to ``n`` messages of it may be missing (``math.inf``: any number), and, with ``may_return``,
  what was settled may come back. Never wrong content, never other queues. ``excuse_topology(name)`` is the same for
  an exchange, queue or binding that was reported.
* ``campaign.ledger.counts[...] += 1``: more rows for the final table; ``notes()`` for lines of the fault's own.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from tests.durability.campaign import Campaign


@dataclass(slots=True)
class Launch:
    """How one run of the broker is started: ``python -m MODULE serve OPTIONS``."""

    options: list[str]
    environ: dict[str, str]
    module: str = "amqpd"
    before_exec: Callable[[], None] | None = field(default=None)


NO_SOCKET: Final = shutil.ignore_patterns("*.sock")  # the control socket of a broker that was killed cannot be copied


class Fault(ABC):
    """See the module. One object a campaign; it may remember things from cycle to cycle."""

    name: ClassVar[str]
    weight: ClassVar[int] = 1  # its share of the cycles when all faults take turns

    def why_not(self) -> str:
        """Why it cannot be tried on this machine (no compiler, no right to mount), "" when it can."""
        return ""

    @abstractmethod
    def cycle(self, campaign: "Campaign") -> None:
        """One run of the broker, with load, and what happens to it or to its files."""

    def notes(self) -> list[str]:
        """Lines for the end of the report: what was hit how often."""
        return []

    def complaint(self, cycles: int) -> str:
        """What was wrong with the fault itself after so many cycles of it (a point that was never hit), else ""."""
        return ""
