"""Commands about the broker itself: how it is, and how it is configured."""

from typing import Annotated, Any, Final

import typer

from amqpd.cli.ctl.command import Ctl, command
from amqpd.cli.sizes import size

_LABELS: Final = {
    "amqpd_version": "amqpd",
    "python_version": "Python",
    "os_pid": "process",
    "uptime_s": "uptime",
    "data_dir": "data directory",
    "durability": "durability",
    "listeners": "listens on",
    "alarms": "alarms",
    "memory_used_bytes": "memory used",
    "disk_free_bytes": "disk free",
    "vhosts": "vhosts",
    "users": "users",
    "connections": "connections",
    "queues": "queues",
    "messages_ready": "messages ready",
    "messages_unacknowledged": "messages unacknowledged",
}


@command
def status(ctl: Ctl) -> None:
    """Show how the broker is.

    Version, uptime, listeners, alarms, and how much there is of everything.
    """
    facts = ctl.call("status")
    width = max(map(len, _LABELS.values()))
    lines = (f"{label:{width}}  {_shown(name, facts[name])}" for name, label in _LABELS.items() if name in facts)
    ctl.say("\n".join(lines), facts)


@command
def environment(ctl: Ctl) -> None:
    """List the settings that are in force.

    Whether they come from a file, variables or flags.
    """
    ctl.list("Settings in force", "environment")


@command
def set_vm_memory_high_watermark(
    ctl: Ctl, fraction: Annotated[float, typer.Argument(help="Share of the memory there is, from 0 to 1.")]
) -> None:
    """Set when memory runs short.

    Publishers wait while more than this share of the memory there is is used. That is until the broker is restarted;
    the setting memory_high_watermark is for good.
    """
    ctl.do(
        f"Setting the memory high watermark to {fraction:g}",
        "set_vm_memory_high_watermark",
        fraction=fraction,
    )


def _shown(name: str, value: Any) -> str:
    if name == "uptime_s":
        days, rest = divmod(value, 86_400)
        clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
        return f"{days} d {clock}" if days else clock
    if name.endswith("_bytes"):
        return size(value)
    if isinstance(value, list):
        return ", ".join(value)
    return str(value) if value != "" else "none"
