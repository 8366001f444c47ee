"""What goes wrong in a test that looks at a broker, waits for it, or has stopped it."""


class NotRunning(RuntimeError):
    """The broker was not started, or has ended."""


class WaitTimeout(TimeoutError):
    """What was waited for did not come. The text says what that was, and how the broker stood."""


class NoSuchQueue(LookupError):
    """There is no queue of that name. The text names those that there are."""
