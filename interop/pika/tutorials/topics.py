"""Topics: binding keys are patterns of words; `*` stands for one word, `#` for any number of them, none included."""

from __future__ import annotations

from interop.pika.consumers import BoundConsumers
from interop.pika.program import main

TUTORIAL = BoundConsumers(
    exchange="interop.sensors",
    exchange_type="topic",
    binding_keys={  # keys are <building>.<floor>.<what>
        "fire brigade": ("#.smoke", "*.*.heat"),
        "north caretaker": ("north.#",),
        "ground floor": ("*.0.*", "north.0.smoke"),  # two patterns that match give one delivery
        "exact": ("south.1.heat",),
        "recorder": ("#",),
    },
    messages=(
        ("north.0.smoke", "somebody smokes at the door"),
        ("south.1.heat", "a window in the sun"),
        ("north", "the building reports itself"),
        ("north.1.heat.raw", "four words are not three"),
        ("smoke", "from nowhere"),
        ("south.0.door", "open"),
        ("south..door", "an empty word is a word"),
        ("", "no words"),
    ),
).build_tutorial()

if __name__ == "__main__":
    main(TUTORIAL)
