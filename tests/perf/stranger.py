"""A server that is no broker, or a broken one: it says what a test has it say to the first who connects."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stranger(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """Its port."""

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            behave(peer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
    assert not thread.is_alive()
