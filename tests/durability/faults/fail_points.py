"""The broker kills itself at a named point of commit, recovery, compaction, read or stop (``lab_broker.py``)."""

import math
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.durability.campaign import Campaign, Run
from tests.durability.faults import damage
from tests.durability.faults.base import Fault
from tests.durability.faults.flip import flip_bits
from tests.durability.faults.pages import SEGMENT_VALUES, TABLES, Layout
from tests.durability.lab_broker import DIED, POINTS

CYCLES_ENOUGH: Final = 200  # a point that was never hit in so many cycles is no point
FLIPS: Final = {SEGMENT_VALUES: 5, TABLES: 1}
SMALL_MAP_BYTES: Final = 1 << 20
SMALL_WINDOW_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to die, and the setting in which it comes so far. ``times_max``: how often it may pass before."""

    point: str
    times_max: int
    weight: int = 1
    is_stop: bool = False
    has_small_map: bool = False
    has_small_window: bool = False
    is_eager: bool = False
    damaged: str = ""  # where bits are flipped before (``pages.py``)


PLANS: Final = (
    Plan("opening", 2),
    Plan("opened", 2),
    Plan("scanning", 60),
    Plan("before-begin", 100, weight=3),
    Plan("in-transaction", 600, weight=3),
    Plan("before-commit", 100, weight=3),
    Plan("after-commit", 100, weight=3),
    Plan("growing", 4, has_small_map=True),
    Plan("grown", 4, has_small_map=True),
    Plan("compacting", 4, is_eager=True),
    Plan("compacted", 4, is_eager=True),
    Plan("renaming", 3, is_eager=True),
    Plan("renamed", 3, is_eager=True),
    Plan("quarantining", 1, damaged=SEGMENT_VALUES),
    Plan("quarantined", 1, damaged=SEGMENT_VALUES),
    Plan("salvaging", 60, damaged=TABLES),
    Plan("swapping", 1, damaged=TABLES),
    Plan("swapped", 1, damaged=TABLES),
    Plan("reading-back", 40, has_small_window=True),
    Plan("last-batch", 2, is_stop=True),
    Plan("last-committed", 2, is_stop=True),
    Plan("closing", 2, is_stop=True),
)


class FailPoints(Fault):
    """See the module."""

    name = "fail-point"
    weight = 3

    def __init__(self, plans: tuple[Plan, ...] = PLANS) -> None:
        self.plans = plans
        self.tried: Counter[str] = Counter()
        self.hit: Counter[str] = Counter()

    def cycle(self, campaign: Campaign) -> None:
        fewest = min(self.share(plan) for plan in self.plans)
        plan = campaign.random.choice([plan for plan in self.plans if self.share(plan) == fewest])
        times = choose_times(campaign.random, plan.times_max)
        if plan.damaged:
            self.run_damaged(campaign, plan, times)
        else:
            self.run(campaign, plan, times)

    def share(self, plan: Plan) -> int:
        return self.tried[plan.point] // plan.weight

    def run_damaged(self, campaign: Campaign, plan: Plan, times: int) -> None:
        """The same on a file with flipped bits; what is reported is excused, whoever reported it."""
        campaign.run(wait)
        layout = Layout(damage.data_file(campaign).read_bytes())
        spans = layout.spans[plan.damaged]
        places = campaign.random.sample(spans, min(FLIPS[plan.damaged], len(spans)))
        bits = {(span.start + campaign.random.randrange(span.length), 0) for span in places}
        flip_bits(damage.data_file(campaign), bits)
        look = damage.Look(campaign, layout)
        self.run(campaign, plan, times, look.keep)
        look.audit()

    def run(self, campaign: Campaign, plan: Plan, times: int, on_ready: Callable[[Run], None] | None = None) -> None:
        """Die at the ``times``-th time, or be killed after a while."""
        launch = campaign.launch()
        launch.module = "tests.durability.lab_broker"
        launch.environ["LAB_POINT"] = f"{plan.point}:{times}"
        if plan.has_small_map:
            launch.environ["LAB_MAP_BYTES"] = str(SMALL_MAP_BYTES)
        if plan.has_small_window:
            launch.environ["AMQPD_QUEUE_WINDOW_BYTES"] = str(SMALL_WINDOW_BYTES)
        if plan.is_eager:
            launch.environ["LAB_EAGER"] = "1"
        self.tried[plan.point] += 1
        campaign.run(stop if plan.is_stop else wait, launch=launch, on_ready=on_ready, may_die=True)
        self.hit[plan.point] += f"{DIED}{plan.point}" in campaign.last_log

    def notes(self) -> list[str]:
        return [f"{point:<16}{count:>6} times, {self.hit[point]:>6} hit" for point, count in self.tried.items()]

    def complaint(self, cycles: int) -> str:
        never = [plan.point for plan in self.plans if not self.hit[plan.point]]
        return f"never hit: {', '.join(never)}" if never and cycles >= CYCLES_ENOUGH else ""


def choose_times(chance: random.Random, most: int) -> int:
    """Mostly any, else a small number as likely as a large one: much happens at the start."""
    if chance.random() < 0.7:
        return chance.randint(1, most)
    return int(math.exp(chance.uniform(0.0, math.log(most + 1))))


def wait(run: Run) -> None:
    if not run.load_for(run.campaign.load_s):
        run.kill()


def stop(run: Run) -> None:
    if not run.load_for(run.campaign.random.uniform(0.1, 1.0) * run.campaign.load_s):
        run.signal(signal.SIGTERM)


assert {plan.point for plan in PLANS} <= set(POINTS)
