"""``amqpd serve``: run a broker until it is told to stop.

Turns flags into settings, hands them to ``amqpd.process`` and turns what goes wrong into one line and an exit code.
Knows nothing of how flags are written (``commands.py``), nor of what a broker is made of.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from amqpd import logs, process
from amqpd.app import StartError
from amqpd.settings import SettingsError, load_process_settings

EXIT_CANNOT_START: Final = 1
EXIT_USAGE: Final = 2


def serve(flags: Mapping[str, object]) -> int:
    """Run a broker with ``flags`` by setting name, plus ``config``; the process's exit code."""
    config = flags.get("config")
    try:
        settings = load_process_settings(
            {name: value for name, value in flags.items() if name != "config"},
            None if config is None else Path(str(config)),
        )
    except SettingsError as error:
        print(f"amqpd: {error}", file=sys.stderr)
        return EXIT_USAGE
    logs.configure(settings.log_level, settings.log_format)
    try:
        return process.run(settings)
    except StartError as error:
        print(f"amqpd: {error}", file=sys.stderr)
        return EXIT_CANNOT_START
