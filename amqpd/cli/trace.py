"""``amqpd trace``: a listener that hands everything on to a broker, and prints each frame that passes."""

import sys
from typing import Final

import anyio
import anyio.abc

from amqpd.clock import SystemClock
from amqpd.protocols.amqp091.narration import Narrator

EXIT_CANNOT_START: Final = 1
EXIT_USAGE: Final = 2
HERE: Final = "127.0.0.1"


def trace(broker: str, port: int, body_bytes: int) -> int:
    """Listen on ``port`` until Ctrl-C; the process's exit code."""
    host, _, number = broker.rpartition(":")
    if not number.isdecimal() or not 0 < int(number) < 65536 or not 0 <= port < 65536:
        print(f"amqpd: {broker!r} is not allowed: must be a port or HOST:PORT, ports up to 65535", file=sys.stderr)
        return EXIT_USAGE
    try:
        anyio.run(Tracer((host or HERE).strip("[]"), int(number), body_bytes).serve, port)
    except OSError as error:
        print(f"amqpd: cannot listen on {HERE}:{port}: {error.strerror}; --port 0 picks a free port", file=sys.stderr)
        return EXIT_CANNOT_START
    return 0


class Tracer:
    """All connections to one broker, numbered as they come."""

    def __init__(self, host: str, port: int, body_bytes: int) -> None:
        self._host = host
        self._port = port
        self._body_bytes = body_bytes
        self._count = 0
        self._clock = SystemClock()

    async def serve(self, port: int) -> None:
        """Until cancelled. Raises OSError when it cannot listen."""
        async with await anyio.create_tcp_listener(local_host=HERE, local_port=port) as listener:
            where = listener.extra(anyio.abc.SocketAttribute.local_port)
            print(f"amqpd trace: amqp://{HERE}:{where}/ leads to {self._host}:{self._port}", flush=True)
            await listener.serve(self._follow)

    async def _follow(self, client: anyio.abc.SocketStream) -> None:
        self._count += 1
        number = self._count
        async with client:
            try:
                broker = await anyio.connect_tcp(self._host, self._port)
            except OSError as error:
                self._say(number, "-", f"there is no broker at {self._host}:{self._port}: {error}")
                return
            self._say(number, "-", f"from {client.extra(anyio.abc.SocketAttribute.remote_port)}")
            async with broker, anyio.create_task_group() as group:
                group.start_soon(self._hand_on, number, ">", client, broker)
                group.start_soon(self._hand_on, number, "<", broker, client)
        self._say(number, "-", "closed")

    async def _hand_on(
        self, number: int, sign: str, source: anyio.abc.SocketStream, target: anyio.abc.SocketStream
    ) -> None:
        narrator = Narrator(self._body_bytes)
        try:
            async for data in source:
                for line in narrator.tell(data):
                    self._say(number, sign, line)
                await target.send(data)
            await target.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._say(number, sign, "broke off")
            await source.aclose()
            await target.aclose()

    def _say(self, number: int, sign: str, line: str) -> None:
        since_midnight = (self._clock.epoch() + self._clock.now()) % 86_400
        minutes, seconds = divmod(since_midnight, 60)
        print(f"{minutes // 60:02.0f}:{minutes % 60:02.0f}:{seconds:06.3f} {number} {sign} {line}", flush=True)
