"""Bytes owed to one peer, in order: small ones copied into one growing buffer, large contents kept by reference."""
# HOT. Five writes a delivery. BytesWriter is mypyc's own: a write is a memcpy without an object (docs/decisions/0001).
# Bench: tests/bench, scenarios A and F-64K.

from __future__ import annotations

from typing import TYPE_CHECKING

from librt.strings import BytesWriter, write_i64_be
from mypy_extensions import i64

from amqpd import limits

if TYPE_CHECKING:
    from amqpd.protocols.adapter import Stage


class Outbox:
    """``size`` counts every byte that the kernel has not taken yet, also those that the server holds back for it."""

    def __init__(self, stage: Stage, key: int) -> None:
        self.stage = stage
        self.key = key  # the server's name for the connection
        self.writer = BytesWriter()
        self.pieces: list[bytes] = []
        self.size: i64 = 0
        self.is_touched = False
        self.is_starved = False  # a consumer lost its credit because of `size`

    def touch(self) -> None:
        if not self.is_touched:
            self.is_touched = True
            self.stage.touched.append(self)

    def write(self, data: bytes) -> None:
        self.writer.write(data)
        self.size += len(data)
        self.touch()

    def write_delivery(self, prefix: bytes, tag: i64, redelivered: bool, address: bytes, content: bytes) -> None:
        """A deliver method and its content frames."""
        w = self.writer
        w.write(prefix)
        write_i64_be(w, tag)
        w.append(1 if redelivered else 0)
        w.write(address)
        size: i64 = len(content)
        self.size += len(prefix) + 9 + len(address) + size
        if size < limits.LARGE_PIECE_BYTES:
            w.write(content)
        else:
            self.pieces.append(w.getvalue())
            self.writer = BytesWriter()
            self.pieces.append(content)
        if not self.is_touched:
            self.is_touched = True
            self.stage.touched.append(self)

    def take(self) -> list[bytes]:
        """Everything owed, handed out once; ``on_sent`` tells what became of it."""
        self.is_touched = False
        pieces = self.pieces
        if pieces:
            self.pieces = []
            if len(self.writer) > 0:
                pieces.append(self.writer.getvalue())
                self.writer = BytesWriter()
            return pieces
        data = self.writer.getvalue()
        if len(data) > 65536:
            self.writer = BytesWriter()
        else:
            self.writer.truncate(0)
        return [data]

    def on_sent(self, size: i64) -> None:
        self.size -= size
