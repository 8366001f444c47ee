"""A campaign: run after run of the broker on one data directory, under load, and one ledger for all of them.

Knows how a run goes and what is compared afterwards; what happens to the broker is a fault's business
(``faults/base.py``).
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.durability import workload
from tests.durability.faults.base import Launch
from tests.durability.ledger import Ledger
from tests.durability.peer import Gone
from tests.durability.roles import Role
from tests.server.serving import ROOT, NotReady, Served

UP_TIMEOUT_S: Final = 15.0
END_TIMEOUT_S: Final = 20.0
CRASH: Final = -signal.SIGKILL
PAGING_SHARE: Final = 0.35
PAGING_WINDOW_BYTES: Final = 65_536
EAGER_SHARE: Final = 0.25


class BrokerStuck(Exception):
    """The broker does not start, so nothing more can be tried; the ledger has it."""


class Run(Served):
    """One run of the broker; ``log`` is what this run said."""

    def __init__(self, campaign: "Campaign", launch: Launch) -> None:
        self.campaign = campaign
        campaign.directory.mkdir(parents=True, exist_ok=True)
        self.log_path = campaign.directory / "stderr.txt"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AMQPD_")}
        with self.log_path.open("ab") as stderr:
            self.log_start = stderr.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", launch.module, "serve", "--port", "0", *launch.options],
                cwd=ROOT,
                env={**inherited, "PYTHONUNBUFFERED": "1", **launch.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=launch.before_exec,
            )
        self.ready_line = ""
        self.addresses = []
        self.peers = []

    def log(self) -> str:
        with self.log_path.open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")

    def has_ended(self, within_s: float = 0.0) -> bool:
        """Whether the process is no more, waiting a while for it."""
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def load_for(self, seconds: float) -> bool:
        """Let the load run so long; True when the broker has ended by itself."""
        return self.has_ended(seconds)


class Campaign:
    """See the module. ``load_s``: how long load lasts at most, for faults that choose their moment."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        *options: str,
        environ: dict[str, str] | None = None,
        load_s: float = 0.8,
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.seed = seed
        self.random = random.Random(seed)
        self.options = options
        self.environ = environ or {}
        self.load_s = load_s
        self.workload = workload.Workload()
        self.ledger: Ledger = self.workload.ledger
        self.runs = 0
        self.clean_stops = 0
        self.last_log = ""  # of the run that ended last

    def renew(self) -> None:
        """Begin again with an empty data directory."""
        shutil.rmtree(self.data)
        self.workload.forget()

    # -- runs --

    def launch(self) -> Launch:
        """How the next run is started; a share of them with so small a window that queues page, a share of them so
        that segments are joined and the file made smaller all the time."""
        environ = dict(self.environ)
        launch = Launch(["--data-dir", str(self.data), *self.options], environ)
        if self.random.random() < PAGING_SHARE:
            environ.setdefault("AMQPD_QUEUE_WINDOW_BYTES", str(PAGING_WINDOW_BYTES))
        if self.random.random() < EAGER_SHARE:
            environ["LAB_EAGER"] = "1"
            launch.module = "tests.durability.lab_broker"
        return launch

    def start(self, launch: Launch | None = None) -> Run:
        """A process, not ready yet; used as a context it is gone at the end."""
        self.runs += 1
        return Run(self, launch or self.launch())

    def run(
        self,
        act: Callable[[Run], None],
        *,
        launch: Launch | None = None,
        on_ready: Callable[[Run], None] | None = None,
        may_die: bool = False,
        exit_codes: tuple[int, ...] = (0, CRASH),
    ) -> int:
        """One run with load, then ``act``; the exit code once the broker and the load have ended."""

        def load(run: Run) -> None:
            self._load(run, act)

        return self._run(load, launch, on_ready, may_die=may_die, exit_codes=exit_codes)

    def audit(
        self,
        *,
        launch: Launch | None = None,
        on_ready: Callable[[Run], None] | None = None,
        may_die: bool = False,
        is_final: bool = False,
    ) -> int:
        """One run without load: everything that is there is read, and nothing may be missing or too much."""

        def look(run: Run) -> None:
            self.workload.drain(run.addresses[0], is_final=is_final)
            if self.random.random() < 0.5 or is_final:
                run.signal(signal.SIGTERM)
            else:
                run.kill()

        return self._run(look, launch, on_ready, may_die=may_die, exit_codes=(0, CRASH))

    def _run(
        self,
        work: Callable[[Run], None],
        launch: Launch | None,
        on_ready: Callable[[Run], None] | None,
        *,
        may_die: bool,
        exit_codes: tuple[int, ...],
    ) -> int:
        with self.start(launch) as run:
            try:
                run.wait_ready()
                if on_ready is not None:
                    on_ready(run)
                self.workload.declare(run.addresses[0])
                work(run)
            except (Gone, NotReady) as error:
                if not (may_die and run.has_ended(END_TIMEOUT_S)):
                    run.kill()
                    self.ledger.violated("broker failed", f"{error!r}\n{run.log()[-2000:]}")
                    if isinstance(error, NotReady):
                        raise BrokerStuck(str(error)) from error
            code = run.wait_exit(END_TIMEOUT_S)
            self._note_end(run, code, exit_codes)
            return code

    def _load(self, run: Run, act: Callable[[Run], None]) -> None:
        roles = self.workload.roles(run.addresses[0], self.random.randrange(1 << 30))
        with _Load(run, roles):
            for role in roles:
                if not role.up.wait(UP_TIMEOUT_S):
                    raise AssertionError(f"{role.name} does not get going (seed {self.seed})")
            act(run)

    def _note_end(self, run: Run, code: int, exit_codes: tuple[int, ...]) -> None:
        self.last_log = log = run.log()
        if "Traceback" in log:
            self.ledger.violated("broker failed", f"a traceback in {run.log_path}\n{log[-2000:]}")
        elif code not in exit_codes:
            self.ledger.violated("broker failed", f"exit code {code}\n{log[-2000:]}")
        if code == 0:
            self.clean_stops += 1
            self.ledger.on_clean_restart()
        else:
            self.ledger.on_restart()


class _Load:
    """The roles at work; at the end the broker has ended, and so have they, each with its last words heard."""

    def __init__(self, run: Run, roles: list[Role]) -> None:
        self.run = run
        self.roles = roles

    def __enter__(self) -> None:
        for role in self.roles:
            role.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or not self.run.has_ended(END_TIMEOUT_S):
            self.run.kill()
        until = time.monotonic() + END_TIMEOUT_S
        for role in self.roles:
            role.join(max(0.0, until - time.monotonic()))
            assert not role.is_alive(), f"{role.name} does not end"
        if kind is None:
            for role in self.roles:
                if role.fault is not None:
                    raise AssertionError(f"{role.name} failed (seed {self.run.campaign.seed})") from role.fault
