"""The pump: the only awaits of the data plane. Runs the reactor's turns, and waits when there is nothing to do."""

import math
from collections.abc import Callable

import anyio
import anyio.lowlevel

from amqpd import limits
from amqpd.clock import Clock
from amqpd.server.reactor import Reactor

OnTurn = Callable[[bool], None]


def nobody(worked: bool) -> None:
    """Who looks on, mostly."""


async def pump(reactor: Reactor, clock: Clock, patience_s: float, on_turn: OnTurn = nobody) -> None:
    """Run turns until cancelled. Raises StoreFailed when the store cannot keep its promise any more.

    Before it gives the event loop the word, it waits ``patience_s`` for a socket by itself: the next frame of a busy
    connection is there sooner than the event loop can be asked for it. 0 where others share the loop
    (docs/decisions/0003). ``on_turn`` is called after turns, with whether there may be more to do at once.
    """
    async with anyio.create_task_group() as group:
        alarm_clock = _AlarmClock(reactor, clock, on_turn)
        group.start_soon(alarm_clock.run)
        while True:
            started_at = now = clock.now()
            while reactor.turn_once(now) or (patience_s and reactor.turn_once(clock.now(), patience_s)):
                on_turn(True)
                now = clock.now()
                if now - started_at > limits.TURNS_BEFORE_YIELD_S:
                    await anyio.lowlevel.checkpoint()
                    started_at = now
            on_turn(False)
            alarm_clock.set(reactor.next_timer())
            await anyio.wait_readable(reactor.poller.fileno())


class _AlarmClock:
    """Runs a turn when a timer is due and no socket is ready: cheaper than a timeout around every wait."""

    def __init__(self, reactor: Reactor, clock: Clock, on_turn: OnTurn) -> None:
        self._reactor = reactor
        self._clock = clock
        self._on_turn = on_turn
        self._at = math.inf
        self._changed = anyio.Event()

    def set(self, at: float) -> None:
        if at < self._at:
            self._at = at
            self._changed.set()

    async def run(self) -> None:
        while True:
            self._changed = anyio.Event()
            with anyio.move_on_after(self._at - self._clock.now()):
                await self._changed.wait()
                continue
            while self._reactor.turn_once(self._clock.now()):
                self._on_turn(True)
                await anyio.lowlevel.checkpoint()
            self._on_turn(False)
            self._at = self._reactor.next_timer()
