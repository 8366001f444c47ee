"""Seats: each a connection and the producer or consumer that has it; and the poller over all of them."""

import select
import time
from collections.abc import Callable
from typing import Final

from amqpd.perf.consumer import Consumer
from amqpd.perf.link import RECEIVE_BYTES, BrokerError, Link, read_method, refusal
from amqpd.perf.producer import Producer, WrongConfirm
from amqpd.protocols.amqp091 import codec

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
FINE_WAIT_S: Final = 0.05  # shorter waits are exact to the microsecond, longer ones to the millisecond
CLOSE_TIMEOUT_S: Final = 1.0  # for all together

Clock = Callable[[], int]  # nanoseconds since 1970


class Seat:
    """A connection of the load, whose socket does not block any more."""

    def __init__(self, link: Link, worker: Producer | Consumer, poller: select.epoll, buffer: memoryview) -> None:
        self.link = link
        self.worker = worker
        self.unsent = b""  # what the kernel did not take
        self.is_answered = False  # the last question: a barrier, or a cancel
        self.is_ending = False  # a consumer that is to be cancelled
        self.blocked_at = 0  # when the broker began to hold publishers back; 0 while it does not
        self.blocked_ns = 0
        self._poller = poller
        self._buffer = buffer  # for reads; to be used at once
        self._interest = READABLE
        link.socket.setblocking(False)
        poller.register(link.socket, READABLE)

    def send(self, data: bytes) -> None:
        """Now, or when the socket takes it. Raises BrokerError."""
        self.unsent = self.unsent + data if self.unsent else data
        self.flush()

    def flush(self) -> None:
        """Send what is left, as far as the kernel takes it."""
        left = memoryview(self.unsent)
        try:
            while left:
                left = left[self.link.socket.send(left) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self.receive(0)  # what the broker says about it may be there to be read
            raise BrokerError(f"the broker went away: {error.strerror or error}") from error
        self.unsent = bytes(left)
        self.want(self._interest & ~WRITABLE | (WRITABLE if self.unsent else 0))

    def want(self, interest: int) -> None:
        """Which events to be told of."""
        if interest != self._interest:
            self._interest = interest
            self._poller.modify(self.link.socket, interest)

    def read_or_not(self, is_wanted: bool) -> None:
        """A consumer that takes its time leaves messages in the socket."""
        self.want(self._interest | READABLE if is_wanted else self._interest & ~READABLE)

    def receive(self, now: int) -> None:
        """One read, taken in. Raises BrokerError."""
        try:
            size = self.link.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            raise BrokerError(f"the broker went away: {error.strerror or error}") from error
        if not size:
            raise BrokerError("the broker closed the connection without a word")
        self.take(bytes(self._buffer[:size]), now)

    def take(self, chunk: bytes, now: int) -> None:
        """What was received. Raises BrokerError when it is the end."""
        worker = self.worker
        try:
            worker.receive(chunk, now)
        except WrongConfirm as error:
            raise BrokerError(str(error)) from error
        if worker.others:
            frames, worker.others = worker.others, []
            for frame in frames:
                self._on_method(read_method(frame), now)
        if isinstance(worker, Consumer) and (acks := worker.take_output()):
            self.send(acks)

    def _on_method(self, method: codec.Method, now: int) -> None:
        worker = self.worker
        match method.schema.name:
            case "connection.close" | "channel.close":
                raise refusal(method)
            case "connection.blocked" if isinstance(worker, Producer):
                worker.is_blocked = True
                self.blocked_at = now
            case "connection.unblocked" if isinstance(worker, Producer):
                worker.is_blocked = False
                self.blocked_ns += self.take_blocked_ns(now)
            case "basic.cancel" if not self.is_ending:
                raise BrokerError("the broker cancelled a consumer: its queue was deleted, or moved")
            case "basic.cancel" | "basic.cancel-ok" | "basic.qos-ok":
                self.is_answered = True

    def take_blocked_ns(self, now: int) -> int:
        """How long it is held back by now."""
        held_ns = now - self.blocked_at if self.blocked_at else 0
        self.blocked_at = 0
        return held_ns

    def close(self, timeout_s: float) -> None:
        """Say farewell, if the connection is between two frames."""
        if self.unsent:
            self.link.socket.close()
        else:
            self.link.rest = self.worker.rest
            self.link.close(timeout_s)


class Room:
    """All seats of a load."""

    def __init__(self, clock: Clock) -> None:
        self.now = clock
        self.poller = select.epoll()  # first of all, so that `select` can wait for it: below 1024
        # One for all: to get so much memory from the kernel for each read, and give it back, costs more than the read.
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.seats: dict[int, Seat] = {}
        self.producers: list[tuple[Seat, Producer]] = []
        self.consumers: list[tuple[Seat, Consumer]] = []

    def seat(self, link: Link, worker: Producer | Consumer) -> None:
        """Take a connection over, with what was received on it already."""
        seat = Seat(link, worker, self.poller, self._buffer)
        self.seats[link.socket.fileno()] = seat
        if isinstance(worker, Producer):
            self.producers.append((seat, worker))
        else:
            self.consumers.append((seat, worker))
        seat.take(link.rest, self.now())

    def turn(self, wait_s: float) -> None:
        """Wait until something comes, or so long, and take it in. Raises BrokerError."""
        if 0 < wait_s < FINE_WAIT_S:
            if not select.select([self.poller], [], [], wait_s)[0]:
                return
            wait_s = 0
        for descriptor, events in self.poller.poll(max(wait_s, 0)):
            seat = self.seats[descriptor]
            if events & WRITABLE:
                seat.flush()
            if events & ~WRITABLE:
                seat.receive(self.now())

    def close(self) -> None:
        """Close all connections."""
        end = time.monotonic() + CLOSE_TIMEOUT_S
        for seat in self.seats.values():
            seat.close(max(end - time.monotonic(), 0.01))
        self.seats.clear()
        self.poller.close()
