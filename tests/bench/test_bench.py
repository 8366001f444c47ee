"""The benchmark's own arithmetic and layout, on recorded lines of amqpload. Nothing here is timed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import elsewhere, history, history_plot, loadgen, programs, report, scenario_plot
from tests.bench.disk import Sync
from tests.bench.loadgen import Outcome
from tests.bench.results import CPU, LifeCycle, Results, Run, Spread
from tests.bench.scenarios import SCENARIOS

SAMPLE_A = (
    '{"scenario":"A","producers":1,"consumers":1,"queues":1,"size":16,"persistent":0,"durable":0,"confirm":0,'
    '"prefetch":0,"ack":0,"rate":0,"backlog":20000,"exchange":"","bindings":0,"get":0,"prefill":0,"published":180792,'
    '"confirmed":0,"nacked":0,"consumed":180792,"get_empty":0,"seconds":1.106,"publish_rate":181038,'
    '"consume_rate":163422,"latency_us":{"p50":116391.9,"p95":165675.0,"p99":174063.6,"p999":178257.9,"max":183475.4},'
    '"broker_cpu_us_per_msg":10.62,"broker_rss_mb":160.9,"generator_cpu_us_per_msg":0.803,"other_cpus":0.10,'
    '"blocked_ms":0,"lost":0,"duplicated":0,"reordered":0,"ok":true}\n'
)
SAMPLE_N = (
    '{"scenario":"N","published":60000,"confirmed":60000,"nacked":0,"consumed":60000,"get_empty":1,"seconds":3.112,'
    '"publish_rate":120381,"consume_rate":22953,'
    '"latency_us":{"p50":2130706.4,"p95":2583691.3,"p99":2583691.3,"p999":2618541.6,"max":2618541.6},'
    '"confirm_latency_us":{"p50":3244.0,"p95":8781.8,"p99":20185.1,"p999":42443.8,"max":42443.8},'
    '"publish_cpu_us":12.67,"consume_cpu_us":26.50,"broker_cpu_us_per_msg":39.17,"broker_rss_mb":311.7,'
    '"generator_cpu_us_per_msg":8.992,"other_cpus":0.27,"blocked_ms":0,"ok":true}\n'
)
SAMPLE_L = (
    '{"scenario":"L","connections":646,"seconds":1.001,"connection_rate":645.7,'
    '"latency_us":{"p50":1490.9,"p99":3047.4,"max":6349.9},"broker_cpu_us_per_connection":1517.0,'
    '"broker_rss_mb":155.3,"other_cpus":0.00}\n'
)


def run(peer: str, sample: str, number: int = 1, message: str = "", **changed: Any) -> Run:
    figures = loadgen.parse(0, sample, "").figures | changed
    return Run(peer, figures["scenario"], number, message, figures)


def results(*runs: Run) -> Results:
    peers = dict.fromkeys([each.peer for each in runs], "1.0")
    return Results({"date": "2026-01-31"}, "python -m tests.bench", peers, peers, runs=list(runs))


def test_output_of_a_good_run_is_its_figures() -> None:
    assert loadgen.parse(0, SAMPLE_A, "") == Outcome(json.loads(SAMPLE_A), "")


def test_run_that_lost_messages_keeps_figures_and_complaint() -> None:
    outcome = loadgen.parse(1, SAMPLE_A, "amqpload: consumed 9 messages, expected 10\namqpload: lost: queue 0\n")
    assert outcome.message == "consumed 9 messages, expected 10; lost: queue 0"
    assert outcome.figures["consumed"] == 180792


def test_run_without_a_word_still_failed() -> None:
    assert loadgen.parse(2, "", "") == Outcome({}, "amqpload ended with status 2 and no message")


def test_quiet_runs_count_before_noisy_ones() -> None:
    mixed = results(
        run("amqpd", SAMPLE_A, 1, broker_cpu_us_per_msg=2.0),
        run("amqpd", SAMPLE_A, 2, broker_cpu_us_per_msg=9.0, other_cpus=0.8),
    )
    summary = mixed.summary("amqpd", "A")
    assert (summary.median(CPU), summary.noisy, summary.run_count) == (2.0, False, 2)


def test_ratio_is_taken_within_each_run() -> None:
    paired = results(
        run("amqpd", SAMPLE_A, 1, broker_cpu_us_per_msg=1.0),
        run("rabbitmq", SAMPLE_A, 1, broker_cpu_us_per_msg=10.0),
        run("amqpd", SAMPLE_A, 2, broker_cpu_us_per_msg=2.0),
        run("rabbitmq", SAMPLE_A, 2, broker_cpu_us_per_msg=40.0),
        run("rabbitmq", SAMPLE_A, 3, broker_cpu_us_per_msg=99.0),
    )
    assert paired.ratio("rabbitmq", "amqpd", "A") == Spread(15.0, 10.0, 20.0)


def test_scenario_row_has_every_figure() -> None:
    text = report.render(results(run("amqpd", SAMPLE_A, broker_cpu_us_per_msg=2.5), run("rabbitmq", SAMPLE_A)))
    assert "| **A** transient, no-ack | amqpd | 2.50 | 4.25 x | 163,422 | 116 / 174 |  | 161 | 0.10 | 1 of 1 |" in text
    assert "|  | rabbitmq | 10.6 |  | 163,422 | 116 / 174 |  | 161 | 0.10 | 1 of 1 |" in text


def test_fill_and_drain_are_shown_apart() -> None:
    text = report.render(results(run("rabbitmq", SAMPLE_N)))
    assert "| 39.2 (in 12.7, out 26.5) |  | in 120,381, out 22,953 | 2,131 / 2,584 | 3.24 / 20.2 |" in text
    assert "1 of 1, noisy" in text


def test_connections_have_a_table_of_their_own() -> None:
    text = report.render(results(run("rabbitmq", SAMPLE_L)))
    assert "| rabbitmq | 646 | 1.49 / 3.05 | 1,517 |" in text
    assert "## Scenarios" not in text


def test_failure_is_shown_with_its_message() -> None:
    failed = Run("amqpd", "D", 1, "3 published messages were not confirmed", {})
    text = report.render(results(failed))
    assert f"| **D** {SCENARIOS['D'].what} | amqpd | failed |" in text
    assert "* **D**, amqpd: 3 published messages were not confirmed" in text
    assert "| D: broker CPU per message, fsync included | 4 us |  | **not reached**: failed |" in text


def test_goals_are_judged() -> None:
    measured = results(
        run("amqpd", SAMPLE_A, broker_cpu_us_per_msg=1.5),
        run("amqpd-pure", SAMPLE_A, broker_cpu_us_per_msg=9.5),
        run("rabbitmq", SAMPLE_A),
    )
    measured.life_cycles = [
        LifeCycle("amqpd", "", ready_ms=ms, stop_s=0.1, stop_status=0) for ms in (80.0, 90.0, 400.0)
    ]
    text = report.render(measured)
    assert (
        "| A: broker CPU per message | 1.8 us | 1.50 | reached | 5.4 us | 9.50 | **not reached** "
        "| 10.6 | 7.08 x | 1.87 |" in text
    )
    assert "| start to first handshake, empty directory | 100 ms | 90.0 | reached |" in text
    assert "| H: broker CPU per message | 3 us |  | not measured |" in text
    assert "| amqpd | 90.0 (80.0 to 400) | 0.10 |" in text


def test_goal_may_be_a_share_of_another_scenario() -> None:
    measured = results(
        run("amqpd", SAMPLE_A, scenario="B", broker_cpu_us_per_msg=4.0),
        run("amqpd", SAMPLE_A, scenario="P-B", broker_cpu_us_per_msg=5.0),
        run("amqpd", SAMPLE_A, scenario="T-B", broker_cpu_us_per_msg=6.0),
    )
    text = report.render(measured)
    assert "| P-B: broker CPU per message, of that of B | 1.3 x | 1.25 | reached |" in text
    assert "| T-B: broker CPU per message, of that of B | 1.3 x | 1.50 | **not reached** |" in text
    assert "| P-D: broker CPU per message, of that of D | 1.3 x |  | not measured |" in text


def test_disk_shows_the_range_of_its_probes() -> None:
    measured = results(run("rabbitmq", SAMPLE_A))
    measured.syncs = [Sync("append 4 KiB, fdatasync", 80.0, 150.0), Sync("append 4 KiB, fdatasync", 120.0, 4000.0)]
    assert "| append 4 KiB, fdatasync | 100 (80.0 to 120) | 2,075 (150 to 4,000) |" in report.render(measured)


def test_results_survive_json() -> None:
    measured = results(run("rabbitmq", SAMPLE_A))
    measured.life_cycles = [LifeCycle("rabbitmq", "did not start")]
    measured.syncs = [Sync("append", 1.0, 2.0)]
    assert Results.from_json(json.loads(json.dumps(measured.to_json()))) == measured


def test_report_replaces_only_what_stands_between_the_marks() -> None:
    page = "# Before\n\n<!-- bench -->\nold\n<!-- /bench -->\n\nAfter.\n"
    once = report.replace_between_marks(page, "new\n")
    assert once == "# Before\n\n<!-- bench -->\nnew\n<!-- /bench -->\n\nAfter.\n"
    assert report.replace_between_marks(once, "new") == once


def test_sections_of_one_page_leave_each_other_alone() -> None:
    page = report.replace_between_marks("# Title\n", "the table")
    page = report.replace_between_marks(page, "the depth", "bench-depth")
    page = report.replace_between_marks(page, "a new table")
    page = report.replace_between_marks(page, "a new depth", "bench-depth")
    assert page == (
        "# Title\n\n<!-- bench -->\na new table\n<!-- /bench -->\n\n"
        "<!-- bench-depth -->\na new depth\n<!-- /bench-depth -->\n"
    )


def test_page_without_marks_gets_them() -> None:
    assert report.replace_between_marks("", "new") == "<!-- bench -->\nnew\n<!-- /bench -->\n"
    assert report.replace_between_marks("# Title\n", "new") == "# Title\n\n<!-- bench -->\nnew\n<!-- /bench -->\n"


def test_costs_stand_beside_each_other_with_their_spread() -> None:
    text = report.render(
        results(
            run("amqpd", SAMPLE_A, 1, broker_cpu_us_per_msg=1.0),
            run("amqpd", SAMPLE_A, 2, broker_cpu_us_per_msg=2.0),
            run("rabbitmq", SAMPLE_A, 1, broker_cpu_us_per_msg=10.0),
            run("rabbitmq", SAMPLE_A, 2, broker_cpu_us_per_msg=10.0),
            run("rabbitmq", SAMPLE_N, 1),
        )
    )
    assert (
        "| **A** transient, no-ack | 1.50 (1.00 to 2.00) |  | 10.0 | 7.50 x (5.00 to 10.0) |  | 1.87 | 13.5 x |" in text
    )
    assert f"| **N** {SCENARIOS['N'].what}: the get |  |  | 26.5 |  |  | 17.7 | 2.99 x |" in text


def test_another_commit_is_told_apart_where_all_runs_agree() -> None:
    def beside(*pairs: tuple[float, float]) -> str:
        runs = [
            run(peer, SAMPLE_A, number, broker_cpu_us_per_msg=value)
            for number, pair in enumerate(pairs)
            for peer, value in zip(("amqpd", "amqpd@HEAD~1"), pair, strict=True)
        ]
        return report.render(results(*runs))

    assert (
        "| amqpd@HEAD~1 | 1.00 | 1.50 (1.20 to 1.80) | 1.50 x (1.20 to 1.80) | less |"  # this takes less
        in beside((1.0, 1.2), (1.0, 1.8))
    )
    assert "| 0.75 x (0.60 to 0.90) | more |" in beside((1.0, 0.6), (1.0, 0.9))
    assert "| 1.00 x (0.90 to 1.10) | the same, within the spread |" in beside((1.0, 0.9), (1.0, 1.1))
    assert "## Against" not in report.render(results(run("amqpd", SAMPLE_A)))


def test_confirms_are_judged_by_what_the_disk_takes() -> None:
    confirmed: dict[str, Any] = {"confirm_beyond_disk_us": 140.0, "disk_commit_us": {"p50": 260.0, "p99": 900.0}}
    text = report.render(results(run("amqpd", SAMPLE_A, scenario="J-D", **confirmed)))
    assert "| J-D: confirm p50, beyond the disk's own commit | 150 us | 140 | reached |" in text
    assert "right before and after J-D | 260 (260 to 260) | 900 (900 to 900) |" in text


def test_figures_from_elsewhere_say_what_they_are_of() -> None:
    there = elsewhere.load()
    assert set(there.peers["LavinMQ"]["scenarios"]) <= set(SCENARIOS)
    assert there.value("LavinMQ", "J-B", "latency_us.p50") == 50.0
    assert there.value("LavinMQ", "", "idle_rss_mb") == 11.0
    assert there.value("LavinMQ", "H-100K", CPU) is None
    assert all(word in there.describe() for word in ("2026-11-20", "another machine", "Xeon", "LavinMQ 1.0.1"))


def test_history_is_what_was_measured_in_short(tmp_path: Path) -> None:
    measured = results(
        run("amqpd", SAMPLE_A, 1, broker_cpu_us_per_msg=1.23456),
        run("amqpd", SAMPLE_A, 2, broker_cpu_us_per_msg=2.0),
        Run("amqpd", "D", 1, "no confirm", {}),
    )
    measured.machine["commit"] = "abc1234 with uncommitted changes"
    measured.life_cycles = [LifeCycle("amqpd", "", ready_ms=99.999)]
    path = history.add(measured, tmp_path / "history")
    assert path
    assert path.name.endswith("-abc1234+.json")
    (entry,) = history.load(tmp_path / "history")
    assert entry == history.of(measured, entry.at)
    assert entry.scenarios["A"]["amqpd"][CPU] == [1.617, 1.235, 2.0]
    assert (entry.median("A", "amqpd", "latency_us.p50"), entry.median("D", "amqpd", CPU)) == (116400.0, None)
    assert entry.life == {"amqpd": {"ready_ms": 100.0}}
    assert history.add(results(), tmp_path / "history") is None


def test_the_history_in_the_repository_can_be_read() -> None:
    assert all(entry.scenarios and entry.machine["commit"] for entry in history.load(history.DIRECTORY))


def test_picture_has_a_panel_a_scenario(tmp_path: Path) -> None:
    measured = results(run("amqpd", SAMPLE_A, broker_cpu_us_per_msg=1.0), run("rabbitmq", SAMPLE_A))
    scenario_plot.draw(measured, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "![Broker CPU of each scenario](plot.png)" in report.render(measured, "plot.png")


def test_history_is_drawn_where_both_were_measured(tmp_path: Path) -> None:
    both = history.of(results(run("amqpd", SAMPLE_A, broker_cpu_us_per_msg=1.0), run("rabbitmq", SAMPLE_A)), "1")
    both.machine["commit"] = "abc1234"
    assert history_plot.drawable([both, history.of(results(run("amqpd", SAMPLE_A)), "2")]) == [both]
    history_plot.draw([both, both], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    text = report.render(results(run("amqpd", SAMPLE_A)), "now.png", "then.png")
    assert text.index("](now.png)") < text.index("## From run to run") < text.index("](then.png)")


def test_where_amqpd_was_built_is_no_part_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--amqpd", "/tmp/built", "--runs", "2"])
    assert programs.command("tests.bench") == "python -m tests.bench --runs 2"
