"""Whole frames out of the chunks that a socket gives (AMQP 0-9-1, 2.3.5), for whoever acts on them."""
# HOT. No object a frame: `on_frame` is told where it lies.  Bench: docs/perf.md.

from __future__ import annotations

from abc import abstractmethod

from librt.strings import read_i32_be
from mypy_extensions import i64


class Receiver:
    """What comes in on one connection. ``rest``: of a frame that is not whole yet. ``others``: method frames that are
    not for each message, for whoever asks."""

    def __init__(self) -> None:
        self.rest = b""
        self.others: list[bytes] = []

    def receive(self, chunk: bytes, now: i64) -> None:
        """Whatever the broker sent. Raises as ``on_frame`` does."""
        data = self.rest + chunk if self.rest else chunk
        end: i64 = len(data)
        p: i64 = 0
        while end - p >= 8:
            after: i64 = p + 8 + int(read_i32_be(data, p + 3))
            if after > end:
                break
            self.on_frame(data, p, after, now)
            p = after
        self.rest = data[p:]

    @abstractmethod
    def on_frame(self, data: bytes, p: i64, after: i64, now: i64) -> None:
        """``data[p:after]`` is a whole frame."""
