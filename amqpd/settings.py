"""The settings of a broker: read once, at start, from flags, environment variables and a TOML file.

Owns every setting's name, default, allowed values, and the order of the sources: a flag beats a variable, a variable
beats the file, the file beats the default. Knows no command line library and nothing of what the settings configure;
``app.py`` is the last module that sees them. Described for operators in ``docs/configuration.md``.
"""

import importlib
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

VARIABLE_PREFIX: Final = "AMQPD_"
CONFIG_VARIABLE: Final = "AMQPD_CONFIG"

FRAME_MAX_FLOOR_BYTES: Final = 4096  # AMQP 0-9-1, 4.2.3: every peer must accept frames up to frame-min-size
FRAME_MAX_CEILING_BYTES: Final = 131072 * 8  # a larger frame would let one channel hold up the others of a connection
MESSAGE_SIZE_CEILING_BYTES: Final = 512 * 1024 * 1024  # the most that RabbitMQ lets an operator allow
VALUE_SHOWN_MAX_CHARS: Final = 60  # an error is one line


class SettingsError(ValueError):
    """A setting that cannot be used: one line with its source, its name, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that can be configured, always valid: ``RULES`` below hold for every instance."""

    host: str = "127.0.0.1"
    port: int = 5672
    data_dir: Path = Path("amqpd-data")
    durability: Literal["fsync", "write", "memory"] = "fsync"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    max_connections: int = 10000
    heartbeat_s: int = 60
    channel_max: int = 2047
    frame_max_bytes: int = 131072
    max_message_size_bytes: int = 134217728
    handshake_timeout_s: float = 10.0
    queue_window_bytes: int = 8 * 1024 * 1024
    memory_high_watermark: float = 0.6  # as RabbitMQ 4
    disk_free_limit_bytes: int = 50_000_000  # as RabbitMQ
    consumer_timeout_s: float = 0.0
    consumer_timeout_closes_channel: bool = False
    backend: Literal["asyncio", "trio"] = "asyncio"
    auth_mechanisms: str = "AMQPLAIN,PLAIN"
    loopback_users: str = "guest"
    anonymous_login_user: str = ""  # "" is nobody
    definitions: str = ""  # "" is no file
    control_socket: str = ""  # "" is the usual place

    def __post_init__(self) -> None:
        for field in fields(self):
            _checked(field.name, field.name, getattr(self, field.name))

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to listen on, one by one, IPv6 without brackets."""
        return tuple(_split_hosts(self.host))


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str], config_file: Path | None) -> Settings:
    """Settings from all sources; ``SettingsError`` names the first that is wrong, even one that another overrides.

    ``flags`` maps setting names to text or to ready values; None means the flag was not given. ``config_file`` beats
    the file that ``AMQPD_CONFIG`` names.
    """
    from_flags = _read_flags(flags)
    from_environ = _read_environ(environ)
    path = config_file or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    from_file = _read_file(path) if path else {}
    return Settings(**_merge(from_file, from_environ, from_flags))


def load_process_settings(flags: Mapping[str, object], config_file: Path | None = None) -> Settings:
    """``load_settings`` with the variables of this process: the only place that reads them."""
    return load_settings(flags, os.environ, config_file)


def variable_name(name: str) -> str:
    """The environment variable of a setting."""
    return VARIABLE_PREFIX + name.upper()


def flag_name(name: str) -> str:
    """How a setting is written on the command line, for those whose rule has ``flag``."""
    return "--" + name.replace("_", "-")


def default_text(name: str) -> str:
    """A setting's default as one would write it in a variable."""
    return _DEFAULT_TEXTS[name]


# Rules: what a setting may be.


class Rule(NamedTuple):
    """What one setting is for, what it may be, and how it is read."""

    summary: str
    allowed: str  # completes "... must be "
    check: Callable[[object], object]  # a value of TOML's type -> the value to use; ValueError if it is not allowed
    parse: Callable[[str], object] = str  # the text of a flag or variable -> what TOML would have given
    flag: bool = False  # whether `amqpd serve` has an option for it


def _whole(lowest: int, highest: int, summary: str, *, flag: bool = False) -> Rule:
    def check(value: object) -> int:
        if type(value) is not int or not lowest <= value <= highest:  # a bool is an int, but not a number
            raise ValueError
        return value

    return Rule(summary, f"a whole number from {lowest} to {highest}", check, _parse_whole, flag)


def _number(lowest: float, highest: float, summary: str) -> Rule:
    def check(value: object) -> float:
        if type(value) not in (int, float) or not lowest <= (number := float(str(value))) <= highest:
            raise ValueError
        return number

    return Rule(summary, f"a number from {lowest:g} to {highest:g}", check, float)


def _choice(names: tuple[str, ...], summary: str) -> Rule:
    def check(value: object) -> object:
        if value not in names:
            raise ValueError
        return value

    return Rule(summary, f"one of {', '.join(names)}", check, str.lower, flag=True)


def _parse_whole(text: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit()):  # int() would also take "1_0", " 1" and other scripts
        raise ValueError
    return int(text)


def _parse_switch(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}[
        text.lower()
    ]


def _check_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _check_path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError
    return Path(value).expanduser()  # RuntimeError: "~name" of nobody


def _check_optional_path(value: object) -> str:
    return "" if value == "" else str(_check_path(value))


def _check_mechanisms(value: object) -> str:
    names = [name.upper() for name in _check_names(value).split(",")]
    if not set(names) <= {"PLAIN", "AMQPLAIN", "EXTERNAL", "ANONYMOUS"}:
        raise ValueError
    return ",".join(names)


def _check_name(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError
    return value


def _check_names(value: object) -> str:
    """Names separated by commas, each once; none is fine."""
    return ",".join(dict.fromkeys(name.strip() for name in _check_name(value).split(",") if name.strip()))


def _check_hosts(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    hosts = list(_split_hosts(value))
    for host in hosts:
        if ":" in host:
            ipaddress.IPv6Address(host)  # also catches host:port
        elif not host or not all(letter.isalnum() or letter in ".-_" for letter in host):
            raise ValueError
    return ",".join(hosts)


def _split_hosts(text: str) -> Iterable[str]:
    """Each host once, in order, as sockets want it."""
    hosts = (host.strip() for host in text.split(","))
    return dict.fromkeys(host[1:-1] if host.startswith("[") and host.endswith("]") else host for host in hosts)


RULES: Final[Mapping[str, Rule]] = {
    "host": Rule(
        "Address to listen on; several are separated by commas. 0.0.0.0 is every IPv4 address, :: every IPv6 one.",
        "IP addresses or host names separated by commas, without ports",
        _check_hosts,
        flag=True,
    ),
    "port": _whole(0, 65535, "TCP port to listen on; 0 picks a free one.", flag=True),
    "data_dir": Rule(
        "Directory that holds durable queues and messages; made if it is missing.",
        "the path of a directory",
        _check_path,
        flag=True,
    ),
    "durability": _choice(
        ("fsync", "write", "memory"),
        "What a confirm promises: it survives a power cut, a killed broker, or nothing.",
    ),
    "memory": Rule(
        "Short for durability = memory: nothing is written to disk, all is lost at exit.",
        "true or false",
        _check_switch,
        _parse_switch,
        flag=True,
    ),
    "log_level": _choice(("debug", "info", "warning", "error"), "The least severe events to log."),
    "log_format": _choice(("text", "json"), "How events are written to stderr: text for people, json for programs."),
    "max_connections": _whole(1, 1_000_000, "Connections served at a time; further ones are refused.", flag=True),
    "heartbeat_s": _whole(0, 65535, "Seconds between heartbeats proposed to clients; 0 proposes none."),
    "channel_max": _whole(1, 65535, "Channels a connection may have open."),
    "frame_max_bytes": _whole(
        FRAME_MAX_FLOOR_BYTES, FRAME_MAX_CEILING_BYTES, "Largest frame proposed to clients, in bytes."
    ),
    "max_message_size_bytes": _whole(1, MESSAGE_SIZE_CEILING_BYTES, "Largest message body taken, in bytes."),
    "handshake_timeout_s": _number(0.01, 3600, "Seconds a client has to log in before it is disconnected."),
    "queue_window_bytes": _whole(
        4096, 2**40, "Bytes of durable messages each queue keeps in memory; the rest is read back from disk."
    ),
    "memory_high_watermark": _number(
        0, 1, "Share of the memory there is above which publishers wait; 0 for no such alarm."
    ),
    "disk_free_limit_bytes": _whole(
        0, 2**60, "Bytes free on the disk of data_dir below which publishers wait; 0 for no such alarm."
    ),
    "consumer_timeout_s": _number(
        0, 1_000_000, "Seconds a consumer may hold a delivery unsettled before it is cancelled; 0 for ever."
    ),
    "consumer_timeout_closes_channel": Rule(
        "Close the channel of a consumer that is too late, as RabbitMQ does, instead of cancelling it.",
        "true or false",
        _check_switch,
        _parse_switch,
    ),
    "backend": _choice(("asyncio", "trio"), "Event loop to run on."),
    "auth_mechanisms": Rule(
        "SASL mechanisms that clients may log in with, separated by commas.",
        "some of PLAIN, AMQPLAIN, EXTERNAL, ANONYMOUS, separated by commas",
        _check_mechanisms,
    ),
    "loopback_users": Rule(
        "Users who may come from this machine only, separated by commas; none for nobody.",
        "names separated by commas, or none",
        _check_names,
    ),
    "anonymous_login_user": Rule(
        "User that the mechanism ANONYMOUS logs in as; nobody unless it is said.",
        "the name of a user",
        _check_name,
    ),
    "definitions": Rule(
        "File of definitions to take at start, as amqpd ctl or RabbitMQ exports them.",
        "the path of a file",
        _check_optional_path,
        flag=True,
    ),
    "control_socket": Rule(
        "Socket that amqpd ctl talks to; control.sock in data_dir unless it is said, and none with --memory.",
        "the path of a socket",
        _check_optional_path,
        flag=True,
    ),
}

_DEFAULT_TEXTS: Final = {field.name: str(field.default) for field in fields(Settings)} | {"memory": "false"}

# Variables with our prefix that are no settings: the configuration file's path, the build's, and those of the tests.
_OTHER_VARIABLES: Final = (CONFIG_VARIABLE, "AMQPD_PURE")
_TEST_VARIABLE_PREFIX: Final = "AMQPD_TEST_"


# Sources.


def _merge(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """What they say together, the strongest last. ``memory`` is another way to speak of ``durability``: true is
    memory, and false takes back what a weaker source said so, in either way."""
    merged: dict[str, Any] = {}
    on_disk, in_memory = default_text("durability"), False
    for values in sources:
        merged |= values
        if "durability" in values:
            in_memory = values["durability"] == "memory"
            on_disk = on_disk if in_memory else values["durability"]
        in_memory = values.get("memory", in_memory)
    merged.pop("memory", None)
    return {**merged, "durability": "memory" if in_memory else on_disk}


def _consistent(values: dict[str, Any], source_of: Callable[[str], str]) -> dict[str, Any]:
    """``values`` of one source, if it does not say two things about ``durability``."""
    memory, durability = values.get("memory"), values.get("durability")
    if None not in (memory, durability) and memory != (durability == "memory"):
        said = f"{source_of('durability')}: {_shown(durability)}"
        raise SettingsError(f"{said} contradicts {source_of('memory')}: {str(memory).lower()}; leave one of them out")
    return values


def _read_flags(flags: Mapping[str, object]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in flags.items():
        if name not in RULES:
            raise SettingsError(f"{flag_name(name)}: unknown flag; {_nearest(flag_name(name), map(flag_name, RULES))}")
        if value is not None:
            values[name] = _checked(flag_name(name), name, value, is_text=isinstance(value, str))
    return _consistent(values, flag_name)


def _read_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {variable_name(name): name for name in RULES}
    values: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith(VARIABLE_PREFIX) or variable.startswith(_TEST_VARIABLE_PREFIX):
            continue
        if _is_service_link(variable, value):
            continue
        if variable in names and value:  # an empty variable is an unset one, as containers pass them
            values[names[variable]] = _checked(variable, names[variable], value, is_text=True)
        elif variable not in names and variable not in _OTHER_VARIABLES:
            raise SettingsError(f"{variable}: unknown variable; {_nearest(variable, (*names, *_OTHER_VARIABLES))}")
    return _consistent(values, variable_name)


def _is_service_link(variable: str, value: str) -> bool:
    """Kubernetes describes a service named amqpd in these variables to every container, us among them."""
    return "_SERVICE_" in variable or ("_PORT" in variable and (value.startswith("tcp://") or "_TCP" in variable))


def _read_file(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in _load_toml(path).items():
        if name not in RULES:
            raise SettingsError(f"{path}: {name}: unknown setting; {_nearest(name, RULES)}")
        values[name] = _checked(f"{path}: {name}", name, value)
    return _consistent(values, lambda name: f"{path}: {name}")


def _load_toml(path: Path) -> dict[str, object]:
    tomllib = importlib.import_module("tomllib")  # 2.5 ms that only a start with a file pays
    try:
        table: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: configuration file cannot be read: {error.strerror}") from error
    except ValueError as error:  # of TOML or of UTF-8
        raise SettingsError(f"{path}: configuration file is not TOML: {error}") from error
    return table


def _checked(source: str, name: str, value: object, *, is_text: bool = False) -> object:
    rule = RULES[name]
    try:
        return rule.check(rule.parse(value) if is_text and isinstance(value, str) else value)
    except (ValueError, LookupError, RuntimeError):
        raise SettingsError(f"{source}: {_shown(value)} is not allowed: must be {rule.allowed}") from None


def _shown(value: object) -> str:
    text = repr(str(value) if isinstance(value, Path) else value)
    return text if len(text) <= VALUE_SHOWN_MAX_CHARS else text[: VALUE_SHOWN_MAX_CHARS - 3] + "..."


def _nearest(wrong: str, right: Iterable[str]) -> str:
    difflib = importlib.import_module("difflib")  # 1.5 ms that only a mistake pays
    known = list(right)
    nearest: list[str] = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
