"""The command line that all tutorial programs share, and the check that they leave nothing behind."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import time

import pika

from interop.pika.asynchronous import LOOPS, Stage
from interop.pika.scenario import Transcript, Tutorial

DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/%2F"
ADAPTERS = ("blocking", *LOOPS)
STUCK_AFTER_S = 20.0  # then all threads' stacks are printed and the program ends
GONE_WITHIN_S = 5.0  # a broker may delete exclusive queues just after it let the connection go
NOT_FOUND = 404


def main(tutorial: Tutorial) -> None:
    """Run one tutorial as the command line says and print what its parties saw."""
    parser = argparse.ArgumentParser(description=tutorial.blocking.__module__)
    parser.add_argument("--url", default=DEFAULT_URL, help="the broker (default: %(default)s)")
    parser.add_argument("--adapter", choices=ADAPTERS, default=ADAPTERS[0], help="(default: %(default)s)")
    arguments = parser.parse_args()
    logging.getLogger("pika").setLevel(logging.ERROR)  # the audit provokes not-found warnings
    faulthandler.dump_traceback_later(STUCK_AFTER_S, exit=True)
    for line in run(tutorial, arguments.adapter, arguments.url):
        print(line)
    faulthandler.cancel_dump_traceback_later()


def run(tutorial: Tutorial, adapter: str, url: str) -> list[str]:
    """Play the scenario; the lines it printed, once nothing of it is left on the broker."""
    transcript = Transcript(tutorial.parties)
    _clear(tutorial, url)
    if adapter in LOOPS:
        Stage(LOOPS[adapter](), url, transcript).run(tutorial.asynchronous)
    else:
        tutorial.blocking(url, transcript)
    _audit(tutorial, transcript, url)
    return transcript.take_lines()


def _clear(tutorial: Tutorial, url: str) -> None:
    """Remove what an earlier run may have left when it failed; deleting what is not there is no error."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for name in tutorial.queues:
            channel.queue_delete(name)
        for name in tutorial.exchanges:
            channel.exchange_delete(name)


def _audit(tutorial: Tutorial, transcript: Transcript, url: str) -> None:
    """Every queue and exchange of the scenario must be gone, soon."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        for queue in (*tutorial.queues, *transcript.temporary_queues):
            _expect_gone(connection, "queue_declare", queue)
        for exchange in tutorial.exchanges:
            _expect_gone(connection, "exchange_declare", exchange)


def _expect_gone(connection: pika.BlockingConnection, declare: str, name: str) -> None:
    give_up_at = time.monotonic() + GONE_WITHIN_S
    while True:
        channel = connection.channel()
        try:
            getattr(channel, declare)(name, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code == NOT_FOUND:
                return
            answer = f"{error.reply_code} {error.reply_text}"
        else:
            answer = "it exists"
            channel.close()
        if time.monotonic() > give_up_at:
            raise AssertionError(f"{name!r} was left over: {answer}")
        time.sleep(0.05)
