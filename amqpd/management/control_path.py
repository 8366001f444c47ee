"""Where the control socket of a broker is, and how one gets there: an address of a Unix socket has room for 107 bytes.

Light, because ``amqpd ctl`` loads it and nothing else of the broker.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "control.sock"
ADDRESS_MAX_BYTES: Final = 107  # unix(7): sun_path, with its final zero, has 108


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """The address of the socket at ``path``, good while the context lasts. Raises OSError: there is no such directory.

    A path that is too long is gone a shorter way, through a descriptor of its directory.
    """
    if len(os.fsencode(path)) <= ADDRESS_MAX_BYTES:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
