"""Verbs about the broker itself: how it is, and how it is configured."""

import os
import platform
from collections.abc import Callable, Mapping
from typing import Any, Final

from amqpd import __version__
from amqpd.management.node import Node
from amqpd.management.requests import Done, Listing, Refused, Request, Result
from amqpd.server import resources


def status(node: Node, request: Request) -> Done:
    """What an operator looks at first. Sizes in bytes, times in seconds."""
    server, broker = node.server, node.broker
    queues = [queue for vhost in broker.vhosts.values() for queue in vhost.queues.values()]
    facts: dict[str, Any] = {
        "amqpd_version": __version__,
        "python_version": platform.python_version(),
        "os_pid": os.getpid(),
        "uptime_s": int(server.clock.now() - server.started_at),
        "data_dir": "" if node.settings["durability"] == "memory" else str(node.settings["data_dir"]),
        "durability": node.settings["durability"],
        "listeners": [_address(listener.sock.getsockname()) for listener in server.listeners],
        "alarms": server.alarms.reason(),
        "memory_used_bytes": resources.used_memory_bytes(),
        "connections": len(broker.connections),
        "queues": len(queues),
        "messages_ready": sum(queue.ready_count for queue in queues),
        "messages_unacknowledged": sum(queue.unacked_count for queue in queues),
        "vhosts": len(broker.vhosts),
        "users": len(broker.users.all()),
    }
    if facts["data_dir"]:
        facts["disk_free_bytes"] = resources.free_disk_bytes(facts["data_dir"])
    return Done(facts)


def environment(node: Node, request: Request) -> Listing:
    """The settings that are in force."""
    return Listing(["setting", "value"], ([name, _plain(value)] for name, value in sorted(node.settings.items())))


def set_vm_memory_high_watermark(node: Node, request: Request) -> Done:
    """Another share of the memory there is above which publishers wait, until the broker is restarted."""
    share = request.number("fraction", 0.0, 1.0)
    limit_bytes = int(resources.memory_bytes() * share)
    if not node.server.set_limit("memory", limit_bytes, f"{share:g} of the memory there is, as amqpd ctl has set it"):
        raise Refused("memory is not watched: start the broker with memory_high_watermark above 0")
    return Done()


def _address(name: tuple[Any, ...]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) else str(value)


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "status": status,
    "environment": environment,
    "set_vm_memory_high_watermark": set_vm_memory_high_watermark,
}
