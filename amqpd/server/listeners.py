"""Listening sockets: IPv4 and IPv6, and what becomes of each connection that arrives."""

import errno
import functools
import ipaddress
import logging
import socket

from amqpd.broker.broker import Broker
from amqpd.protocols.amqp091.connection import Connection
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.protocols.outbox import Outbox
from amqpd.server.reactor import Door, Reactor

logger = logging.getLogger("amqpd.server")

BACKLOG = 1024
ACCEPTS_A_TURN = 64  # so that a storm of connections leaves room for the messages of others


class Listener(Door):
    """One listening socket. Connections beyond ``max_connections`` are closed as they come."""

    def __init__(
        self, sock: socket.socket, reactor: Reactor, broker: Broker, tuning: Tuning, max_connections: int
    ) -> None:
        self.sock = sock
        self.reactor = reactor
        self.broker = broker
        self.tuning = tuning
        self.max_connections = max_connections
        self.is_full = False

    def on_readable(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, peer = self.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    logger.error("connections are not accepted: %s; raise the limit of open files", error.strerror)
                    self.reactor.pause(self.sock.fileno(), self)
                return
            self._welcome(sock, peer)

    def _welcome(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        name = f"{_address(peer)} -> {_address(sock.getsockname())}"
        if len(self.reactor.links) >= self.max_connections:
            if not self.is_full:
                logger.warning("%s: refused: there are %d connections (max_connections)", name, self.max_connections)
            self.is_full = True
            sock.close()
            return
        self.is_full = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        outbox = Outbox(self.reactor.stage, sock.fileno())
        connection = Connection(
            name,
            outbox,
            self.reactor.stage,
            self.broker,
            self.tuning,
            is_loopback=_is_loopback(peer[0]),
            now=self.reactor.now,
        )
        logger.debug("%s: connected", name)
        self.reactor.add(sock, connection)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET:
        name = host.encode() if host.isascii() else host  # a str would load the codec of international names, 2 ms
        family, _, _, _, _ = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _address(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@functools.lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    """Whether the peer is on this machine, an IPv4 address inside an IPv6 one included."""
    address = ipaddress.ip_address(host.split("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
