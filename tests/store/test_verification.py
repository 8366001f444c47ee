"""What `amqpd store verify` finds: each damage once, by its name, and nothing where nothing is wrong."""

import random
from pathlib import Path

import pytest

from amqpd.broker import records
from amqpd.broker.ports import ACKS, META, QUARANTINE, QUEUES, SEGMENTS, STATES, Op
from amqpd.store import verification as v
from amqpd.store.tables import open_tables
from amqpd.store.verification import Problem, Verdict, verify
from tests.store.data_files import (
    acks,
    binding,
    contents,
    exchange,
    flip,
    mark,
    queue,
    schema,
    segment,
    spoil,
    wipe_page,
    write,
)

Q = "queue 'q' in virtual host '/'"


def verdict(data_file: Path) -> Verdict:
    return verify(data_file, lambda done, total: None)


def found(directory: Path, *more: Op) -> list[Problem]:
    """In a store with a queue `q`, an exchange `e` and these rows."""
    return verdict(write(directory, [*schema(), exchange("e"), queue("q", 1)], more)).problems


def test_a_good_store(tmp_path: Path) -> None:
    rows = [exchange("e"), exchange("f"), queue("q", 1), queue("r", 2, "other"), mark(1, 70_000)]
    bindings = [
        binding("e", "q"),
        binding("e", "f", to_queue=False),
        binding("amq.topic", "r", vhost="other"),
        binding("e", "amq.fanout", to_queue=False),
    ]
    messages = [segment(1, range(1, 101)), acks(1, 1, [3, 100]), segment(1, [150, 190, 333]), segment(2, [1])]
    done: list[tuple[int, int]] = []
    data_file = write(tmp_path, [*schema(), *rows, *bindings], messages, [(QUARANTINE, b"k", b"v")])
    good = verify(data_file, lambda *progress: done.append(progress))
    assert good.problems == []
    assert (good.exchanges, good.queues, good.bindings) == (2, 2, 4)
    assert (good.segments, good.messages, good.quarantined) == (3, 102, 1)
    assert good.bytes == sum(len(op[2] or b"") for op in messages if op[0] == SEGMENTS)
    assert done == sorted(done)
    assert done[-1] == (good.bytes, good.bytes)


def test_a_new_store(tmp_path: Path) -> None:
    assert verdict(write(tmp_path / "made")).problems == []
    assert verdict(write(tmp_path / "started", schema())).problems == []


# -- checksums --


def test_a_message_with_a_flipped_bit_names_queue_and_segment(tmp_path: Path) -> None:
    data_file = write(tmp_path, [*schema(), queue("q", 1)], [segment(1, range(n, n + 10)) for n in (1, 11, 21)])
    spoil(data_file, b"body@15.", b"bodx@15.")
    bad = verdict(data_file)
    words = "the checksum of segment 11-20 does not hold: 10 messages"
    assert bad.problems == [Problem(f"{Q}, segment 11-20", words, v.QUARANTINED)]
    assert (bad.segments, bad.messages) == (2, 20)


def test_a_segment_under_the_key_of_another(tmp_path: Path) -> None:
    one, two = segment(1, range(1, 5), b"one."), segment(1, range(1, 5), b"two.")
    other = segment(1, range(5, 9), b"one.")
    words = "segment 5-8 lies under another one's key: 4 messages"
    assert found(tmp_path / "a", (SEGMENTS, other[1], one[2])) == [Problem(f"{Q}, segment 5-8", words, v.QUARANTINED)]
    assert (
        found(tmp_path / "b", (SEGMENTS, one[1], two[2])) == []
    )  # which of two that were both written is nobody's guess


def test_a_damaged_key_is_repaired_from_its_value(tmp_path: Path) -> None:
    _, key, value = segment(1, range(1, 5))
    bad = key[:12] + b"\xff" + key[13:]
    (problem,) = found(tmp_path, (SEGMENTS, bad, value))
    assert problem == Problem(
        f"{Q}, segment from position 1", f"the key {bad.hex()} of a segment is damaged", v.REPAIRED_KEY
    )


def test_a_damaged_key_over_a_damaged_value(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, (SEGMENTS, b"?" * 32, b"no segment"))
    assert problem.consequence == v.QUARANTINED


@pytest.mark.parametrize(
    ("row", "where"),
    [
        (queue("x", 2), f"record {records.name_key('/', 'x').hex()} of the table queues"),
        (exchange("x"), f"record {records.name_key('/', 'x').hex()} of the table exchanges"),
        (binding("e", "q"), f"record {b'e>q'.hex()} of the table bindings"),
        (mark(1, 9), f"{Q}, mark of what was delivered"),
        (acks(1, 1, [2]), f"{Q}, acks from position 1"),
        ((META, *records.row(records.SCHEMA_KEY, 2)), "record 'schema' of the table meta"),
    ],
)
def test_a_damaged_record(tmp_path: Path, row: Op, where: str) -> None:
    table, key, value = row
    assert value is not None
    words = "the checksum of a record does not hold"
    flipped = value[:-1] + bytes([value[-1] ^ 4])
    messages = segment(1, [1, 2, 3])
    assert found(tmp_path / "bit", messages, (table, key, flipped)) == [Problem(where, words, v.REPAIRED)]
    beyond = {ACKS: v.AGAIN, STATES: v.MARKED}.get(table, v.QUARANTINED)
    spoilt = bytes(byte ^ 0x55 for byte in value)
    assert found(tmp_path / "all", messages, (table, key, spoilt)) == [Problem(where, words, beyond)]


def test_a_flipped_bit_in_a_key(tmp_path: Path) -> None:
    _, key, value = acks(1, 1, [2], 3)
    where = "queue number 257, which is not declared, acks from position 1"
    problem = Problem(where, "the checksum of a record does not hold", v.REPAIRED)
    assert found(tmp_path, segment(1, [1, 2, 3]), (ACKS, key[:2] + b"\1" + key[3:], value)) == [problem]


# -- what does not fit together --


def test_two_queues_with_one_number(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, queue("r", 1))
    assert "has the same number as" in problem.what
    assert problem.consequence == v.SHARED


def test_a_number_that_would_be_used_twice(tmp_path: Path) -> None:
    assert found(tmp_path, queue("r", 10)) == [
        Problem("meta", "the next queue would get the number 10, which is taken", v.CORRECTED)
    ]


def test_bindings_without_their_ends(tmp_path: Path) -> None:
    problems = found(tmp_path, binding("gone", "q"), binding("e", "gone"), binding("e", "q", to_queue=False))
    assert [(problem.where, problem.what) for problem in problems] == [
        ("binding of 'e' to 'gone' in virtual host '/'", "its destination is not there"),
        ("binding of 'e' to 'q' in virtual host '/'", "its destination is not there"),
        ("binding of 'gone' to 'q' in virtual host '/'", "its source is not there"),
    ]


def test_messages_acks_and_marks_of_no_queue(tmp_path: Path) -> None:
    problems = found(tmp_path, segment(5, [1, 2]), acks(6, 1, [1]), mark(7, 1))
    assert {(problem.where, problem.consequence) for problem in problems} == {
        ("queue number 5, which is not declared, segment 1-2", v.KEPT),
        ("queue number 6, which is not declared, acks from position 1", v.REMOVED),
        ("queue number 7, which is not declared, mark of what was delivered", v.MARKED),
    }


@pytest.mark.parametrize(
    ("row", "words", "consequence"),
    [
        (acks(1, 1, [2]), "its acks are of other messages", v.MISTAKEN),
        (acks(1, 1, [20]), "its acks are of a segment of another size", v.AGAIN),
        (acks(1, 1, [1, 3, 5]), "all of its messages are acked, and it is still there", v.PASSED_OVER),
    ],
)
def test_acks_that_are_not_of_their_segment(tmp_path: Path, row: Op, words: str, consequence: str) -> None:
    assert found(tmp_path, segment(1, [1, 3, 5]), row) == [Problem(f"{Q}, segment 1-5", words, consequence)]


def test_a_message_in_two_segments(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, segment(1, [1, 3, 5]), segment(1, [5, 6]))
    assert problem == Problem(f"{Q}, segment 5-6", "some of its positions are in the segment 1-5 too", v.TWICE)
    assert found(tmp_path / "apart", segment(1, [1, 3, 5]), segment(1, [4, 6]), segment(1, [7])) == []


def test_a_record_without_what_it_needs(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, (QUEUES, *records.row(b"key", {"vhost": "/"})))
    assert (problem.what, problem.consequence) == ("it is incomplete", v.MISTAKEN)


@pytest.mark.parametrize("version", [1, records.SCHEMA_VERSION + 1])
def test_another_schema(tmp_path: Path, version: int) -> None:
    row = records.row(records.SCHEMA_KEY, version) if version > 1 else (records.SCHEMA_KEY, b"1")
    (problem,) = found(tmp_path, (META, *row), (QUEUES, b"not", b"looked at"))
    assert problem.where == "schema"
    assert problem.what.startswith(f"it is {version}, and this amqpd reads {records.SCHEMA_VERSION}")


def test_a_store_that_lost_its_schema(tmp_path: Path) -> None:
    problems = found(tmp_path, (META, records.SCHEMA_KEY, None))
    assert problems == [Problem("schema", "its version is not there", v.CORRECTED)]


# -- structure --


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Two queues of many small segments and a large one, with acks: a tree of some pages."""
    small = [segment(n, [position]) for n in (1, 2) for position in range(10, 2000, 10)]
    return write(
        tmp_path,
        [*schema(), exchange("e"), queue("q", 1), queue("r", 2), binding("e", "q"), mark(1, 5)],
        small,
        [segment(1, range(3000, 3100), bytes(100)), acks(1, 3000, [3007], 3099)],
    )


def test_a_lost_page_names_the_messages_behind_it(data_file: Path) -> None:
    page = wipe_page(data_file, b"body@1000.")
    problems = verdict(data_file).problems
    named = [problem for problem in problems if problem.where == f"page {page} of the table segments"]
    assert len(named) == 1
    assert "segments from position" in named[0].what
    assert {problem.consequence for problem in problems} == {v.SALVAGED}


def test_a_rolled_back_commit_is_seen(data_file: Path) -> None:
    """LMDB does not checksum its meta pages: a flipped bit may bring an older state back."""
    with open_tables(data_file) as tables:
        newest = tables.transaction
    spoil(data_file, newest.to_bytes(8, "little") + bytes(8), (newest + 2).to_bytes(8, "little") + bytes(8))
    assert v.SALVAGED in {problem.consequence for problem in verdict(data_file).problems}


@pytest.mark.parametrize("content", [b"", b"no store" * 2000, bytes(16384)])
def test_a_file_that_is_no_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    (problem,) = verdict(tmp_path / "data.mdb").problems
    assert (problem.where, problem.consequence) == ("structure of the file", v.SALVAGED)


def test_a_file_that_is_cut_off(data_file: Path) -> None:
    content = data_file.read_bytes()
    for length in range(0, len(content) - 4096, len(content) // 20):
        data_file.write_bytes(content[:length])
        assert verdict(data_file).problems != []


@pytest.mark.parametrize("seed", range(20))
def test_no_flipped_bit_that_matters_escapes(data_file: Path, seed: int) -> None:
    chance = random.Random(seed)
    content, before = data_file.read_bytes(), contents(data_file)
    seen = 0
    for _ in range(40):
        flip(data_file, chance.randrange(len(content)), chance.randrange(8))
        if verdict(data_file).problems:
            seen += 1
        else:
            assert contents(data_file) == before, "it is in free room"
        data_file.write_bytes(content)
    assert seen > 3
    assert verdict(data_file).problems == []


@pytest.mark.parametrize("seed", range(20))
def test_no_damage_ends_it(data_file: Path, seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(data_file.read_bytes())
    for _ in range(chance.choice((1, 10, 300))):
        page = chance.randrange(len(content) // 4096) * 4096
        content[page + chance.randrange(chance.choice((16, 256, 4096)))] = chance.randrange(256)
    data_file.write_bytes(content)
    verdict(data_file)


def test_parts_of_a_priority_queue_belong_to_it(tmp_path: Path) -> None:
    rows = [queue("q", 1, parts={"3": 2}), segment(1, [1]), segment(2, [1, 2])]
    assert verdict(write(tmp_path, [*schema(), *rows])).problems == []
