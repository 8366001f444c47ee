"""The laboratory: its frame, its report, the points at which a broker dies, and a few cycles of it."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.durability import lab
from tests.durability.campaign import CRASH, BrokerStuck, Campaign, Run
from tests.durability.faults import PLACES, make_fault
from tests.durability.faults.base import Fault
from tests.durability.faults.fail_points import CYCLES_ENOUGH, PLANS, FailPoints, choose_times
from tests.durability.faults.kill import Kill
from tests.durability.lab import Laboratory, Progress
from tests.durability.lab_broker import DIED, POINTS
from tests.durability.ledger import CONFIRMED, KINDS, SEEN, Ledger, Producer, Reader
from tests.durability.peer import Delivery
from tests.durability.workload import QUEUES, VOLATILE, make_producers
from tests.server.serving import ROOT


class Stand(Fault):
    """A fault that runs no broker, and does as it is told."""

    name = "stand-in"
    weight = 1

    def __init__(
        self, act: Callable[[Campaign], None] = lambda _: None, name: str = "stand-in", weight: int = 1
    ) -> None:
        self.act = act
        self.name = name  # type: ignore[misc] # others have one a class
        self.weight = weight  # type: ignore[misc]

    def cycle(self, campaign: Campaign) -> None:
        self.act(campaign)


class QuietCampaign(Campaign):
    """Its audits find nothing, at once."""

    def audit(self, **_: object) -> int:
        return 0


def make_laboratory(directory: Path, *faults: Fault) -> Laboratory:
    return Laboratory(QuietCampaign(directory, 1), faults)


# -- turns and the table --


def test_faults_take_turns_by_weight(tmp_path: Path) -> None:
    laboratory = make_laboratory(tmp_path, Stand(name="rare"), Stand(name="often", weight=3))
    laboratory.run(40)
    cycles = {name: tally.cycles for name, tally in laboratory.tallies.items()}
    assert sum(cycles.values()) == 40
    assert 7 <= cycles["rare"] <= 13


def test_what_a_turn_breaks_is_its_faults(tmp_path: Path) -> None:
    def break_one(campaign: Campaign) -> None:
        campaign.ledger.counts["confirmed"] += 10
        campaign.ledger.violated("phantom", "an example")

    laboratory = make_laboratory(tmp_path, Stand(name="good"), Stand(break_one, name="bad"))
    laboratory.run(10)
    bad, good = laboratory.tallies["bad"], laboratory.tallies["good"]
    assert bad.violations["phantom"] == bad.cycles > 0
    assert (good.violations["phantom"], good.counts["confirmed"]) == (0, 0)
    assert laboratory.first_broken == 1
    assert laboratory.first_kinds == "phantom"
    table = laboratory.table()
    assert f"{'phantom':<32}{0:>13}{bad.cycles:>13}{bad.cycles:>13}" in table.splitlines()
    assert "phantom: an example" in table
    assert all(kind in table for kind in KINDS)


def test_an_impatient_laboratory_ends_at_once(tmp_path: Path) -> None:
    laboratory = make_laboratory(tmp_path, Stand(lambda campaign: campaign.ledger.violated("topology", "")))
    laboratory.run(1000, is_impatient=True)
    assert laboratory.cycles <= lab.CYCLES_A_TURN


def test_a_broker_that_does_not_start_ends_it(tmp_path: Path) -> None:
    def give_up(campaign: Campaign) -> None:
        campaign.ledger.violated("broker failed", "it does not start")
        raise BrokerStuck

    laboratory = make_laboratory(tmp_path, Stand(give_up))
    laboratory.run(1000)
    assert (laboratory.cycles, laboratory.broken) == (1, 1)


def test_reported_damage_is_not_handed_on(tmp_path: Path) -> None:
    def damage(campaign: Campaign) -> None:
        campaign.data.mkdir(exist_ok=True)
        campaign.ledger.excuse("q0")

    def look(campaign: Campaign) -> None:
        assert not campaign.data.exists()
        assert not campaign.ledger.was_excused

    make_laboratory(tmp_path, Stand(damage, name="a", weight=2), Stand(look, name="b")).run(2 + lab.CYCLES_A_TURN)


def test_progress_is_one_line_on_a_terminal(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    laboratory = make_laboratory(tmp_path, Stand())
    progress = Progress(laboratory, 4, out)
    laboratory.run(4, progress.after)
    progress.end()
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().count("\r\x1b[K") == 4
    assert "4/4 cycles" in out.getvalue()
    assert "0 broken promises, stand-in" in out.getvalue()


def test_progress_is_a_line_now_and_then_elsewhere(tmp_path: Path) -> None:
    out = io.StringIO()
    laboratory = make_laboratory(tmp_path, Stand())
    progress = Progress(laboratory, 400, out)
    laboratory.run(400, progress.after)
    assert out.getvalue() == ""
    progress.said_at -= lab.PLAIN_EVERY_S
    progress.after("stand-in")
    assert out.getvalue().count("\n") == 1


def test_every_fault_has_its_name() -> None:
    assert [make_fault(name).name for name in PLACES] == [*PLACES]


# -- the ledger, where it excuses and where it does not --


def make_ledger(*queues: str) -> tuple[Ledger, Producer]:
    producer = Producer(1, "", "", queues)
    for _ in range(4):
        producer.next_message()
    producer.confirm(1, 4)
    return Ledger([producer], queues), producer


def deliver(ledger: Ledger, queue: str, number: int, *, redelivered: bool = False) -> None:
    delivery = Delivery(number, redelivered, *ledger.producers[1].content(number))
    ledger.deliver(Reader(queue), delivery)
    ledger.mark(queue, 1, number, SEEN)


def test_reported_messages_may_be_missing_but_no_others() -> None:
    ledger, _ = make_ledger("q", "r")
    ledger.excuse("q", 1)
    for queue, number in (("q", 1), ("q", 2), ("r", 1), ("r", 2), ("r", 3)):
        deliver(ledger, queue, number)
    ledger.audit(("q", "r"))
    assert ledger.violations["confirmed and lost"] == 2
    assert ledger.counts["missing, but reported"] == 1
    ledger.on_restart()
    deliver(ledger, "q", 4)
    assert ledger.violations["acked and redelivered"] == 1, "no excuse outlives its audit"


def test_a_queue_that_was_looked_at_still_owes_everything() -> None:
    ledger, producer = make_ledger("q")
    producer.sent[3] = 1  # sent, not confirmed
    for number in (1, 2, 3):
        deliver(ledger, "q", number)
    ledger.mark("q", 1, 4, 2)
    ledger.audit((), ("q",))
    assert ledger.is_clean
    assert producer.sent[3] == CONFIRMED, "it was there"
    ledger.begin_audit()
    deliver(ledger, "q", 1, redelivered=True)
    deliver(ledger, "q", 2, redelivered=True)
    deliver(ledger, "q", 4, redelivered=True)
    ledger.audit(("q",))
    assert (ledger.violations["confirmed and lost"], ledger.violations["acked and redelivered"]) == (1, 1)


@pytest.mark.parametrize(("in_source", "in_target", "is_broken"), [(1, 0, 0), (0, 1, 0), (1, 1, 1), (0, 0, 1)])
def test_a_moved_message_is_in_one_place(in_source: int, in_target: int, is_broken: int) -> None:
    source, target = Producer(1, "", "", ("source",)), Producer(2, "", "", ("target",))
    source.next_message()
    source.confirm(1, 1)
    target.next_message()
    ledger = Ledger([source, target], ("source", "target"))
    ledger.moves["source", 1, 1] = [(target, 1)]
    ledger.mark("source", 1, 1, 2 | SEEN * in_source)
    ledger.mark("target", 2, 1, SEEN * in_target)
    ledger.audit(("source", "target"))
    assert ledger.violations["half a transaction"] == is_broken


def test_topology_is_excused_by_name() -> None:
    ledger, _ = make_ledger("q")
    ledger.excuse_topology("a")
    for name in ("a", "b"):
        ledger.topology_differs(name, f"{name} is gone")
    assert ledger.violations["topology"] == 1


def test_nothing_comes_back_from_an_emptied_directory() -> None:
    ledger, _ = make_ledger("q")
    deliver(ledger, "q", 1)
    ledger.forget()
    ledger.audit(("q",))
    assert ledger.is_clean
    deliver(ledger, "q", 2, redelivered=True)
    assert ledger.violations["acked and redelivered"] == 1


def test_volatile_queues_start_empty() -> None:
    producer = Producer(1, "", "", ("v",))
    producer.next_message()
    ledger = Ledger([producer], (), ("v",))
    ledger.on_clean_restart()
    ledger.deliver(Reader("v"), Delivery(1, False, *producer.content(1)))
    assert ledger.violations["transient came back"] == 1


def test_sizes_go_from_nothing_to_a_mebibyte() -> None:
    producer = Producer(1, "", "", ())
    sizes = [len(producer.content(number)[1]) for number in range(20_000)]
    assert (min(sizes), max(sizes)) == (0, 1 << 20)
    assert sum(sizes) / len(sizes) < 1500, "mostly small, so that cycles stay short"


def test_everybody_publishes_to_queues_that_there_are() -> None:
    for producer in make_producers().values():
        assert set(producer.queues) <= {*QUEUES, *VOLATILE}


# -- points --


def start_broker(directory: Path, point: str, *options: str) -> subprocess.CompletedProcess[str]:
    """One that ends by itself, at the point or because of the options."""
    return subprocess.run(
        [sys.executable, "-m", "tests.durability.lab_broker", "serve", "--port", "0", *options],
        cwd=ROOT,
        env={"LAB_POINT": point, "AMQPD_DATA_DIR": str(directory / "data")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("point", ["opening:1", "opened:2"])
def test_a_broker_dies_where_it_is_told(tmp_path: Path, point: str) -> None:
    ended = start_broker(tmp_path, point)
    assert ended.returncode == CRASH
    assert f"{DIED}{point[:-2]}" in ended.stderr
    assert "ready" not in ended.stdout


def test_a_point_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    ended = start_broker(tmp_path, "nowhere:1")
    assert (ended.returncode, ended.stderr) == (1, "no such point: nowhere\n")


def test_every_point_has_its_plan() -> None:
    assert sorted(plan.point for plan in PLANS) == sorted(POINTS)


def test_a_point_that_is_never_hit_is_a_complaint() -> None:
    fault = FailPoints(PLANS[:2])
    fault.hit[PLANS[0].point] = 1
    assert fault.complaint(CYCLES_ENOUGH - 1) == ""
    assert fault.complaint(CYCLES_ENOUGH) == f"never hit: {PLANS[1].point}"


def test_times_are_within_bounds(tmp_path: Path) -> None:
    chance = Campaign(tmp_path, 1).random
    times = [choose_times(chance, 7) for _ in range(1000)]
    assert set(times) == set(range(1, 8))


# -- a few cycles --


@pytest.mark.slow
def test_points_break_no_promise(tmp_path: Path) -> None:
    """A round of those that most brokers pass, in a run each."""
    points = ("before-commit", "after-commit", "compacting", "renamed", "reading-back", "last-committed")
    fault = FailPoints(tuple(plan for plan in PLANS if plan.point in points))
    laboratory = Laboratory(Campaign(tmp_path, 3, load_s=0.6), [fault])
    laboratory.run(len(points))
    assert not laboratory.broken, laboratory.table()
    assert sum(fault.hit.values()) > 1, laboratory.table()
    assert laboratory.tallies["fail-point"].counts["confirmed"] > 500


@pytest.mark.slow
def test_a_broker_that_fails_is_told(tmp_path: Path) -> None:
    """Between "it was killed" and "it died" there is a difference."""

    def die(run: Run) -> None:
        subprocess.run(["kill", "-ABRT", str(run.pid)], check=True)

    campaign = Campaign(tmp_path, 1)
    campaign.run(die)
    assert campaign.ledger.violations["broker failed"] == 1
    (campaign.data / "store" / "data.mdb").write_bytes(b"x" * 8192)
    with pytest.raises(BrokerStuck):
        campaign.audit()
    assert campaign.ledger.violations["broker failed"] == 2


@pytest.mark.slow
def test_the_program_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "lab"
    assert lab.main(["--fault", Kill.name, "--cycles", "1", "--seed", "5", "--directory", str(where)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"seed 5, 1 cycles, {where}\n")
    assert "seed 5" in said.splitlines()[-1]
    assert "0 broken promises" in said.splitlines()[-1]
    assert not where.exists()
