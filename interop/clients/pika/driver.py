"""pika: its adapters, each through the scenarios. Called with an adapter and a scenario."""

import sys

import pika

from interop.clients.pika import blocking
from interop.clients.stagehand import play

if __name__ == "__main__":
    adapter = sys.argv[1]
    play(vars(blocking), pika.__version__)
