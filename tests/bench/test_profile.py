"""Callgrind's figures, read and divided, on a small file of its kind. Nothing is run under it."""

import textwrap

import pytest

from tests.bench import callgrind, profile
from tests.bench.callgrind import Calls, Cost, Counts, Function
from tests.bench.profile import Load, Profile

OURS = "amqpd__mypyc.cpython-311-x86_64-linux-gnu.so"
PYTHON = "libpython3.11.so.1.0"
TURN = Function(OURS, "CPyDef_reactor___Reactor___turn_once")
TAKE = Function(OURS, "CPyDef_classic___ClassicQueue___take")
CALL = Function(PYTHON, "PyObject_VectorcallMethod")
EVAL = Function(PYTHON, "_PyEval_EvalFrameDefault")
INNER_EVAL = Function(PYTHON, "_PyEval_EvalFrameDefault", 2)
MALLOC = Function("libc.so.6", "malloc")

# Names are told once; a call is of the caller's shared object unless it says otherwise.
SAMPLE = textwrap.dedent(
    """\
    # callgrind format
    events: Ir sysCount sysTime sysCpuTime

    ob=(1) /usr/lib/libpython3.11.so.1.0
    fn=(1) _PyEval_EvalFrameDefault
    0 1000
    cob=(2) /built/amqpd__mypyc.cpython-311-x86_64-linux-gnu.so
    cfn=(2) CPyDef_reactor___Reactor___turn_once
    calls=10 0
    0 5500 20 9000 7000

    fn=(3) PyObject_VectorcallMethod
    0 300
    cob=(3) /usr/lib/libc.so.6
    cfn=(4) malloc
    calls=20 0
    0 200
    cfn=(5) _PyEval_EvalFrameDefault'2
    calls=10 0
    0 1500

    fn=(5)
    0 1500

    ob=(2)
    fn=(2)
    0 500 20 9000 7000
    cob=(4) ???
    cfn=(6) 0x0000000004936718
    calls=100 0
    0 3000
    cob=(1)
    cfn=(3)
    calls=10 0
    0 2000

    fn=(7) CPyDef_classic___ClassicQueue___take
    0 2900
    cob=(1)
    cfn=(3)
    calls=0 0
    0 0

    ob=(4)
    fn=(6)
    0 100
    cob=(2)
    cfn=(7)
    calls=100 0
    0 2900

    ob=(3)
    fn=(4)
    0 200
    """
)


@pytest.fixture
def counts() -> Counts:
    return callgrind.read(SAMPLE.splitlines())


def test_own_costs_are_read(counts: Counts) -> None:
    own = {function: cost.instructions for function, cost in counts.own.items()}
    assert own[EVAL] == 1000
    assert own[INNER_EVAL] == 1500
    assert own[TURN] == 500
    assert own[MALLOC] == 200
    assert counts.own[TURN].system_calls == 20
    assert counts.own[TURN].busy_ns == 7000
    assert counts.total().instructions == 6500


def test_calls_are_read_with_what_is_below_them(counts: Counts) -> None:
    assert counts.calls[EVAL, TURN].count == 10
    assert counts.calls[EVAL, TURN].cost.instructions == 5500
    assert counts.calls[CALL, MALLOC].count == 20
    assert counts.inclusive()[TURN] == 5500
    assert counts.inclusive()[EVAL] == 6500, "what recurs is in it once"


def test_call_older_than_the_file_is_no_cost_of_the_caller(counts: Counts) -> None:
    assert counts.calls[TAKE, CALL].count == 0
    assert counts.own[TAKE].instructions == 2900


def test_jumps_are_passed_over(counts: Counts) -> None:
    direct = counts.without_jumps()
    assert direct.calls[TURN, TAKE].count == 100
    assert direct.calls[TURN, TAKE].cost.instructions == 3000
    assert direct.own[Function("", "jumps between shared objects")].instructions == 100
    assert direct.total().instructions == counts.total().instructions


def test_libraries_work_for_who_called_them(counts: Counts) -> None:
    behalf = counts.without_jumps().on_behalf()
    assert behalf == {TURN: 300 + 200 + 1500}, "the outermost loop of the interpreter works for nobody"


def test_libraries_are_shared_out_by_cost(counts: Counts) -> None:
    counts.calls[TAKE, CALL].add(counts.calls[TURN, CALL])
    behalf = counts.without_jumps().on_behalf()
    assert behalf[TURN] == behalf[TAKE] == 1000


def test_modules_and_the_rest_are_all_there_is(counts: Counts) -> None:
    modules = profile.by_module(Profile("A", 1, [counts.without_jumps()]))
    assert modules["reactor"] == 500 + 2000
    assert modules["classic"] == 2900
    assert sum(modules.values()) == counts.total().instructions


def test_another_thread_works_for_itself(counts: Counts) -> None:
    """Though it calls the same functions of libraries."""
    committer = Counts()
    committer.own[CALL].instructions = 700
    committer.calls[EVAL, CALL].add(Calls(10, Cost(700)))
    modules = profile.by_module(Profile("D", 1, [counts.without_jumps(), committer]))
    assert modules["reactor"] == 500 + 2000
    assert sum(modules.values()) == counts.total().instructions + 700


def test_what_many_messages_cost_beyond_few_is_divided(counts: Counts) -> None:
    twice, other = Counts(), Counts()
    twice.add(counts, 2)
    other.add(counts)
    loop, committer = profile.difference("A", Load(10, 110), [counts], [twice, other]).threads
    assert loop.total().instructions == committer.total().instructions == pytest.approx(65)
    assert loop.calls[EVAL, TURN].count == pytest.approx(0.1)


def test_report_names_functions_as_the_source_does(counts: Counts) -> None:
    text = profile.render([Profile("L", 10, [counts.without_jumps()])], 5, {"commit": "abc"})
    assert "| reactor.Reactor.turn_once | 10.0 | 500 | 2,000 | 2,500 | 5,500 |" in text
    assert "| reactor.Reactor.turn_once | PyObject_VectorcallMethod, CPython | 10.0 | 2,000 |" in text
    assert "| malloc, libc | 20.0 | 200 | 3.1% |" in text
    assert "A connection: 6,500 instructions" in text
    assert text.endswith("* commit: abc\n")


def test_load_is_as_in_the_benchmark_but_counted() -> None:
    assert profile.options("B", 7, 0) == "--backlog 20000 --ack 1 --prefetch 200 --messages 7".split()
    assert profile.options("L", 7, 0) == ["--connections-only", "7"]
    assert profile.options("N", 7, 0)[:2] == ["--prefill", "7"]
    assert profile.options("J-B", 7, 0)[:2] == ["--rate", "100"]
    assert profile.options("K-fill", 7, 2)[-4:] == ["--messages", "7", "--prefix", "profile2"]
