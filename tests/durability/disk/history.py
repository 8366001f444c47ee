"""What happened to the files of a directory, and which of it is certain to be on disk.

From the snapshot of the directory at the start and the records of one process. A change of a file's contents or size is
certain once a sync of the file that began behind its end has returned, or once it returned itself on a descriptor with
O_DSYNC. A change of a name is certain once every directory that it touched was synced likewise.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.durability.disk.log import Flag, Kind, Record

NEVER: Final = 1 << 62  # the end of what had not returned when the process died


@dataclass
class Change:
    """A write, or with ``size`` set a new size of the file."""

    begin: int
    at: int = 0
    data: bytes = b""
    size: int | None = None
    is_growth: bool = False
    is_through: bool = False
    end: int = NEVER

    def size_after(self, before: int) -> int:
        if self.size is None:
            return max(before, self.at + len(self.data)) if self.data else before
        return max(before, self.size) if self.is_growth else self.size


@dataclass(eq=False)
class File:
    """One file, whatever it is called. ``base`` holds what it was at the start, None when it was not."""

    base: Path | None = None
    changes: list[Change] = field(default_factory=list)
    synced: int = -1  # the beginning of the last sync that returned
    is_mapped: bool = False

    def is_certain(self, change: Change) -> bool:
        return change.end < self.synced or (change.is_through and change.end < NEVER)

    def first_uncertain(self) -> int:
        """How many changes there are ahead of the first that may be lost."""
        for index, change in enumerate(self.changes):
            if not self.is_certain(change):
                return index
        return len(self.changes)


@dataclass(eq=False)
class Directory:
    """One directory."""

    synced: int = -1


Node = File | Directory


@dataclass
class Naming:
    """A change of names: ``node`` (None: nothing) is ``path`` now, and ``old`` is no more."""

    when: int
    path: str
    node: Node | None
    parents: list[Directory]
    old: str = ""

    @property
    def is_certain(self) -> bool:
        return all(self.when < parent.synced for parent in self.parents)


class Tree:
    """Names and what they name. The root is the empty name."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes

    def copy(self) -> "Tree":
        return Tree(dict(self.nodes))

    def apply(self, naming: Naming) -> None:
        if naming.old:
            moved = {path: self.nodes[path] for path in self._below(naming.old)}
            self._remove(naming.old)
            self._remove(naming.path)
            self.nodes.update({naming.path + path[len(naming.old) :]: node for path, node in moved.items()})
        elif naming.node is None:
            self._remove(naming.path)
        else:
            self.nodes[naming.path] = naming.node

    def parent(self, path: str) -> Directory:
        """Raises KeyError when nothing leads there."""
        node = self.nodes[path.rpartition("/")[0]]
        assert isinstance(node, Directory)
        return node

    def _below(self, path: str) -> list[str]:
        return [each for each in self.nodes if each == path or each.startswith(f"{path}/")]

    def _remove(self, path: str) -> None:
        for each in self._below(path):
            del self.nodes[each]


class History:
    """See the module. Nothing below a directory of the name ``skip`` is part of it."""

    def __init__(self, base: Path, records: Iterable[Record], skip: str = "") -> None:
        self.base = Tree(_scan(base, skip))
        self.namings: list[Naming] = []
        self.synced = -1  # the beginning of the last sync of anything that returned
        self._live = self.base.copy()
        self._numbers: dict[int, Node] = {}
        self._begun: dict[int, tuple[Record, Change | None]] = {}
        for number, record in enumerate(records):
            self._take(number, record)

    def is_settled(self, apart_from: Collection[str] = ()) -> bool:
        """Nothing can be lost, apart from what is in the files of these names."""
        ignored = {self._live.nodes.get(path) for path in apart_from}
        files = [file for file in self.files() if not file.is_mapped and file not in ignored]
        contents = all(file.first_uncertain() == len(file.changes) for file in files)
        return contents and all(naming.is_certain for naming in self.namings if naming.node not in ignored)

    @property
    def unfinished(self) -> str:
        """What the process was at when it died, as far as it had begun."""
        names = []
        for record, _ in self._begun.values():
            is_through = bool(record.flags & Flag.THROUGH)
            names.append(f"{record.kind.name.lower()}{' through' if is_through else ''}")
        return " and ".join(sorted(names)) or "between calls"

    def files(self) -> list[File]:
        """All that ever had a name."""
        named = [*self.base.nodes.values(), *(naming.node for naming in self.namings)]
        return list(dict.fromkeys(node for node in named if isinstance(node, File)))

    def _take(self, number: int, record: Record) -> None:
        kind = record.kind
        if kind in (Kind.WRITE, Kind.SIZE, Kind.SYNC):
            self._begin(number, record)
        elif kind == Kind.END:
            self._end(number, record)
        elif kind == Kind.MAPPED:
            self._file(record.file).is_mapped = True
        elif kind == Kind.OPENED:
            self._numbers[record.file] = self._live.nodes[record.payload.decode()]
        elif kind == Kind.RENAMED:
            text = record.payload
            self._rename(number, text[: record.at].decode(), text[record.at :].decode())
        else:
            self._name(number, record)

    def _begin(self, number: int, record: Record) -> None:
        change = None
        if record.kind == Kind.WRITE:
            is_through = bool(record.flags & Flag.THROUGH)
            change = Change(number, record.at, record.payload, is_through=is_through)
        elif record.kind == Kind.SIZE:
            change = Change(number, size=record.at, is_growth=bool(record.flags & Flag.GROWTH))
        if change is not None:
            self._file(record.file).changes.append(change)
        self._begun[number] = record, change

    def _end(self, number: int, record: Record) -> None:
        begun, change = self._begun.pop(record.at)
        if change is None:
            if record.result == 0:
                self._numbers[begun.file].synced = record.at
                self.synced = max(self.synced, record.at)
            return
        change.end = number
        if begun.kind == Kind.WRITE and record.result < len(change.data):
            change.data = change.data[: max(record.result, 0)]
        elif record.result < 0:
            change.size, change.data = None, b""

    def _name(self, number: int, record: Record) -> None:
        path = record.payload.decode()
        if not path:
            return  # the root itself: where it is, is not its business
        node: Node | None = None
        if record.kind != Kind.REMOVED:
            node = Directory() if record.flags & Flag.DIRECTORY else File()
        if record.kind == Kind.CREATED:
            assert node is not None
            self._numbers[record.file] = node
        self._add(Naming(number, path, node, [self._live.parent(path)]))

    def _rename(self, number: int, old: str, new: str) -> None:
        parents = list(dict.fromkeys([self._live.parent(old), self._live.parent(new)]))
        self._add(Naming(number, new, self._live.nodes[old], parents, old))

    def _add(self, naming: Naming) -> None:
        self.namings.append(naming)
        self._live.apply(naming)

    def _file(self, number: int) -> File:
        node = self._numbers[number]
        assert isinstance(node, File)
        return node


def _scan(base: Path, skip: str) -> dict[str, Node]:
    nodes: dict[str, Node] = {"": Directory()}
    for path in sorted(base.rglob("*")):
        parts = path.relative_to(base).parts
        if skip not in parts:
            nodes["/".join(parts)] = Directory() if path.is_dir() else File(path)
    return nodes
