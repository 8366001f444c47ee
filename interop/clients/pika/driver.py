"""pika: its adapters, each through the scenarios. Called with an adapter and a scenario."""

import asyncio
import sys
from importlib import import_module

import pika

from interop.clients.stagehand import play

STYLES = {
    "blocking": "blocking",
    "select": "callbacks",
    "asyncio": "callbacks",
    "tornado": "callbacks",
    "twisted": "deferreds",
}

if __name__ == "__main__":
    scenarios = vars(import_module(f"interop.clients.pika.{STYLES[sys.argv[1]]}"))
    play(scenarios, pika.__version__, scenarios.get("run", asyncio.run))
