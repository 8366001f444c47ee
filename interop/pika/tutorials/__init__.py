"""One program a file. `NAMES` is the order in which they are run and reported."""

NAMES = (
    "hello_world",
    "work_queues",
    "publish_subscribe",
    "routing",
    "topics",
    "rpc",
    "publisher_confirms",
)
