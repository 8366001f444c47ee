"""The states of a connection, in the order in which it goes through them (AMQP 0-9-1, 2.2.4)."""
# HOT. Compiled so that comparisons are with constants.

from typing import Final

HEADER: Final = 0  # the protocol header is due
STARTING: Final = 1  # start-ok is due
TUNING: Final = 2  # tune-ok is due
OPENING: Final = 3  # open is due
RUNNING: Final = 4
CLOSING: Final = 5  # we sent connection.close: only its ok counts
CLOSED: Final = 6
STATE_NAMES: Final = ("header", "starting", "tuning", "opening", "running", "closing", "closed")
