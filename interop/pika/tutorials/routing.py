"""Routing: a direct exchange hands a message to the queues whose binding key is exactly its routing key."""

from __future__ import annotations

from interop.pika.consumers import BoundConsumers
from interop.pika.program import main

TUTORIAL = BoundConsumers(
    exchange="interop.parcels",
    exchange_type="direct",
    binding_keys={
        "north van": ("oslo", "tromso"),
        "south van": ("rome",),
        "night shift": ("oslo", "rome", "rome"),  # bound twice with one key is bound once
    },
    messages=(
        ("oslo", "a kettle"),
        ("rome", "two chairs"),
        ("paris", "nobody drives there"),
        ("Oslo", "keys are case sensitive"),
        ("tromso", "a lamp"),
        ("", "no address at all"),
        ("oslo", "a lid for the kettle"),
    ),
).build_tutorial()

if __name__ == "__main__":
    main(TUTORIAL)
