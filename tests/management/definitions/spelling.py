"""Definitions as facts: RabbitMQ's tools, of all its versions, and amqpd spell some of them differently."""

import json
from typing import Any, Final

# They say who wrote the file. Of the rest, all has to be as it was.
WRITERS: Final = {"rabbit_version", "rabbitmq_version", "product_name", "product_version"}


def normal(definitions: dict[str, Any]) -> dict[str, list[str]]:
    """The facts of a file, where its writers agree on them but not on their spelling."""
    sections = {name: section for name, section in definitions.items() if name not in WRITERS}
    return {
        name: sorted(json.dumps(_spelt(name, fact), sort_keys=True) for fact in section)
        for name, section in sections.items()
    }


def _spelt(section: str, fact: dict[str, Any]) -> dict[str, Any]:
    """As RabbitMQ's HTTP API spells it; rabbitmqctl 3.10 writes some objects as lists of pairs, and the HTTP API says
    of virtual hosts only what is set, of queues no type, of exchanges whether they are internal."""
    match section:
        case "vhosts":
            metadata = fact.get("metadata", {})
            tags = metadata.get("tags", [])
            metadata = {**metadata, "tags": tags.split(",") if isinstance(tags, str) and tags else list(tags)}
            return {**fact, "limits": _object(fact.get("limits", {})), "metadata": metadata}
        case "parameters" if fact["component"] == "operator_policy":
            value = fact["value"]
            return {**fact, "value": {**value, "definition": _object(value["definition"])}}
        case "queues":
            return {name: value for name, value in fact.items() if name != "type"}
        case "exchanges":
            return {"internal": False, **fact}
    return fact


def _object(value: Any) -> Any:
    return dict(value) if isinstance(value, list) else value
