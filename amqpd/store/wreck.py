"""What a damaged data file still holds: the rows of its last transaction, and what of them is known to be lost.

Rows are taken from the trees as far as these can be followed, a page or pointer with one flipped bit included, and then
from pages that belong to the transaction but are reached no more: there, values of segments and sealed rows name
themselves. Free pages are never looked at: what was acked must not come back.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from amqpd.broker import records
from amqpd.broker.ports import META, QUARANTINE, QUEUES, SCRATCH, SEGMENTS, TABLES
from amqpd.broker.queues.segments import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_KEY_BYTES,
    SEGMENT_MAGIC,
    CorruptSegment,
    check_segment,
    own_key,
    read_segment_key,
)
from amqpd.store.integrity import DEPTH_MAX, FREE, REACHED, UNSEEN, Checker, Unsound
from amqpd.store.layout import (
    BIG,
    BRANCH,
    HEAD_BYTES,
    LEAF,
    META_PAGES,
    NO_PAGE,
    NUMBER,
    PAGE,
    SUBTREE,
    TREE,
    Meta,
    Node,
    Pages,
    Tree,
    ordering_bits,
    page_flags,
    read_nodes,
    ruined_nodes,
)
from amqpd.store.proofs import (
    META_KEYS,
    SEALED_KEY_BYTES,
    is_sealed,
    is_segment,
    is_segment_key,
    near_name,
    table_of,
)

PAGE_BITS: Final = 64  # of a page's number
SEGMENT: Final = SEGMENT_MAGIC.to_bytes(4, "big")

Row = tuple[int, bytes, bytes]  # table, key, value


class Wreck:
    """What a damaged file still holds: of the last transaction, rows by ``rows``, and then what is known to be lost."""

    def __init__(self, pages: Pages, newest: int) -> None:
        self.pages = pages
        self.has_schema = False
        self.is_empty = True  # as far as all of it could be seen
        self._losses: list[tuple[str, bytes, str]] = []  # label of a tree, key of a segment, words
        self._trees: list[Tree] = []
        self._saved: Counter[str] = Counter()  # rows by name of the table
        self._queues: dict[int, str] = {}
        # Segments whose value is not what was written, by key: the value, or where it lies and its size.
        self._damaged: dict[bytes, bytes | tuple[int, int]] = {}
        self._found: set[bytes] = set()  # keys of segments that no tree led to
        self.repaired: list[Row] = []  # under a key that was mended: a row that is there under it counts more
        self._count = 0  # of pages in the file
        self._end = 0  # of the transaction's: behind it lies what was never committed
        self._marks = bytearray()
        self._knows_free = False
        self._meta = self._choose(newest)

    def losses(self) -> list[str]:
        """In words, with the names of queues. For when all rows were read."""
        words = []
        for label, key, text in self._losses:
            if key:
                words += [] if key in self._found else [f"{self._segment_name(key)} {text}"]
            elif not any(tree.label == label and self._saved[tree.name] >= tree.rows for tree in self._trees):
                words.append(text)
        for tree in self._trees:
            lost = tree.rows - self._saved[tree.name]
            if lost > 0 and any(label == tree.label for label, _, _ in self._losses):
                words.append(f"{tree.label}: {lost} of {tree.rows} rows are lost")
        return words

    def _segment_name(self, key: bytes) -> str:
        queue_id, first, last, _, _ = read_segment_key(key)
        return f"{self._queues.get(queue_id, f'queue number {queue_id}')}: segment {first}-{last}"

    def rows(self) -> Iterator[Row]:
        """Everything that is worth being kept."""
        if self._meta is None:
            self.is_empty = False
            return
        for table, key, value in self._all_rows(self._meta):
            self._saved[TABLES[table]] += 1
            if table == QUEUES:
                self._note_queue(key, value)
            self.has_schema |= (table, key) == (META, records.SCHEMA_KEY)
            if table != SCRATCH and (table, key) != (META, records.TRANSACTION_KEY):
                yield table, key, value
        for table, key, _ in self.repaired:
            self._saved[TABLES[table]] += 1
            self.has_schema |= (table, key) == (META, records.SCHEMA_KEY)
        for key, found in self._damaged.items():
            if key not in self._found:
                yield QUARANTINE, key, found if isinstance(found, bytes) else self._read_large(*found)

    def _all_rows(self, meta: Meta) -> Iterator[Row]:
        self._trees = sorted(self._tables(meta), key=_place)
        for tree in self._trees:
            yield from self._tree_rows(tree)
        if self._knows_free:
            yield from self._stray_rows()

    def _note_queue(self, key: bytes, value: bytes) -> None:
        with contextlib.suppress(records.CorruptRecord):
            fact = records.decode(key, value)
            name = f"queue {fact['name']!r} of {fact['vhost']!r}"
            self._queues.update(dict.fromkeys(records.queue_numbers(fact), name))

    # -- which transaction --

    def _choose(self, newest: int) -> Meta | None:
        """The meta page of the last transaction: by the numbers, or by the rows in the trees where these cannot be."""
        metas = self.pages.metas()
        numbers = [self._row_of(meta) for meta in metas]
        is_usual = False
        if len(metas) == META_PAGES:
            order = sorted(range(META_PAGES), key=lambda place: metas[place].transaction)
            older, newer = (metas[place].transaction for place in order)
            is_usual = newer == older + 1 and numbers[order[1]] in (0, newer)
            if not is_usual or (newer < newest == numbers[order[0]]):
                order.sort(key=lambda place: numbers[place] or min(older, newer))
            metas = [metas[place] for place in order]
        for meta in reversed(metas):
            self._look_at(meta)
            if self._tables(meta) or self._knows_free:
                self._look_at(meta)
                # One of the two says nothing: it may have been the last one.
                if meta is not metas[-1] or not (is_usual or (all(numbers) and len(numbers) == META_PAGES)):
                    self._losses.append(("", b"", f"transactions behind {meta.transaction} may be lost"))
                return meta
        return None

    def _row_of(self, meta: Meta) -> int:
        """The number in the tree of a meta page; 0 if there is none."""
        self._look_at(meta)
        for tree in self._tables(meta):
            if tree.name == TABLES[META]:
                for _, key, value in self._tree_rows(tree):
                    if key == records.TRANSACTION_KEY and is_sealed(key, value):
                        return int(records.unseal(key, value))
        return 0

    def _look_at(self, meta: Meta) -> None:
        """Begin anew with a transaction; its free pages are known if all is well with their list."""
        self._losses = []
        self.repaired = []
        self.is_empty = True
        self._count = max(META_PAGES, -(-self.pages.file_bytes // self.pages.page_bytes))
        ends = [each.last_page + 1 for each in (meta, *self.pages.metas())]
        self._end = next((end for end in ends if end <= self._count), META_PAGES)
        checker = Checker(self.pages)
        try:
            checker.measure(max(self._count, meta.last_page + 1))
            for again in self.pages.metas():
                if again.place == meta.place:
                    checker.check_free(again)
        except Unsound:
            self._marks = bytearray(self._count)
            self._knows_free = False
        else:
            self._marks = checker.marks[: self._count]
            self._knows_free = not checker.problems
            if checker.problems:
                self._marks = bytearray(self._count)

    # -- trees --

    def _tables(self, meta: Meta) -> list[Tree]:
        main = meta.main
        found = []
        for page, nodes in self._leaves(main):
            for key, flags, begin, size in nodes:
                if flags == SUBTREE and size == TREE.size:
                    found.append(Tree(near_name(key), f"table {near_name(key)}", page, begin))
        return found

    def _leaves(self, tree: Tree) -> Iterator[tuple[bytes, list[Node]]]:
        """The leaves of a tree, as far as they are found."""
        if tree.root != NO_PAGE:
            yield from self._below(tree, (tree.root, tree.depth), b"", None, 0)

    def _below(
        self, tree: Tree, place: tuple[int, int], first: bytes, end: bytes | None, depth: int
    ) -> Iterator[tuple[bytes, list[Node]]]:
        """The leaves below a page ``place``, its number and its levels."""
        number, levels = place
        number, page, nodes = self._find_page(tree, number, levels, first, end)
        if self._is_in_file(number) and (nodes or self._marks[number] != FREE):
            self._knows_free = self._knows_free and self._marks[number] != FREE
            self._marks[number] = REACHED
        if not nodes or depth > DEPTH_MAX:
            self.is_empty = False
            self._losses.append((tree.label, b"", f"page {number} of {tree.label}: unreadable"))
            yield from self._ruin(page)
        elif page_flags(page) == LEAF:
            yield page, nodes
        else:
            keys: list[bytes] = [first, *(node[0] for node in nodes[1:])]
            ends: list[bytes | None] = [*keys[1:], end]
            for node, key, next_key in zip(nodes, keys, ends, strict=True):
                yield from self._below(tree, (node[3], levels - 1), key, next_key, depth + 1)

    def _ruin(self, page: bytes) -> Iterator[tuple[bytes, list[Node]]]:
        """The nodes of a page that is beyond repair, where its pointers still lead to something."""
        if page:
            yield page, ruined_nodes(page)

    def _find_page(
        self, tree: Tree, number: int, levels: int, first: bytes, end: bytes | None
    ) -> tuple[int, bytes, list[Node]]:
        """The page that is meant: itself, mended, or where one bit of its number was flipped, in that order."""

        def belongs(page: bytes, nodes: list[Node]) -> bool:
            keys = [node[0] for node in nodes[0 if page_flags(page) == LEAF else 1 :]]
            is_within = not keys or (keys[0] >= first and (end is None or keys[-1] < end))
            return bool(nodes) and is_within and page_flags(page) == (LEAF if levels == 1 else BRANCH)

        is_root = not first and end is None
        # What is free may look right, and is old, unless it is the list of free pages that is damaged.
        is_free = self._knows_free and self._is_in_file(number) and self._marks[number] == FREE
        page, nodes = self._sound_page(number)
        if not is_free and belongs(page, nodes) and (not is_root or self._is_kind(tree, page, nodes)):
            return number, page, nodes
        mended = b""
        mended_nodes: list[Node] = []
        if self._is_in_file(number) and self._marks[number] == UNSEEN and not nodes:
            mended, mended_nodes = self._mend(number, levels)
            if belongs(mended, mended_nodes) and (not is_root or self._is_kind(tree, mended, mended_nodes)):
                return number, mended, mended_nodes
        for bit in range(PAGE_BITS):
            other = number ^ 1 << bit
            if self._is_in_file(other) and self._marks[other] == UNSEEN:
                other_page, other_nodes = self._sound_page(other)
                if belongs(other_page, other_nodes) and self._is_kind(tree, other_page, other_nodes):
                    return other, other_page, other_nodes
        # A separator may be damaged, or the depth.
        return (number, page, nodes) if nodes else (number, mended, mended_nodes)

    def _is_in_file(self, number: int) -> bool:
        return META_PAGES <= number < self._count

    def _sound_page(self, number: int) -> tuple[bytes, list[Node]]:
        """A page of a tree as it should be; nothing if it is not."""
        if not self._is_in_file(number) or self._marks[number] == REACHED:
            return b"", []
        page, _ = self.pages.read_of_tree(number)
        return page, read_nodes(page) if page else []

    def _is_kind(self, tree: Tree, page: bytes, nodes: list[Node]) -> bool:
        """Whether a page, or the first leaf below it, is of the table."""
        for _ in range(DEPTH_MAX):
            if not nodes or page_flags(page) == LEAF:
                break
            page, nodes = self._sound_page(nodes[0][3])
        if not tree.name:
            return any(flags == SUBTREE and size == TREE.size for _, flags, _, size in nodes)
        if tree.name == TABLES[QUARANTINE] or tree.name not in TABLES:
            return bool(nodes)
        return any(TABLES[row[0]] == tree.name for node in nodes for row in self._proven(page, node))

    def _mend(self, number: int, levels: int) -> tuple[bytes, list[Node]]:
        """A page as it was before one bit of what orders it was flipped; what there is of it, when that was not all."""
        found = self.pages.read(number)
        if not found:
            return b"", []
        flags = page_flags(found) if page_flags(found) in (LEAF, BRANCH) else LEAF if levels == 1 else BRANCH
        page = bytearray(found)
        page[:12] = PAGE.pack(number, 0, flags, 0, 0)[:12]
        nodes = read_nodes(bytes(page))
        if nodes:
            return bytes(page), nodes
        best = (-1, bytes(page), nodes)
        for bit in ordering_bits(bytes(page)):
            page[bit >> 3] ^= 1 << (bit & 7)
            nodes = read_nodes(bytes(page))
            if nodes:
                score = sum(self._is_good(bytes(page), node) for node in nodes)
                best = max(best, (score, bytes(page), nodes), key=_first)
            page[bit >> 3] ^= 1 << (bit & 7)
        return best[1], best[2]

    def _is_good(self, page: bytes, node: Node) -> bool:
        if page_flags(page) == BRANCH:
            return bool(self._sound_page(node[3])[1])
        return (node[1] == SUBTREE and node[3] == TREE.size) or any(self._proven(page, node))

    # -- rows --

    def _tree_rows(self, tree: Tree) -> Iterator[Row]:
        """Rows of sound leaves as they are, whether or not they are good: recovery tells. Of others what is proven."""
        for page, nodes in self._leaves(tree):
            is_sound = bool(read_nodes(page))
            for node in nodes:
                if tree.name == TABLES[QUARANTINE] and is_sound:
                    self._mark_value(page, node)
                    yield QUARANTINE, node[0], self._value(page, node)
                else:
                    table = TABLES.index(tree.name) if tree.name in TABLES and is_sound else -1
                    yield from self._row(table, page, node)

    def _row(self, table: int, page: bytes, node: Node) -> Iterator[Row]:
        """A row that proves itself, repaired if need be, or that a table is known to have held; none otherwise."""
        self._mark_value(page, node)
        proven = next(self._proven(page, node), None)
        if proven is not None and proven[1] != node[0]:
            if proven[1] != records.TRANSACTION_KEY:  # of the damaged file: a new one has its own
                self.repaired.append(proven)
            return
        if proven is not None:
            yield proven
            return
        key, value = node[0], self._value(page, node)
        if table == SEGMENTS or (table < 0 and len(key) == SEGMENT_KEY_BYTES):
            self._note_damaged(key, self._large_place(page, node) if node[1] & BIG else value)
        elif table >= 0:
            yield QUARANTINE if table == META and key not in META_KEYS else table, key, value

    def _note_damaged(self, key: bytes, value: bytes | tuple[int, int]) -> None:
        with contextlib.suppress(CorruptSegment):
            read_segment_key(key)
            self._losses.append(("", key, "is damaged: it is in quarantine"))
            self._damaged[key] = value
            return
        self._losses.append(("", b"", f"table segments: a row whose key is damaged ({key.hex()}) is in quarantine"))
        self._damaged[key] = value

    def _proven(self, page: bytes, node: Node) -> Iterator[Row]:
        """The row of a node, if key and value prove each other, one flipped bit in the node's head or key aside."""
        key = node[0]
        for value in self._values(page, node):
            # The value knows its key; under another good key it is what a damaged pointer leads to.
            own = own_key(value)
            if value.startswith(SEGMENT) and is_segment(own, value) and (own == key or not is_segment_key(key)):
                yield SEGMENTS, own, value
                return
            table = table_of(key, value)
            if table >= 0:
                yield table, key, value
                return
        mended = records.repair(key, self._value(page, node)) if len(key) in SEALED_KEY_BYTES else None
        if mended is not None:
            value = records.seal(*mended)
            table = table_of(mended[0], value)
            if table >= 0:
                yield table, mended[0], value

    def _values(self, page: bytes, node: Node) -> Iterator[bytes]:
        """What the value may be: as told, then with one bit of its size or place flipped back."""
        key, flags, begin, size = node
        yield self._value(page, node)
        if not flags & BIG:
            yield page[begin : begin + (size ^ 1)]  # nodes begin at even places, so this one bit is not seen
            return
        told = size
        with contextlib.suppress(CorruptSegment):
            size = read_segment_key(key)[4]
        number = self._large_place(page, node)[0]
        if size != told:
            yield self._read_large(number, size)
        for bit in range(PAGE_BITS):
            other = number ^ 1 << bit
            if self._is_in_file(other) and self._marks[other] == UNSEEN and self.pages.large_count(other):
                yield self._read_large(other, size)

    def _value(self, page: bytes, node: Node) -> bytes:
        """As told."""
        _, flags, begin, size = node
        return self._read_large(*self._large_place(page, node)) if flags & BIG else page[begin : begin + size]

    def _read_large(self, number: int, size: int) -> bytes:
        return self.pages.read_bytes(number, size, HEAD_BYTES) if self._is_in_file(number) else b""

    def _large_place(self, page: bytes, node: Node) -> tuple[int, int]:
        _, _, begin, size = node
        return NUMBER.unpack_from(page, begin)[0] if begin + NUMBER.size <= len(page) else 0, size

    def _mark_value(self, page: bytes, node: Node) -> None:
        """Its pages are no strays."""
        if node[1] & BIG:
            self._mark_large(*self._large_place(page, node))

    def _mark_large(self, number: int, size: int) -> None:
        if not self._is_in_file(number):
            return
        count = min(self.pages.large_count(number), self.pages.count_for(size))  # either may be damaged
        end = min(self._count, number + count)
        self._knows_free = self._knows_free and FREE not in self._marks[number:end]
        self._marks[number:end] = REACHED.to_bytes(1, "big") * (end - number)

    # -- pages that nothing leads to --

    def _stray_rows(self) -> Iterator[Row]:
        """Rows on pages that are neither free nor reached: what led to them is damaged."""
        number = self._marks.find(UNSEEN, META_PAGES)
        while 0 <= number < self._end:
            yield from self._stray_segment(number)
            if self._marks[number] == UNSEEN:
                yield from self._stray_leaf(number)
            self._marks[number] = REACHED
            number = self._marks.find(UNSEEN, number)

    def _stray_segment(self, number: int) -> Iterator[Row]:
        key = own_key(self.pages.read_bytes(number, SEGMENT_HEADER_BYTES, HEAD_BYTES))
        with contextlib.suppress(CorruptSegment):
            size = read_segment_key(key)[4]
            value = self.pages.read_bytes(number, size, HEAD_BYTES)
            check_segment(key, value)
            end = min(self._count, number + self.pages.count_for(size))
            self._marks[number:end] = REACHED.to_bytes(1, "big") * (end - number)
            if key not in self._found:
                self._found.add(key)
                yield SEGMENTS, key, value

    def _stray_leaf(self, number: int) -> Iterator[Row]:
        page, nodes = self._sound_page(number)
        if not nodes or page_flags(page) != LEAF:
            return
        for node in nodes:
            for table, key, value in self._row(-1, page, node):
                if table != SEGMENTS or key not in self._found:
                    yield table, key, value
                if table == SEGMENTS:
                    self._found.add(key)


def _place(tree: Tree) -> int:
    return TABLES.index(tree.name) if tree.name in TABLES else len(TABLES)


def _first(candidate: tuple[int, bytes, list[Node]]) -> int:
    return candidate[0]
