"""A file that says where the broker is: there while it takes connections, and whole whenever it is there."""

import contextlib
import os
from pathlib import Path
from typing import Self


class ReadyFileError(Exception):
    """The file cannot be written there: one line for a person."""


class ReadyFile:
    """Nothing is there from the beginning of a ``with`` to ``publish``, and nothing after it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.{os.getpid()}")
        self._line = ""

    def __enter__(self) -> Self:
        """Remove what an earlier broker has left. Raises ReadyFileError: better now than when the broker runs."""
        try:
            if self._path.exists() and not _is_ready_file(self._path):
                raise ReadyFileError(f"--ready-file {self._path}: it exists, and no broker wrote it; name another")
            self._path.unlink(missing_ok=True)
            self._draft.touch()
        except OSError as error:
            raise ReadyFileError(f"--ready-file {self._path}: {error.strerror}") from error
        return self

    def publish(self, line: str) -> None:
        """Put it there, all at once."""
        self._line = line
        self._draft.write_text(line, encoding="utf-8")
        self._draft.replace(self._path)

    def __exit__(self, *_: object) -> None:
        """Remove it, unless another broker has put its own in its place."""
        with contextlib.suppress(OSError):  # its directory may be gone
            self._draft.unlink(missing_ok=True)
            if self._path.read_text(encoding="utf-8") == self._line:
                self._path.unlink()


def _is_ready_file(path: Path) -> bool:
    """Whether it may be removed: it is one, or empty, as mktemp makes them."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return not text or text.startswith('{"url": "amqp://')
