"""Files of the store that are cut, gone or something else: the broker starts with what is intact and reports the rest,
or refuses in one line that names the file and says what to do. Never empty without a word, never a traceback.
"""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from tests.durability.campaign import Campaign, Run
from tests.durability.faults import damage
from tests.durability.faults.base import NO_SOCKET, Fault
from tests.durability.faults.pages import PAGE, Layout
from tests.durability.ledger import Ledger
from tests.server.serving import NotReady

REFUSED: Final = 1
END_TIMEOUT_S: Final = 20.0


def cut_at_a_page(file: Path, chance: Random) -> None:
    _cut(file, chance.randrange(file.stat().st_size // PAGE) * PAGE)


def cut_anywhere(file: Path, chance: Random) -> None:
    _cut(file, chance.randrange(file.stat().st_size))


def cut_a_little(file: Path, chance: Random) -> None:
    """As a disk that was full would."""
    size = file.stat().st_size
    _cut(file, max(0, size - chance.randint(1, 8 * PAGE)))


def cut_in_the_metas(file: Path, chance: Random) -> None:
    _cut(file, chance.randrange(1, 2 * PAGE))


def cut_to_nothing(file: Path, chance: Random) -> None:
    _cut(file, 0)


def remove(file: Path, chance: Random) -> None:
    file.unlink()


def remove_lock(file: Path, chance: Random) -> None:
    """Which holds nothing that lasts."""
    file.with_name("lock.mdb").unlink(missing_ok=True)


def spoil_lock(file: Path, chance: Random) -> None:
    file.with_name("lock.mdb").write_bytes(chance.randbytes(8192))


def replace_by_noise(file: Path, chance: Random) -> None:
    file.write_bytes(chance.randbytes(max(1, file.stat().st_size // chance.randint(1, 100))))


def replace_by_words(file: Path, chance: Random) -> None:
    file.write_text("this is a note that somebody left here\n" * chance.randint(1, 5000))


def zero_a_stretch(file: Path, chance: Random) -> None:
    """As file systems do with what was never written back."""
    pages = file.stat().st_size // PAGE
    first = chance.randrange(pages)
    with file.open("r+b") as opened:
        opened.seek(first * PAGE)
        opened.write(bytes(PAGE * min(pages - first, chance.randint(1, 16))))


HARMLESS: Final = (remove_lock, spoil_lock)
WAYS: Final[tuple[Callable[[Path, Random], None], ...]] = (
    cut_at_a_page,
    cut_anywhere,
    cut_a_little,
    cut_in_the_metas,
    cut_to_nothing,
    remove,
    replace_by_noise,
    replace_by_words,
    zero_a_stretch,
    *HARMLESS,
)


class Truncate(Fault):
    """See the module. A refusal is tried on a copy, and the file given back for the audit: all must be there."""

    name = "truncate"

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def cycle(self, campaign: Campaign) -> None:
        campaign.run(self.load)
        file = damage.data_file(campaign)
        layout = Layout(file.read_bytes())
        spare = campaign.directory / "spare"
        shutil.copytree(campaign.data, spare, ignore=NO_SOCKET)
        way = campaign.random.choice(WAYS)
        way(file, campaign.random)
        self.tried[way.__name__] += 1
        look = damage.Look(campaign, layout)
        is_refused = self.is_refused(campaign, way.__name__)
        if is_refused:
            self.refused[way.__name__] += 1
            shutil.rmtree(campaign.data)
            shutil.move(spare, campaign.data)
        else:
            shutil.rmtree(spare)
        look.audit()
        self.judge(campaign.ledger, look, way, is_refused=is_refused)

    def load(self, run: Run) -> None:
        run.load_for(run.campaign.random.uniform(0.1, 1.0) * run.campaign.load_s)
        run.kill()

    def is_refused(self, campaign: Campaign, way: str) -> bool:
        """Whether the broker refuses such a directory, and how it says so."""
        copy = campaign.directory / "copy"
        shutil.copytree(campaign.data, copy, ignore=NO_SOCKET)
        launch = campaign.launch()
        launch.options[launch.options.index(str(campaign.data))] = str(copy)
        try:
            with campaign.start(launch) as run:
                try:
                    run.wait_ready()
                except NotReady:
                    complaint = refusal_complaint(run.wait_exit(END_TIMEOUT_S), run.log())
                    if complaint:
                        campaign.ledger.violated("broker failed", f"{way}: {complaint}\n{run.log()[-2000:]}")
                    return True
                return False
        finally:
            shutil.rmtree(copy)

    def judge(
        self, ledger: Ledger, look: damage.Look, way: Callable[[Path, Random], None], *, is_refused: bool
    ) -> None:
        if way in HARMLESS and (is_refused or look.reports.lines):
            ledger.violated("broker failed", f"{way.__name__}: refused or reported: {look.reports.lines[:3]}")
        if look.reports.nameless:
            ledger.violated("broker failed", f"{way.__name__}: names nothing: {look.reports.nameless[:3]}")
        if sum(ledger.violations.values()) > look.broken_before:
            ledger.examples.append(f"... after {way.__name__}")

    def notes(self) -> list[str]:
        return [f"{way:<28}{count:>6} times, {self.refused[way]:>6} refused" for way, count in self.tried.items()]


def refusal_complaint(code: int, log: str, what: str = r"data\.mdb|/store\b") -> str:
    """What is wrong with how a broker refused to start; "" when it is one line that says ``what``."""
    if code != REFUSED:
        return f"exit code {code}"
    if "Traceback" in log:
        return "a traceback"
    lines = [line for line in log.splitlines() if line.startswith("amqpd: ")]
    if len(lines) != 1:
        return f"{len(lines)} lines for a person instead of one"
    return "" if re.search(what, lines[0]) else f"the line does not say {what}"


def _cut(file: Path, size: int) -> None:
    with file.open("r+b") as opened:
        opened.truncate(size)
