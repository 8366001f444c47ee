"""Files of definitions: as a broker reads one when it starts."""

import json
from pathlib import Path
from typing import Any

from amqpd.broker.broker import Broker
from amqpd.management.definitions.adoption import adopt
from amqpd.management.definitions.plan import InvalidDefinitions, read


def load(broker: Broker, path: Path) -> None:
    """Have ``broker`` take all of a file, before it serves anybody. Raises InvalidDefinitions."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDefinitions([f"it cannot be read: {error}"]) from error
    for _ in adopt(broker, read(parse(text))):
        pass  # the steps are for a broker that serves


def parse(text: str) -> Any:
    """A file's JSON. Raises InvalidDefinitions."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidDefinitions([f"the file is not JSON: {error}"]) from error
