"""Kills a broker under load again and again, on one data directory, and counts broken promises.

    python -m tests.durability.kill --cycles 100 --seed 1

Every cycle starts the broker (sometimes kills it while it starts), sometimes drains and audits all queues, puts load on
it and ends it at a random moment: nine times of ten with SIGKILL, else with SIGTERM. Exit code 1 when a promise was
broken.
"""
# ruff: noqa: T201 - a program, it prints

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.durability.ledger import ACKED, Ledger, Producer, Reader
from tests.durability.peer import Delivery, LoadPeer
from tests.durability.roles import (
    ConfirmPublisher,
    Declarer,
    FencedConsumer,
    Hoarder,
    Role,
    TransactionConsumer,
    TransactionPublisher,
    TransientPublisher,
    audit_things,
)
from tests.server.serving import NotReady, Served

QUEUES: Final = ("q0", "q1", "q2", "q3", "fences")
UP_TIMEOUT_S: Final = 15.0
END_TIMEOUT_S: Final = 20.0


def producers() -> dict[int, Producer]:
    """Who publishes where."""
    all_of_them = (
        Producer(1, "all", "", ("q0", "q1")),
        Producer(2, "all", "", ("q0", "q1")),
        Producer(3, "route", "a", ("q2",)),
        Producer(4, "route", "b", ("q2", "q3")),
        Producer(5, "all", "", ("q0", "q1"), persistent=False),
        Producer(6, "", "fences", ("fences",)),
        Producer(7, "", "fences", ("fences",)),
        Producer(8, "", "fences", ("fences",)),
    )
    return {producer.number: producer for producer in all_of_them}


class Campaign:
    """All cycles on one data directory."""

    def __init__(self, directory: Path, seed: int, *options: str, environ: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.seed = seed
        self.random = random.Random(seed)
        self.options = options
        self.environ = environ or {}
        self.producers = producers()
        self.ledger = Ledger(list(self.producers.values()), QUEUES)
        self.things: dict[tuple[str, int], str] = {}
        self.runs = 0
        self.clean_stops = 0
        self.kills_at_start = 0

    def run(self, cycles: int, *, drain_every: int = 3, load_s: float = 0.8, is_verbose: bool = False) -> Ledger:
        for cycle in range(1, cycles + 1):
            began = time.monotonic()
            if self.random.random() < 0.15:
                self.kill_at_start()
            is_clean = self.random.random() < 0.1 or cycle == 2
            self.cycle(load_s=load_s, is_drain=cycle % drain_every == 0, is_clean=is_clean)
            if is_verbose:
                counts, broken = self.ledger.counts, sum(self.ledger.violations.values())
                print(
                    f"cycle {cycle}/{cycles}: {time.monotonic() - began:.1f} s, "
                    f"{counts['confirmed']:,} confirmed, {counts['delivered']:,} delivered, {broken} broken promises",
                    flush=True,
                )
        self.cycle(load_s=0.0, is_drain=True, is_clean=True)
        return self.ledger

    # -- one run of the broker --

    def start(self) -> Served:
        self.runs += 1
        return Served(
            self.directory / "log", "--data-dir", str(self.directory / "data"), *self.options, environ=self.environ
        )

    def kill_at_start(self) -> None:
        """It may die anywhere between the first instruction and the first turn."""
        with self.start():
            time.sleep(self.random.uniform(0.0, 0.3))
        self.kills_at_start += 1
        self.ledger.on_restart()

    def cycle(self, *, load_s: float, is_drain: bool, is_clean: bool) -> None:
        with self.start() as broker:
            try:
                broker.wait_ready()
            except NotReady as error:
                self.ledger.violated("start", str(error))
                raise
            address = broker.addresses[0]
            self.declare(address)
            if is_drain:
                self.drain(address)
            roles = self.roles(address) if load_s else []
            for role in roles:
                role.start()
            for role in roles:
                assert role.up.wait(UP_TIMEOUT_S), f"{role.name} does not get going"
            time.sleep(self.random.uniform(0.02, 1.0) * load_s)
            broker.signal(signal.SIGTERM if is_clean else signal.SIGKILL)
            code = broker.wait_exit()
            for role in roles:
                role.join(END_TIMEOUT_S)
                assert not role.is_alive(), f"{role.name} does not end"
                if role.fault is not None:
                    raise AssertionError(f"{role.name} failed (seed {self.seed})") from role.fault
        self.note_end(broker, code, is_clean=is_clean)

    def note_end(self, broker: Served, code: int, *, is_clean: bool) -> None:
        if "Traceback" in broker.log():
            self.ledger.violated("start", f"a traceback in {broker.log_path}")
        if not is_clean:
            self.ledger.on_restart()
            return
        self.clean_stops += 1
        self.ledger.on_clean_restart()
        if code != 0:
            self.ledger.violated("start", f"exit code {code} after SIGTERM\n{broker.log()[-2000:]}")

    def declare(self, address: tuple[str, int]) -> None:
        """What is there already is declared again, as applications do; then the declarer's things are looked for."""
        peer = LoadPeer(*address)
        peer.call("exchange.declare", exchange="all", type="fanout", durable=True)
        peer.call("exchange.declare", exchange="route", type="direct", durable=True)
        for queue in QUEUES:
            peer.call("queue.declare", queue=queue, durable=True)
        for queue in ("q0", "q1"):
            peer.call("queue.bind", queue=queue, exchange="all")
        for queue, key in (("q2", "a"), ("q2", "b"), ("q3", "b")):
            peer.call("queue.bind", queue=queue, exchange="route", routing_key=key)
        audit_things(peer, self.things, self.ledger)
        peer.abort()

    def roles(self, address: tuple[str, int]) -> list[Role]:
        made = self.producers
        places = (address, self.ledger, self.random.random())
        seeds = random.Random(places[2])

        def seed() -> int:
            return seeds.randrange(1 << 30)

        return [
            ConfirmPublisher(made[1], address, self.ledger, seed()),
            ConfirmPublisher(made[2], address, self.ledger, seed()),
            ConfirmPublisher(made[3], address, self.ledger, seed()),
            TransactionPublisher(made[4], address, self.ledger, seed()),
            TransientPublisher(made[5], address, self.ledger, seed()),
            FencedConsumer("q0", made[6], address, self.ledger, seed()),
            Hoarder("q0", address, self.ledger, seed()),
            TransactionConsumer("q1", address, self.ledger, seed()),
            FencedConsumer("q2", made[7], address, self.ledger, seed()),
            FencedConsumer("q2", made[8], address, self.ledger, seed(), nack_share=0.1),
            TransactionConsumer("fences", address, self.ledger, seed()),
            Declarer(self.things, address, self.ledger, seed()),
        ]

    # -- drains --

    def drain(self, address: tuple[str, int]) -> None:
        """Take everything there is, one reader a queue, and settle it in a transaction; then nothing may be missing."""
        for queue in QUEUES:
            self.drain_queue(address, queue)
        self.ledger.audit_drained()

    def drain_queue(self, address: tuple[str, int], queue: str) -> None:
        peer = LoadPeer(*address)
        reader = Reader(queue, is_alone=True)
        said = peer.call("queue.declare", queue=queue, passive=True)[0]["message_count"]
        peer.call("tx.select")
        _, events = peer.call("basic.consume", queue=queue)
        found = 0
        while True:
            for event in events:
                if isinstance(event, Delivery):
                    found += 1
                    name = self.ledger.deliver(reader, event)
                    if name is not None:
                        self.ledger.mark(queue, *name, ACKED)
            if events:
                events = list(peer.read()) if peer.wait(0.02) else []
                continue
            answer, events = peer.call("queue.declare", queue=queue, passive=True)
            if answer["message_count"] == 0 and not events:
                break
        if found != said:
            self.ledger.violated("count is wrong", f"queue {queue} says {said} and has {found}")
        peer.send_method("basic.ack", delivery_tag=0, multiple=True)
        peer.call("tx.commit")
        self.ledger.counts["drained"] += found
        peer.abort()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.durability.kill", description=__doc__)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--load-s", type=float, default=0.8, help="the longest time between load and end")
    parser.add_argument("--drain-every", type=int, default=3, help="cycles between audits of all queues")
    parser.add_argument("--window-bytes", type=int, default=0, help="queue_window_bytes, so that queues page")
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--keep", action="store_true", help="leave the data directory behind")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="amqpd-kill-"))
    environ = {"AMQPD_QUEUE_WINDOW_BYTES": str(options.window_bytes)} if options.window_bytes else {}
    campaign = Campaign(directory, options.seed, "--backend", options.backend, environ=environ)
    print(f"seed {options.seed}, {directory}", flush=True)
    began = time.monotonic()
    try:
        campaign.run(options.cycles, drain_every=options.drain_every, load_s=options.load_s, is_verbose=True)
    finally:
        elapsed = time.monotonic() - began
        print(f"\n{'runs of the broker':<32}{campaign.runs:>12,}")
        print(f"{'... killed while starting':<32}{campaign.kills_at_start:>12,}")
        print(f"{'... stopped with SIGTERM':<32}{campaign.clean_stops:>12,}")
        print(f"{'seconds':<32}{elapsed:>12,.0f}")
        print(campaign.ledger.table())
    if not (options.keep or not campaign.ledger.is_clean):
        shutil.rmtree(directory)
    return 0 if campaign.ledger.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
