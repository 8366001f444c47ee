"""The reactor: sockets to adapters and back, in turns. One read of each ready socket, the broker's turn, one write to
each touched one.

It polls its own poller, whose descriptor the event loop (asyncio or trio, through anyio) waits for: ``server/pump.py``.
So a socket costs no event-loop registration a read, and a turn sees every socket that is ready (docs/decisions/0003).
"""
# HOT. Per turn and socket, not per message.  Bench: tests/bench, scenarios J-B (latency) and I (many connections).
# Limits: RECEIVE_BYTES a read, TURN_BYTES a turn, OUTBOX_STOP_BYTES before a peer that does not read is not read from.

from __future__ import annotations

import heapq
import logging
import select
import socket
from collections import deque
from typing import Final

from mypy_extensions import i64, mypyc_attr

from amqpd import limits
from amqpd.broker.journal import Journal
from amqpd.broker.turn import Turn
from amqpd.protocols.adapter import Adapter, Stage
from amqpd.protocols.outbox import Outbox

logger = logging.getLogger("amqpd.server")

READABLE: Final = 1  # EPOLLIN
WRITABLE: Final = 4  # EPOLLOUT
BROKEN: Final = 24  # EPOLLERR | EPOLLHUP: reported whatever one is interested in
PAUSE_S: Final = 1.0  # of a listener when the process is out of descriptors
LINGER_S: Final = 2.0  # for a peer to read our last words and close


class Link:
    """One socket and the adapter behind it."""

    def __init__(self, sock: socket.socket, key: int, adapter: Adapter, now: float) -> None:
        self.sock = sock
        self.key = key
        self.adapter = adapter
        self.outbox: Outbox = adapter.outbox
        self.unsent: deque[bytes] = deque()  # what the kernel did not take
        self.interest = READABLE
        self.received_at = now
        self.sent_at = now
        self.timer = 0  # the number of its timer that counts; earlier ones are stale
        self.is_queued = False  # in the reactor's `ready`
        self.is_lingering = False  # all is said: only the peer's end of the stream is waited for
        self.is_frozen = False  # neither read nor written, for now
        self.is_closed = False


@mypyc_attr(allow_interpreted_subclasses=True)
class Door:
    """What else the reactor watches: listeners, and the store's wake-up."""

    def on_readable(self) -> None:
        """The descriptor is readable."""


class Reactor:
    """All links of one server."""

    def __init__(self, turn: Turn, stage: Stage, now: float) -> None:
        self.turn = turn
        self.journal: Journal = turn.journal
        self.stage = stage
        self.now = now
        self.poller = select.epoll()
        self.links: dict[int, Link] = {}
        self.doors: dict[int, Door] = {}
        self.timers: list[tuple[float, int, int]] = []  # by key: a link that is gone is not held until its time
        self.timer_count = 0
        self.held_back: set[int] = set()  # publishers that are not read, while there is too much to write
        self.is_holding_back = False
        self.paused: dict[int, Door] = {}  # doors that have no use before something is closed, or PAUSE_S is over
        self.paused_until = 0.0
        self.alarm = ""
        self.ready: deque[Link] = deque()  # readable, in the order in which they are served

    # -- links and doors --

    def watch(self, descriptor: int, door: Door) -> None:
        self.doors[descriptor] = door
        self.poller.register(descriptor, READABLE)

    def unwatch(self, descriptor: int) -> None:
        self.paused.pop(descriptor, None)
        if self.doors.pop(descriptor, None) is not None:
            self.poller.unregister(descriptor)

    def pause(self, descriptor: int, door: Door) -> None:
        """Leave a door alone for a while: it is readable, but nothing can be done about it."""
        self.unwatch(descriptor)
        self.paused[descriptor] = door
        self.paused_until = self.now + PAUSE_S

    def _resume_doors(self) -> None:
        paused = self.paused
        self.paused = {}
        for descriptor, door in paused.items():
            self.watch(descriptor, door)

    def add(self, sock: socket.socket, adapter: Adapter) -> None:
        key = sock.fileno()
        link = Link(sock, key, adapter, self.now)
        self.links[key] = link
        self.poller.register(key, READABLE)
        if self.alarm:
            adapter.set_alarm(self.alarm)
        self.schedule(link, adapter.tick(self.now, self.now, self.now))

    def schedule(self, link: Link, at: float) -> None:
        self.timer_count += 1
        link.timer = self.timer_count
        heapq.heappush(self.timers, (at, self.timer_count, link.key))

    def close(self) -> None:
        """Close every socket, whatever is owed."""
        for link in list(self.links.values()):
            self._close(link)
        self.poller.close()

    # -- a turn --

    def turn_once(self, now: float, patience_s: float = 0.0) -> bool:
        """One turn: read, act, write. False when there was nothing to do, in the next ``patience_s`` either."""
        self.now = now
        events = self.poller.poll(patience_s)
        worked = self.turn.begin(now) or len(events) > 0
        for descriptor, mask in events:
            link = self.links.get(descriptor)
            if link is None:
                door = self.doors.get(descriptor)
                if door is not None:
                    door.on_readable()
            else:
                if mask & WRITABLE:
                    self._flush(link)
                if mask & BROKEN and not link.interest & READABLE:
                    link.adapter.why = link.adapter.why or "the client reset the connection"
                    self._drop(link)
                elif mask & ~WRITABLE and not link.is_queued:
                    link.is_queued = True
                    self.ready.append(link)
        if self.ready:
            self._receive()
        if self.timers and self.timers[0][0] <= now:
            self._tick()
        if self.paused and self.paused_until <= now:
            self._resume_doors()
        return self._finish() or worked

    def _receive(self) -> None:
        """One read of each, while the turn's budget lasts; who is left comes first in the next turn."""
        budget = limits.TURN_BYTES
        ready = self.ready
        while ready and budget > 0:
            link = ready.popleft()
            link.is_queued = False
            if link.is_closed or not link.interest & READABLE:
                continue
            try:
                awaits_much = link.adapter.needed > limits.RECEIVE_LARGE_FROM
                chunk: bytes = link.sock.recv(limits.RECEIVE_LARGE_BYTES if awaits_much else limits.RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                link.adapter.why = link.adapter.why or f"the socket failed: {error.strerror}"
                self._drop(link)
                continue
            if not chunk:
                self._drop(link)
                continue
            budget -= len(chunk)
            link.received_at = self.now
            if not link.is_lingering:
                link.adapter.receive(chunk)
                if self.is_holding_back and self._is_flooding(link.adapter):
                    self.held_back.add(link.key)
                    self._update_interest(link)
                elif self.alarm and link.adapter.is_publisher:
                    self._update_interest(link)  # it has begun to publish: from here on it is not read

    def _is_flooding(self, adapter: Adapter) -> bool:
        """Whether back-pressure falls on it: it adds much to the batch that waits, or there is far too much of that."""
        return adapter.is_publisher and (adapter.backlog_bytes > limits.BATCH_SHARE_BYTES or self.journal.is_swamped())

    def _finish(self) -> bool:
        """Let the broker finish its turn, resume who waited, and write. True when there is more to do at once."""
        more = self.turn.finish()
        resumable = self.stage.resumable
        if resumable:
            self.stage.resumable = []
            for adapter in resumable:
                adapter.resume()
            more = True
        touched = self.stage.touched
        while touched:
            self.stage.touched = []
            for outbox in touched:
                link = self.links.get(outbox.key)
                if link is not None and link.outbox is outbox:
                    self._flush(link)
                else:
                    outbox.take()
            touched = self.stage.touched
        if not self.is_holding_back:
            self.is_holding_back = self.journal.is_overloaded()
        elif self.journal.is_relieved():
            self._let_go()
        return more or len(self.ready) + len(self.turn.dirty) + len(self.stage.resumable) > 0

    def _tick(self) -> None:
        timers = self.timers
        while timers and timers[0][0] <= self.now:
            _, number, key = heapq.heappop(timers)
            link = self.links.get(key)
            if link is None or link.timer != number:
                continue
            if link.is_lingering:
                self._close(link)
                continue
            if not link.interest & READABLE:
                link.received_at = self.now  # nobody is silent who is not listened to
            at = link.adapter.tick(self.now, link.received_at, link.sent_at)
            self.schedule(link, max(at, self.now + 0.01))

    def next_timer(self) -> float:
        """When the next timer is due; far away when there is none."""
        at = self.timers[0][0] if self.timers else self.now + 3600.0
        due = self.turn.next_timer()
        if 0.0 <= due < at:
            at = due
        return min(at, self.paused_until) if self.paused else at

    # -- out --

    def _flush(self, link: Link) -> None:
        """Write what is owed, as far as the kernel takes it."""
        if link.is_frozen:
            if link.adapter.is_abandoned:
                self._drop(link)
            return
        outbox = link.outbox
        unsent = link.unsent
        if outbox.is_touched:
            for piece in outbox.take():
                if piece:
                    unsent.append(piece)
        if link.adapter.wants_tick:
            link.adapter.wants_tick = False
            self.schedule(link, link.adapter.tick(self.now, link.received_at, link.sent_at))
        sent_any = False
        while unsent:
            try:
                if len(unsent) == 1:
                    size: int = link.sock.send(unsent[0])
                else:
                    size = link.sock.sendmsg(list(unsent)[: limits.SEND_PIECES_MAX])
            except BlockingIOError:
                break
            except OSError as error:
                link.adapter.why = link.adapter.why or f"the socket failed: {error.strerror}"
                self._drop(link)
                return
            sent_any = True
            outbox.on_sent(size)
            if not _advance(unsent, size):
                break
        if sent_any:
            link.sent_at = self.now
        if outbox.is_starved and outbox.size < limits.OUTBOX_LOW_BYTES:
            outbox.is_starved = False
            link.adapter.on_outbox_low()
        if link.adapter.is_abandoned:
            self._drop(link)
        elif link.adapter.is_finished and not unsent:
            self._linger(link)
        else:
            self._update_interest(link)

    def _update_interest(self, link: Link) -> None:
        interest = 0
        if link.is_lingering or (
            link.adapter.is_reading
            and link.outbox.size < limits.OUTBOX_STOP_BYTES
            and link.key not in self.held_back
            and not (self.alarm and link.adapter.is_publisher)
        ):
            interest = READABLE
        if link.unsent:
            interest |= WRITABLE
        if link.is_frozen:
            interest = 0
        if interest != link.interest:
            if interest & READABLE and not link.interest & READABLE:
                link.received_at = self.now
            link.interest = interest
            self.poller.modify(link.key, interest)

    def _let_go(self) -> None:
        """The backlog is written: read from everybody again."""
        self.is_holding_back = False
        held = self.held_back
        self.held_back = set()
        for key in held:
            link = self.links.get(key)
            if link is not None:
                self._update_interest(link)

    def set_alarm(self, reason: str) -> None:
        """Publishers are not read while there is a reason, and told so; "" when it is over."""
        if reason != self.alarm:
            self.alarm = reason
            for link in list(self.links.values()):
                link.adapter.set_alarm(reason)
                self._update_interest(link)

    def freeze(self, link: Link) -> None:
        """Neither read nor write it before ``thaw``, as if the network held everything back. What it is owed piles up,
        within the bounds of a peer that does not read."""
        if not link.is_closed:
            link.is_frozen = True
            self._update_interest(link)

    def thaw(self, link: Link) -> None:
        """Read and write it again."""
        if link.is_frozen and not link.is_closed:
            link.is_frozen = False
            self._flush(link)

    # -- the end --

    def _linger(self, link: Link) -> None:
        """Everything is said. Close our half, and wait a little for the peer to close its own, or it might never read
        the rest.

        Who closes by himself gets no end of the stream on top of close-ok: amqp091-go may take it for a fault when it
        sees both at once, and RabbitMQ leaves it to clients, too.
        """
        if link.is_lingering:
            return
        link.is_lingering = True
        if not link.adapter.closes_second:
            try:
                link.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._drop(link)
                return
        link.interest = READABLE
        self.poller.modify(link.key, READABLE)
        self.schedule(link, self.now + LINGER_S)

    def _drop(self, link: Link) -> None:
        """The peer is gone."""
        if not link.is_closed:
            self._close(link)

    def _close(self, link: Link) -> None:
        link.is_closed = True
        del self.links[link.key]
        self.held_back.discard(link.key)
        self.poller.unregister(link.key)
        link.sock.close()
        if self.paused:
            self._resume_doors()
        link.adapter.receive_eof()
        logger.info("%s: left: %s", link.adapter.name, link.adapter.why or "no reason known")


def _advance(unsent: deque[bytes], size: i64) -> bool:
    """Take ``size`` bytes off the front. True when pieces went whole, so that the kernel may take more."""
    while size > 0:
        first: i64 = len(unsent[0])
        if first > size:
            unsent[0] = unsent[0][size:]
            return False
        unsent.popleft()
        size -= first
    return True
