"""A process that does all kinds of things to files: what is recorded of it must lead to what is there.

python -m tests.durability.disk.doer DIRECTORY SEED COUNT
"""

import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

SIZE_MAX: Final = 9000


class Doer:
    """Things that can be done in ``directory``, each with a file chosen at random."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.directory = directory
        self.chance = chance
        self.directories = [directory, directory / "kept"]
        self.directories[1].mkdir(exist_ok=True)
        self.things: list[Callable[[], None]] = [
            *[self.write] * 4, *[self.write_at] * 4, self.write_parts, self.write_parts_at, self.append, self.rewrite,
            self.resize, self.allocate, self.rename, self.remove, self.make_directory, self.remove_directory,
            self.write_through, self.write_on_a_copy, self.sync, self.write_below_a_descriptor,
        ]  # fmt: skip

    def path(self) -> Path:
        return self.chance.choice(self.directories) / self.chance.choice("abcd")

    def data(self) -> bytes:
        return self.chance.randbytes(self.chance.randrange(SIZE_MAX))

    def open(self, flags: int = 0) -> int:
        return os.open(self.path(), os.O_RDWR | os.O_CREAT | flags, 0o600)

    def do(self) -> None:
        self.chance.choice(self.things)()

    def write(self) -> None:
        descriptor = self.open()
        os.lseek(descriptor, self.chance.randrange(SIZE_MAX), os.SEEK_SET)
        os.write(descriptor, self.data())
        os.write(descriptor, self.data())
        os.close(descriptor)

    def write_at(self) -> None:
        descriptor = self.open()
        os.pwrite(descriptor, self.data(), self.chance.randrange(SIZE_MAX))
        os.close(descriptor)

    def write_parts(self) -> None:
        descriptor = self.open()
        os.writev(descriptor, [self.data(), self.data()])
        os.close(descriptor)

    def write_parts_at(self) -> None:
        descriptor = self.open()
        os.pwritev(descriptor, [self.data(), b"", self.data()], self.chance.randrange(SIZE_MAX))
        os.close(descriptor)

    def append(self) -> None:
        with self.path().open("ab", buffering=0) as file:
            file.write(self.data())

    def rewrite(self) -> None:
        self.path().write_bytes(self.data())

    def write_through(self) -> None:
        descriptor = self.open(os.O_DSYNC)
        os.pwrite(descriptor, self.data(), self.chance.randrange(SIZE_MAX))
        os.close(descriptor)

    def write_on_a_copy(self) -> None:
        descriptor = self.open()
        copy = os.dup(descriptor)
        os.close(descriptor)
        os.dup2(copy, 200)
        os.pwrite(200, self.data(), 0)
        os.close(200)
        os.close(copy)

    def write_below_a_descriptor(self) -> None:
        directory = os.open(self.directory / "kept", os.O_RDONLY | os.O_DIRECTORY)
        descriptor = os.open("../kept/./e", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
        os.write(descriptor, self.data())
        os.close(descriptor)
        os.close(directory)

    def resize(self) -> None:
        descriptor = self.open()
        os.ftruncate(descriptor, self.chance.randrange(2 * SIZE_MAX))
        os.close(descriptor)

    def allocate(self) -> None:
        descriptor = self.open()
        os.posix_fallocate(descriptor, self.chance.randrange(SIZE_MAX), 1000)
        os.close(descriptor)

    def sync(self) -> None:
        descriptor = self.open()
        os.fdatasync(descriptor)
        os.close(descriptor)

    def rename(self) -> None:
        path = self.path()
        if path.is_file():
            path.rename(self.path())

    def remove(self) -> None:
        self.path().unlink(missing_ok=True)

    def make_directory(self) -> None:
        made = self.directory / f"d{self.chance.randrange(4)}"
        if made not in self.directories:
            made.mkdir()
            self.directories.append(made)

    def remove_directory(self) -> None:
        if len(self.directories) > 2:
            shutil.rmtree(self.directories.pop())


def main() -> None:
    """The program."""
    chance = random.Random(int(sys.argv[2]))
    directory = Path(sys.argv[1])
    for _ in range(2):  # what is skipped must not show either
        (directory / "scratch").mkdir()
        (directory / "scratch" / "a").write_bytes(b"a")
        shutil.rmtree(directory / "scratch")
    doer = Doer(directory, chance)
    for _ in range(int(sys.argv[3])):
        doer.do()


if __name__ == "__main__":
    main()
