"""Depth, restart and holes: the arithmetic and the layout of the reports, and one small run of each for real."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from amqpd.broker import journal
from tests.bench import depth, depth_report, holes, loadgen, machine, pinger, programs, restart, vitals
from tests.bench.broker import clean_environment
from tests.bench.buckets import Bucket, Sample, by_depth, deep_share, rate_at
from tests.bench.depth_report import DRAIN, PUBLISH, Load, Phase, Run, Space
from tests.bench.peers import Amqpd
from tests.bench.pinger import Ping, Stalls
from tests.bench.programs import Facts, Workshop

SECOND_NS = 1_000_000_000
# They start the source as it lies here.
needs_source = pytest.mark.skipif(not str(journal.__file__).endswith(".py"), reason="no source here")
LOAD = Load("persistent", 1000, 100, persistent=True)
FACTS = Facts({"date": "2026-01-31"}, "python -m tests.bench.depth")


def sample(second: int, count: int, cpu_s: float = 0.0) -> Sample:
    return Sample(second * SECOND_NS, count, cpu_s, 20.0, 5.0, 2.0, 1.5)


def bucket(middle: int, rate: float) -> Bucket:
    return Bucket(middle, rate, 1.0, 20.0, 5.0, 2.0, 1.5, 0.0)


def phase(name: str, buckets: list[Bucket], stall_ms: float = 1.0, peak_mb: float = 100.0) -> Phase:
    stalls = Stalls(500, 0.1, 0.5, 2.0, 0.4, stall_ms, 0, 0.3)
    return Phase(name, 1234.0, peak_mb, 30.0, 70.0, stalls, buckets)


def deep_run(stall_ms: float = 1.0, peak_mb: float = 100.0) -> Run:
    falling = [bucket(250, 1000.0), bucket(750, 700.0)]
    level = [bucket(750, 900.0), bucket(250, 1000.0)]
    phases = [phase(PUBLISH, falling), phase(DRAIN, level, stall_ms, peak_mb)]
    return Run("amqpd", LOAD, phases, [Space("full", 1000, 0.2, 0.15), Space("empty", 0, 0.2, 0.01)], "")


def test_bucket_is_what_happened_between_two_samples() -> None:
    pings = [Ping(SECOND_NS + 5, 9.0, 8.0, 1.5), Ping(3 * SECOND_NS, 99.0, 99.0, 0.0)]
    (first, second) = by_depth([sample(1, 0), sample(2, 100, 0.001), sample(4, 300, 0.002)], pings)
    assert (first.depth, first.rate, round(first.cpu_us, 6), first.stall_ms) == (50, 100.0, 10.0, 6.5)
    assert (second.depth, second.rate, round(second.cpu_us, 6), second.stall_ms) == (200, 100.0, 5.0, 99.0)


def test_draining_counts_depth_from_the_other_end() -> None:
    assert [each.depth for each in by_depth([sample(1, 0), sample(2, 100), sample(3, 300)], [], 300)] == [250, 100]


def test_samples_without_progress_make_no_bucket() -> None:
    assert by_depth([sample(1, 0), sample(2, 0), sample(2, 10)], []) == []


def test_rate_at_an_end_is_messages_by_time() -> None:
    buckets = [bucket(depth, 100.0) for depth in range(18)] + [bucket(18, 50.0), bucket(19, 200.0)]
    assert rate_at(buckets, deep=False) == 100.0
    assert rate_at(buckets, deep=True) == 80.0  # two equal counts at 50 and at 200 a second
    assert deep_share(buckets) == 0.8
    assert rate_at([], deep=True) is None


def test_pings_are_read_up_to_the_last_whole_line() -> None:
    (ping,) = pinger.parse("1000 300.0 250.0 50.0\n2000 30")
    assert ping == Ping(1000, 0.3, 0.25, 0.05)
    assert ping.stall_ms == pytest.approx(0.2)


def test_waiting_for_a_processor_is_no_stall() -> None:
    assert Ping(0, 9.0, 8.0, 8.5).stall_ms == 0.0


def test_stalls_are_those_of_the_span() -> None:
    pings = [Ping(at, float(at) + 1, float(at), 0.0) for at in range(1, 101)]
    stalls = pinger.summarise(pings, 1, 101)
    assert (stalls.ping_count, stalls.answered_p50_ms, stalls.answered_p99_ms, stalls.answered_max_ms) == (
        100,
        50.5,
        99.0,
        100.0,
    )
    assert (stalls.long_count, stalls.noise_max_ms) == (95, 1.0)
    assert pinger.summarise(pings, 10, 20).answered_max_ms == 19.0
    assert pinger.summarise(pings, 200, 300) == Stalls()


def test_status_is_read_in_megabytes() -> None:
    text = "Name:\tbeam.smp\nVmHWM:\t   250000 kB\nRssAnon:\t    1000 kB\nThreads:\t3\n"
    assert vitals.parse_status(text) == {"VmHWM": 256.0, "RssAnon": 1.024}


def test_vitals_are_of_the_process_and_its_files(tmp_path: Path) -> None:
    watch = vitals.Watch(os.getpid(), tmp_path)
    before = watch.read()
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    os.sync()  # blocks are counted once they are allocated
    kept = bytearray(os.urandom(40 << 20))
    after = watch.read()
    assert (before.disk_mb, round(after.disk_mb, 1)) == (0.0, 1.0)
    assert after.anon_mb - before.anon_mb > len(kept) / 1e6 / 2
    assert after.cpu_s > before.cpu_s > 0
    assert after.in_use_mb is None


def test_goals_of_depth_are_judged() -> None:
    text = depth_report.render(FACTS, [deep_run()], "plot.png")
    assert text.startswith("![Rate and memory against the depth of the queue](plot.png)\n")
    assert "| publishing: rate at full depth, of that at depth 0 | >= 80% | 70% | **not reached** |" in text
    assert "| draining: rate at full depth, of that at depth 0 | >= 80% | 90% | reached |" in text
    assert "| resident memory, the whole way | < 250 MB | 100 | reached |" in text
    assert "| longest stall while draining | <= 5 ms | 1.00 | reached |" in text
    worse = depth_report.render(FACTS, [deep_run(stall_ms=5.5, peak_mb=251.0)], "")
    assert "| resident memory, the whole way | < 250 MB | 251 | **not reached** |" in worse
    assert "| longest stall while draining | <= 5 ms | 5.50 | **not reached** |" in worse


def test_goal_is_not_reached_by_a_run_that_failed() -> None:
    failed = Run("amqpd", LOAD, [phase(PUBLISH, [])], [], "publishing: connection lost")
    text = depth_report.render(FACTS, [failed], "")
    assert "| reached |" not in text
    assert "* amqpd, 1,000 persistent, 100 bytes: publishing: connection lost" in text


def test_disk_is_compared_with_what_waits() -> None:
    text = depth_report.render(FACTS, [deep_run()], "")
    assert "| full | 1,000 | 0.10 | 0.15 | 0.20 | 2.00 x | 200 |" in text
    assert "| empty | 0 | 0.00 | 0.01 | 0.20 |  |  |" in text


def test_depth_survives_json() -> None:
    measured = deep_run()
    assert depth.load_run(json.loads(json.dumps(asdict(measured)))) == measured


def test_plot_is_a_small_picture(tmp_path: Path) -> None:
    plots = pytest.importorskip("tests.bench.plots")
    picture = tmp_path / "plot.png"
    plots.draw([deep_run(), replace(deep_run(), peer="rabbitmq"), Run("amqpd", LOAD, [], [], "failed")], picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 100_000


def restarted(counted_ms: float, **changed: Any) -> restart.Run:
    return replace(
        restart.Run("amqpd", 1000, "stopped", "cold", "", 0.1, 0, 90.0, counted_ms, 1000, 20.0, 10.0, 0.0), **changed
    )


def test_restarts_show_median_and_slowest() -> None:
    text = restart.render(FACTS, [restarted(100.0), restarted(300.0), restarted(200.0)], Namespace())
    row = "| amqpd | 1,000 | stopped | cold | 0.10 (at most 0.10) | 0.09 (at most 0.09) | 0.20 (at most 0.30) | 1 |"
    assert f"{row} reached | 20.0 | 10.0 | 0% |" in text


@pytest.mark.parametrize("run", [restarted(1100.0), restarted(100.0, stop_s=1.5), restarted(1.0, message="lost")])
def test_late_or_wrong_restart_is_not_reached(run: restart.Run) -> None:
    text = restart.render(FACTS, [run], Namespace())
    assert "| **not reached** |" in text
    assert ("Failed:" in text) == bool(run.message)


def test_only_amqpd_has_goals_for_restarts() -> None:
    text = restart.render(FACTS, [restarted(9000.0, peer="rabbitmq")], Namespace())
    assert "reached |" not in text.splitlines()[2]


def test_cache_is_seen_to_be_dropped(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(os.urandom(1 << 20))
    assert restart.cached_share(tmp_path) == 1.0
    restart.drop_from_cache(tmp_path)
    if machine.describe(tmp_path)["data directories on"] == "tmpfs":
        pytest.skip("what is in memory is not dropped")
    assert restart.cached_share(tmp_path) < 0.5


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    if not shutil.which("cc"):
        pytest.skip("amqpload needs a C compiler")
    yield Workshop(tmp_path, loadgen.build(tmp_path), [Amqpd("amqpd", machine.REPOSITORY, compiled=False)])
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []  # the brokers took theirs with them


@needs_source
@pytest.mark.slow
def test_small_queue_is_measured_both_ways(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "FLOW_S", 0.2)
    monkeypatch.setattr(depth, "REST_S", 0.1)
    arguments = Namespace(
        messages=4000, size=100, transient_messages=0, transient_size=16, buckets=4, peer_messages=4000
    )
    (run,) = depth.measure(arguments, workshop)
    assert run.message == ""
    assert [each.name for each in run.phases] == ["idle", "short queue", PUBLISH, "full, idle", DRAIN]
    for each in run.phases[2::2]:
        assert [bucket for bucket in each.buckets if 0 < bucket.depth < 4000] == each.buckets != []
        assert each.peak_mb > each.anon_mb > 10
    assert run.phases[0].stalls.ping_count > 0
    assert [space.waiting for space in run.spaces][::2] == [4000, 0]
    in_use = [space.in_use_mb or 0.0 for space in run.spaces]
    assert in_use[0] > 0.4 > in_use[2] > 0


@needs_source
@pytest.mark.slow
def test_small_queue_survives_its_restarts(workshop: Workshop) -> None:
    arguments = Namespace(messages=[2000], repeats=1, peer_messages=2000)
    runs = list(restart.measure(arguments, workshop))
    assert [(run.how, run.cache, run.message_count, run.message) for run in runs] == [
        (how, cache, 2000, "") for how in ("stopped", "killed") for cache in ("warm", "cold")
    ]
    assert [run.stop_status for run in runs] == [0, 0, None, None]


@needs_source
@pytest.mark.slow
def test_holes_keep_just_their_messages(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "CALM_S", 0.3)
    arguments = Namespace(messages=2000, size=100, every=100, peer_messages=2000)
    runs = list(holes.measure(arguments, workshop))
    assert [(run.waiting, run.message) for run in runs] == [(count, "") for count in (0, 2000, 20, 20, 20, 0)]


@needs_source
@pytest.mark.slow
def test_lost_message_fails_the_run(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator's verdict reaches the report: here it expects more than was published."""
    monkeypatch.setattr(holes, "CALM_S", 0.3)
    arguments = Namespace(messages=2000, size=100, every=100, peer_messages=2000)
    (run,) = (run for run in holes.measure(arguments, Workshop(*_expecting_more(workshop))) if run.message)
    assert run.message.startswith("take the rest: ")


def _expecting_more(workshop: Workshop) -> tuple[Path, Path, list[Any]]:
    """amqpload in a wrapper that names other holes when it takes the rest."""
    wrapper = workshop.directory / "wrapper"
    wrapper.write_text(
        f'#!{sys.executable}\nimport os, sys\narguments = ["{workshop.amqpload}", *sys.argv[1:]]\n'
        'if "--only-holes" in arguments:\n    arguments += ["--hole", "99", "--drain", "1"]\n'
        "os.execv(arguments[0], arguments)\n"
    )
    wrapper.chmod(0o755)
    return workshop.directory, wrapper, workshop.peers


INTERRUPTED = """
import sys
from tests.bench import depth, machine, peers

peers.prepare = lambda *_: [peers.Amqpd("amqpd", machine.REPOSITORY, compiled=False)]
depth.REST_S = depth.FLOW_S = 0.1
sys.argv = ["depth", "--messages", "50000000", "--out", sys.argv[1]]
sys.exit(depth.main())
"""


@needs_source
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_program_writes_nothing_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    if not shutil.which("cc"):
        pytest.skip("amqpload needs a C compiler")
    page, workshops = tmp_path / "page.md", tmp_path / "workshops"
    workshops.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(page)],
        cwd=machine.REPOSITORY,
        env=clean_environment() | {"TMPDIR": str(workshops)},
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stderr is not None
            assert any(line.startswith("  short queue:") for line in program.stderr)
            while len(_processes_of(workshops)) < 3:  # a broker, a pinger, a generator that publishes
                assert program.poll() is None
        finally:
            program.send_signal(number)
        program.stderr.read()
    assert program.returncode == programs.INTERRUPTED
    assert not page.exists()
    assert _processes_of(workshops) == []
    assert list(workshops.iterdir()) == []


def _processes_of(directory: Path) -> list[str]:
    """The command lines that name it."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if str(directory) in line]
