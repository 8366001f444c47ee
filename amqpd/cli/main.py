"""The console script ``amqpd``: from the words of the command line to an exit code.

Loads only what the words need, because a broker should be ready before one notices: typer, with the pydantic and rich
it brings, takes longer than the rest of the start together. So ``serve`` and ``testserver`` with plain options, and
``version``, go straight to their modules; everything else, help and usage errors included, is typer's
(``commands.py``). Tests hold the two ways equal.
"""

import gc
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NoReturn

from amqpd.settings import RULES, flag_name

EXIT_BUG: Final = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED: Final = 130  # what shells make of SIGINT

_SERVE_SWITCHES: Final = {"--memory": ("memory", True), "--no-memory": ("memory", False)}
_SERVE_OPTIONS: Final = {
    "--config": "config",
    **{flag_name(name): name for name, rule in RULES.items() if rule.flag and name != "memory"},
}


def main() -> NoReturn:
    """Run the command that this process was started with."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Do as ``words`` say; the process's exit code. Usage errors leave by ``SystemExit``, as typer does it."""
    try:
        return _dispatch(list(words))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception:  # noqa: BLE001  # the edge of the process: whatever comes here is a bug, shown in full
        sys.excepthook(*sys.exc_info())
        return EXIT_BUG


def _dispatch(words: list[str]) -> int:
    if words == ["version"]:
        from amqpd.cli import version

        return version.show()
    if words[:1] == ["serve"] and (flags := read_plain(words[1:])) is not None:
        gc.disable()  # nothing that a start makes is garbage; ``process`` lets it begin once clients can connect
        from amqpd.cli import serve

        return serve.serve(flags)
    if words[:1] == ["testserver"]:
        gc.disable()
        from amqpd.cli import testserver

        if (flags := read_plain(words[1:], testserver.OPTIONS, testserver.SWITCHES)) is not None:
            return testserver.serve(flags)
    from amqpd.cli import commands

    return commands.run(words)


def read_plain(
    words: Iterable[str],
    options: Mapping[str, str] = _SERVE_OPTIONS,
    switches: Mapping[str, tuple[str, bool]] = _SERVE_SWITCHES,
) -> dict[str, object] | None:
    """The flags in the words after a command, or None if any is not a plain ``--name value`` or ``--name=value``.

    ``options`` and ``switches`` are the command's, those of ``serve`` unless they are said: a word to the name of its
    flag, or to the name and the value.
    """
    flags: dict[str, object] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in switches:
            flags.update([switches[word]])
        elif name not in options:
            return None
        elif not equals and (value := next(rest, "-")).startswith("-"):
            return None
        else:
            flags[options[name]] = value
    return flags
