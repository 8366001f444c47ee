"""Publish/subscribe: a fanout exchange copies every message to each bound queue, whatever the keys say."""

from __future__ import annotations

from interop.pika.consumers import BoundConsumers
from interop.pika.program import main

TUTORIAL = BoundConsumers(
    exchange="interop.news",
    exchange_type="fanout",
    binding_keys={"printer": (), "archive": ("ignored.by.fanout",), "ticker": ()},
    messages=(("", "the harbour opens"), ("weather", "rain by noon"), ("sport", "nobody won")),
).build_tutorial()

if __name__ == "__main__":
    main(TUTORIAL)
