"""One connection of the client: its channels, and the barriers on them."""

import contextlib
from typing import Final

from tests.differential.channels import Channel
from tests.support.raw_peer import METHOD, RawPeer, frame, method_payload

PROBE: Final = 99  # the channel for passive declarations
FLOW: Final = method_payload("channel.flow", active=True)


class Connection:
    """One connection of the client, and its channels by number."""

    def __init__(self, host: str, port: int, number: int) -> None:
        self.number = number
        self.address = (host, port)
        self.channels: dict[int, Channel] = {}
        self.barriers: dict[int, int] = {}  # channel -> answers that are due
        self.asked: list[str] | None = None  # queues that were asked for and have not answered; None: no answer is due
        self.is_lost = False
        self.peer = self._connect()

    def _connect(self) -> RawPeer:
        peer = RawPeer(*self.address)
        peer.login()
        peer.open_channel(PROBE)
        return peer

    def send(self, channel: int, *payloads: bytes) -> None:
        """Method frames in one write."""
        self.write(b"".join(frame(METHOD, channel, payload) for payload in payloads))

    def write(self, raw: bytes) -> None:
        if not self.is_lost:
            with contextlib.suppress(OSError):  # the broker may be closing; what it said last is still to be read
                self.peer.send_bytes(raw)

    def open(self, number: int) -> Channel:
        """The channel, opened now if it is not."""
        if number not in self.channels:
            self.channels[number] = Channel()
            self.send(number, method_payload("channel.open"))
            self.barriers[number] = self.barriers.get(number, 0) + 1
        return self.channels[number]

    def bar(self, number: int) -> None:
        """Ask for a sign that all before it was digested."""
        self.send(number, FLOW)
        self.barriers[number] = self.barriers.get(number, 0) + 1

    def reconnect(self) -> None:
        self.peer.abort()
        self.channels.clear()
        self.barriers.clear()
        self.is_lost, self.asked = False, None
        self.peer = self._connect()
