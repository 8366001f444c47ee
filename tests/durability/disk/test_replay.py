"""What a history allows, on logs written by hand: lost, torn, reordered, sizes, names."""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.durability.disk.fate import PAGE, SECTOR, Fate
from tests.durability.disk.history import History
from tests.durability.disk.image import Disk
from tests.durability.disk.log import Flag, Kind, Record

TRIES = 300
FILE, ROOT = 1, 2  # numbers of open files


class Story:
    """A log written by hand, about a directory with the file ``f``, which is open, as is the directory."""

    def __init__(self, base: Path, content: bytes = b"") -> None:
        self.directory = base.parent
        self.digests: list[bytes] = []  # of all images so far
        self.base = base
        base.mkdir()
        (base / "f").write_bytes(content)
        self.records = [
            Record(Kind.OPENED, FILE, payload=b"f"),
            Record(Kind.OPENED, ROOT, flags=Flag.DIRECTORY, payload=b""),
        ]

    def begin(self, record: Record) -> int:
        self.records.append(record)
        return len(self.records) - 1

    def end(self, begun: int, result: int = 0) -> None:
        self.records.append(Record(Kind.END, at=begun, result=result))

    def write(self, at: int, data: bytes, *, file: int = FILE, through: bool = False) -> None:
        flags = Flag.THROUGH if through else 0
        self.end(self.begin(Record(Kind.WRITE, file, at, flags=flags, payload=data)), len(data))

    def resize(self, size: int, flags: int = 0) -> None:
        self.end(self.begin(Record(Kind.SIZE, FILE, size, flags=flags)))

    def sync(self, file: int = FILE) -> None:
        self.end(self.begin(Record(Kind.SYNC, file)))

    def name(self, kind: Kind, path: str, file: int = 0, flags: int = 0) -> None:
        self.records.append(Record(kind, file, flags=flags, payload=path.encode()))

    def rename(self, old: str, new: str) -> None:
        self.records.append(Record(Kind.RENAMED, at=len(old), payload=(old + new).encode()))

    def images(self, fate: Fate, *, is_strict: bool = True, tries: int = TRIES) -> list[dict[str, bytes | None]]:
        """What the directory may hold: names and contents, None for a directory."""
        settled = self.directory / "settled"
        disk = Disk(History(self.base, self.records, "scratch"), settled, is_strict=is_strict)
        target = self.directory / "image"
        found = []
        for seed in range(tries):
            self.digests.append(disk.image(target, fate, Random(seed)))
            paths = sorted(target.rglob("*"))
            held = [(path, path.read_bytes() if path.is_file() else None) for path in paths]
            found.append({path.relative_to(target).as_posix(): content for path, content in held})
            shutil.rmtree(target)
        shutil.rmtree(settled, ignore_errors=True)
        return found

    def contents(self, fate: Fate) -> list[bytes]:
        """What ``f`` may hold."""
        held = [image["f"] for image in self.images(fate)]
        return [each for each in held if each is not None]


@pytest.fixture
def make_story(tmp_path: Path) -> Callable[..., Story]:
    return lambda content=b"": Story(tmp_path / "base", content)


MakeStory = Callable[..., Story]


def test_what_was_synced_is_there(make_story: MakeStory) -> None:
    story = make_story(b"a" * SECTOR)
    story.write(0, b"b" * SECTOR)
    story.write(SECTOR, b"c" * SECTOR)
    story.sync()
    for fate in Fate:
        assert set(story.contents(fate)) == {b"b" * SECTOR + b"c" * SECTOR}
    assert History(story.base, story.records).is_settled()


def test_what_was_not_synced_may_be_lost_or_not(make_story: MakeStory) -> None:
    story = make_story(b"a" * 2 * SECTOR)
    story.write(0, b"b" * SECTOR)
    story.write(SECTOR, b"c" * SECTOR)
    assert not History(story.base, story.records).is_settled()
    parts = {"none": b"a" * 1024, "first": b"b" * 512 + b"a" * 512, "last": b"a" * 512 + b"c" * 512}
    both = b"b" * 512 + b"c" * 512
    assert set(story.contents(Fate.LOST)) == {parts["none"]}
    assert set(story.contents(Fate.LAST)) == {parts["last"]}
    assert set(story.contents(Fate.ONE_LOST)) == {parts["first"], parts["last"]}
    assert set(story.contents(Fate.TORN)) == {*parts.values(), both}
    assert set(story.contents(Fate.KEPT)) == {both}


def test_images_that_are_the_same_are_known_as_such(make_story: MakeStory) -> None:
    story = make_story(b"a" * 3 * SECTOR)
    story.write(0, b"b" * 4 * SECTOR)
    story.name(Kind.CREATED, "g", 3)
    images = story.images(Fate.TORN)
    pairs = {(digest, repr(image)) for digest, image in zip(story.digests, images, strict=True)}
    assert len(pairs) == len(set(story.digests)), "one digest, one image"
    assert len(pairs) > 10


def test_a_sync_covers_only_what_had_ended_before_it_began(make_story: MakeStory) -> None:
    story = make_story(b"a" * SECTOR)
    write = story.begin(Record(Kind.WRITE, FILE, 0, payload=b"b" * SECTOR))
    sync = story.begin(Record(Kind.SYNC, FILE))
    story.end(write, SECTOR)
    story.end(sync)
    assert set(story.contents(Fate.LOST)) == {b"a" * SECTOR}


def test_a_sync_that_did_not_return_or_failed_promises_nothing(make_story: MakeStory) -> None:
    story = make_story(b"a" * SECTOR)
    story.write(0, b"b" * SECTOR)
    story.end(story.begin(Record(Kind.SYNC, FILE)), -1)
    story.begin(Record(Kind.SYNC, FILE))
    assert set(story.contents(Fate.LOST)) == {b"a" * SECTOR}
    assert set(story.contents(Fate.TORN)) == {b"a" * SECTOR, b"b" * SECTOR}


def test_a_sync_of_another_file_promises_nothing(make_story: MakeStory) -> None:
    story = make_story(b"a" * SECTOR)
    story.write(0, b"b" * SECTOR)
    story.name(Kind.CREATED, "g", 3)
    story.sync(3)
    assert set(story.contents(Fate.LOST)) == {b"a" * SECTOR}


def test_a_write_that_had_not_returned_may_be_there(make_story: MakeStory) -> None:
    story = make_story(b"a" * SECTOR)
    story.begin(Record(Kind.WRITE, FILE, 0, flags=Flag.THROUGH, payload=b"b" * SECTOR))
    assert set(story.contents(Fate.TORN)) == {b"a" * SECTOR, b"b" * SECTOR}
    assert set(story.contents(Fate.LOST)) == {b"a" * SECTOR}


def test_a_write_through_is_there_and_takes_only_its_sectors_along(make_story: MakeStory) -> None:
    """The meta page is written through; a page that nobody synced before it may still be missing."""
    story = make_story(b"a" * 3 * SECTOR)
    story.write(2 * SECTOR, b"d" * SECTOR)
    story.write(0, b"x" * 10)
    story.write(100, b"m" * 10, through=True)
    first = b"x" * 10 + b"a" * 90 + b"m" * 10 + b"a" * (SECTOR - 110)
    middle = b"a" * SECTOR
    assert set(story.contents(Fate.LOST)) == {first + middle + b"a" * SECTOR}
    assert set(story.contents(Fate.TORN)) == {first + middle + b"a" * SECTOR, first + middle + b"d" * SECTOR}


def test_a_sector_never_mixes_two_moments(make_story: MakeStory) -> None:
    story = make_story(b"a" * SECTOR)
    story.write(0, b"x" * 10)
    story.write(20, b"y" * 10)
    seen = {content.rstrip(b"a") for content in story.contents(Fate.TORN)}
    assert seen == {b"", b"x" * 10, b"x" * 10 + b"a" * 10 + b"y" * 10}


def test_torn_at_sectors_and_pages_in_any_order(make_story: MakeStory) -> None:
    pages = 3
    story = make_story(b"a" * pages * PAGE)
    story.write(0, b"b" * pages * PAGE)
    shapes = set()
    for content in story.contents(Fate.TORN):
        sectors = [content[at : at + SECTOR] for at in range(0, len(content), SECTOR)]
        assert all(len(set(sector)) == 1 for sector in sectors), "no sector is torn"
        shapes.add(bytes(sector[0] for sector in sectors))
    count = pages * PAGE // SECTOR
    heads = {b"b" * at + b"a" * (count - at) for at in range(count + 1)}
    tails = {b"a" * at + b"b" * (count - at) for at in range(count + 1)}
    assert len(shapes & heads) > 8
    assert len(shapes & tails) > 8
    assert len(shapes - heads - tails) > 20


def test_short_writes_and_failed_ones(make_story: MakeStory) -> None:
    story = make_story(b"a" * SECTOR)
    story.end(story.begin(Record(Kind.WRITE, FILE, 0, payload=b"b" * SECTOR)), 5)
    story.end(story.begin(Record(Kind.WRITE, FILE, 100, payload=b"c" * SECTOR)), -1)
    assert set(story.contents(Fate.KEPT)) == {b"b" * 5 + b"a" * (SECTOR - 5)}


def test_a_file_is_as_long_as_anything_between(make_story: MakeStory) -> None:
    story = make_story(b"a" * 100)
    story.write(100, b"b" * 5000)
    lengths = {len(content) for content in story.contents(Fate.TORN)}
    assert {100, 5100} <= lengths
    assert len(lengths) > 50
    assert min(lengths) == 100
    assert max(lengths) == 5100
    assert set(story.contents(Fate.LOST)) == {b"a" * 100}


def test_what_was_never_written_is_zeros_or_noise(make_story: MakeStory) -> None:
    story = make_story(b"")
    story.write(0, b"b" * PAGE)
    fills = {content[-1:] for content in story.contents(Fate.TORN) if content}
    assert {b"b", b"\0"} < fills


def test_a_size_is_certain_once_synced(make_story: MakeStory) -> None:
    story = make_story(b"a" * 100)
    story.resize(PAGE, Flag.GROWTH)
    story.sync()
    story.write(0, b"b")
    assert {len(content) for content in story.contents(Fate.TORN)} == {PAGE}
    story.resize(10)
    assert {len(content) for content in story.contents(Fate.TORN)} == {PAGE, 10}
    assert set(story.contents(Fate.LOST)) == {b"a" * 100 + bytes(PAGE - 100)}
    assert set(story.contents(Fate.KEPT)) == {b"b" + b"a" * 9}


def test_what_is_cut_off_does_not_come_back(make_story: MakeStory) -> None:
    story = make_story(b"a" * 100)
    story.resize(10)
    story.resize(50)
    assert set(story.contents(Fate.KEPT)) == {b"a" * 10 + bytes(40)}
    assert set(story.contents(Fate.TORN)) == {b"a" * 100, b"a" * 10, b"a" * 10 + bytes(40)}


def test_a_mapped_file_holds_anything(make_story: MakeStory) -> None:
    story = make_story(b"a" * 100)
    story.records.append(Record(Kind.MAPPED, FILE))
    found = story.contents(Fate.LOST)
    assert {len(content) for content in found} == {0, 100}
    assert len(set(found)) > 10


# -- names --


def test_a_new_name_needs_its_directory_synced(make_story: MakeStory) -> None:
    story = make_story()
    story.name(Kind.CREATED, "g", 3)
    story.write(0, b"content", file=3)
    story.sync(3)
    assert {"g" in image for image in story.images(Fate.TORN)} == {True, False}
    assert {"g" in image for image in story.images(Fate.LOST)} == {False}
    assert {image["g"] for image in story.images(Fate.LOST, is_strict=False)} == {b"content"}
    story.sync(ROOT)
    for fate in Fate:
        assert {image["g"] for image in story.images(fate, tries=20)} == {b"content"}


def test_what_is_in_a_lost_directory_is_lost(make_story: MakeStory) -> None:
    story = make_story()
    story.name(Kind.MAKE_DIR, "d", flags=Flag.DIRECTORY)
    story.name(Kind.OPENED, "d", 3, Flag.DIRECTORY)
    story.name(Kind.CREATED, "d/g", 4)
    story.write(0, b"content", file=4)
    story.sync(4)
    story.sync(3)
    assert {tuple(image) for image in story.images(Fate.TORN)} == {("f",), ("d", "d/g", "f")}
    story.sync(ROOT)
    assert {tuple(image) for image in story.images(Fate.TORN)} == {("d", "d/g", "f")}


def test_a_journal_keeps_the_order_of_names(make_story: MakeStory) -> None:
    story = make_story()
    for number, name in enumerate("xyz"):
        story.name(Kind.CREATED, name, 10 + number)
    allowed = {("f",), ("f", "x"), ("f", "x", "y"), ("f", "x", "y", "z")}
    assert {tuple(image) for image in story.images(Fate.TORN, is_strict=False)} <= allowed
    assert {tuple(image) for image in story.images(Fate.TORN)} - allowed


def test_renamed_and_removed(make_story: MakeStory) -> None:
    story = make_story(b"old")
    story.name(Kind.CREATED, "new", 3)
    story.write(0, b"new", file=3)
    story.sync(3)
    story.sync(ROOT)
    story.rename("new", "f")
    before = {"f": b"old", "new": b"new"}
    assert story.images(Fate.LOST, tries=1) == [before]
    assert story.images(Fate.KEPT, tries=1) == [{"f": b"new"}]
    assert all(image in (before, {"f": b"new"}) for image in story.images(Fate.TORN))
    story.sync(ROOT)
    assert story.images(Fate.LOST, tries=1) == [{"f": b"new"}]
    story.name(Kind.REMOVED, "f")
    assert {bool(image) for image in story.images(Fate.TORN)} == {True, False}


def test_a_directory_is_renamed_with_what_is_in_it(make_story: MakeStory) -> None:
    story = make_story()
    story.name(Kind.MAKE_DIR, "d", flags=Flag.DIRECTORY)
    story.name(Kind.CREATED, "d/g", 3)
    story.rename("d", "e")
    assert [list(image) for image in story.images(Fate.KEPT, tries=1)] == [["e", "e/g", "f"]]


def test_what_is_immaterial_makes_no_other_image(make_story: MakeStory) -> None:
    story = make_story(b"a" * PAGE)
    story.write(0, b"b" * PAGE)
    history = History(story.base, story.records)
    assert (history.is_settled(), history.is_settled(["f"])) == (False, True)
    disk = Disk(history, story.directory / "settled", immaterial=["f"])
    digests = {disk.image(story.directory / str(seed), Fate.TORN, Random(seed)) for seed in range(20)}
    assert len(digests) == 1
    assert len({(story.directory / str(seed) / "f").read_bytes() for seed in range(20)}) > 2


def test_what_is_skipped_is_in_no_image(make_story: MakeStory) -> None:
    story = make_story()
    (story.base / "scratch").mkdir()
    (story.base / "scratch" / "g").touch()
    assert story.images(Fate.KEPT, tries=1) == [{"f": b""}]
