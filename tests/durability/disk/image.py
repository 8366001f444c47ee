"""The directory that a disk may hold after the power was cut: one of very many that a history allows."""

import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path
from random import Random
from typing import Final

from tests.durability.disk.fate import PAGE, Fate, Outcome, Tail
from tests.durability.disk.history import Directory, File, History, Naming, Tree

NAMES_KEPT: Final = (0.0, 0.5, 0.9)
NOISE: Final = Random(0).randbytes(PAGE)  # what is where nothing was written, if not zeros


class Disk:
    """The images of one history. ``directory`` takes the files as they are without what is uncertain.

    ``is_strict``: a name is certain only when its directory was synced, as POSIX has it. Otherwise names are kept in
    the order of a journal, which any sync writes out, as ext4 and XFS do. ``immaterial``: names of files whose contents
    do not make an image another one.
    """

    def __init__(
        self, history: History, directory: Path, *, is_strict: bool = True, immaterial: Collection[str] = ()
    ) -> None:
        self.history = history
        self.directory = directory
        self.is_strict = is_strict
        self.immaterial = immaterial
        self._settled: dict[File, Path] = {}

    def image(self, target: Path, fate: Fate, chance: Random) -> bytes:
        """Make ``target``, which is not there yet. What is returned is the same for the same image, whatever is in
        files that are mapped or immaterial."""
        tree = self._names(fate, chance)
        digest = hashlib.blake2b()
        target.mkdir(parents=True)
        for path, node in sorted(tree.nodes.items(), key=lambda item: item[0]):
            if path not in self.immaterial:
                digest.update(b"\0" + path.encode() + b"\0")
            if isinstance(node, Directory):
                (target / path).mkdir(exist_ok=True)
            elif node.is_mapped:
                _write_mapped(node, target / path, chance)
            else:
                written = self._write(node, target / path, fate, chance)
                digest.update(b"" if path in self.immaterial else written)
        return digest.digest()

    # -- names --

    def _names(self, fate: Fate, chance: Random) -> Tree:
        tree = self.history.base.copy()
        for naming in self._surviving(fate, chance):
            parents = {naming.path.rpartition("/")[0], naming.old.rpartition("/")[0]}
            if parents <= tree.nodes.keys() and (not naming.old or naming.old in tree.nodes):
                tree.apply(naming)
        return tree

    def _surviving(self, fate: Fate, chance: Random) -> list[Naming]:
        namings = self.history.namings
        if fate == Fate.KEPT:
            return namings
        share = 0.0 if fate in (Fate.LOST, Fate.LAST) else chance.choice(NAMES_KEPT)
        if self.is_strict:
            return [naming for naming in namings if naming.is_certain or chance.random() < share]
        certain = sum(naming.when < self.history.synced for naming in namings)
        return namings[: certain + int((len(namings) - certain + 1) * share)]

    # -- contents --

    def _write(self, file: File, path: Path, fate: Fate, chance: Random) -> bytes:
        """Its digest, apart from what is certain."""
        tail = self._tail(file)
        outcome = tail.outcome(fate, chance)
        is_noise = fate in (Fate.TORN, Fate.ONE_LOST) and chance.random() < 0.5
        noise = NOISE if is_noise and outcome.size > tail.size else b""
        shutil.copyfile(self._settle(file), path)
        with path.open("r+b", buffering=0) as out:
            if noise:
                out.seek(tail.size)
                out.write(noise * -(-(outcome.size - tail.size) // PAGE))
            for piece in outcome.pieces:
                if piece.data:
                    out.seek(piece.at)
                    out.write(piece.data)
                else:
                    out.truncate(piece.at)
            out.truncate(outcome.size)
        return _digest(outcome, noise)

    def _tail(self, file: File) -> Tail:
        changes = file.changes[file.first_uncertain() :]
        certain = [index for index, change in enumerate(changes) if file.is_certain(change)]
        return Tail(self._settle(file).stat().st_size, changes, certain)

    def _settle(self, file: File) -> Path:
        """The file with everything that is certain and has nothing uncertain ahead of it."""
        if file not in self._settled:
            path = self.directory / f"settled-{len(self._settled)}"
            self.directory.mkdir(parents=True, exist_ok=True)
            if file.base is None:
                path.touch()
            else:
                shutil.copyfile(file.base, path)
            with path.open("r+b", buffering=0) as out:
                for change in file.changes[: file.first_uncertain()]:
                    if change.size is not None:
                        out.truncate(change.size_after(path.stat().st_size))
                    elif change.data:
                        out.seek(change.at)
                        out.write(change.data)
            self._settled[file] = path
        return self._settled[file]


def _write_mapped(file: File, path: Path, chance: Random) -> None:
    """Nobody saw what was written to it."""
    size = file.base.stat().st_size if file.base is not None else 0
    for change in file.changes:
        size = change.size_after(size)
    path.write_bytes(chance.choice((bytes(size), chance.randbytes(size), b"")))


def _digest(outcome: Outcome, noise: bytes) -> bytes:
    digest = hashlib.blake2b(b"%d" % outcome.size + noise)
    for piece in outcome.pieces:
        digest.update(b"%d:%d:" % (piece.at, len(piece.data)))
        digest.update(piece.data)
    return digest.digest()
