"""``python -m tests.bench.page``: all of docs/performance.md, one program after the other, amqpd built once for all.

A program that fails does not keep the others from their turn; the status is the worst of them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import peers
from tests.bench.broker import PeerError
from tests.bench.machine import REPOSITORY
from tests.bench.peers import COMPILED, PURE, RABBITMQ
from tests.bench.programs import BUILT, INTERRUPTED, say

PAGE: Final = REPOSITORY / "docs" / "performance.md"


@dataclass(frozen=True, slots=True)
class Part:
    """A program that writes its part of the page; ``others`` are what it measures beside amqpd, if one may choose."""

    module: str
    minutes: float  # on the machine of the page, with RabbitMQ
    options: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def command(self, page: Path, built: Path, *, rabbitmq: bool) -> list[str]:
        """What to run, with an amqpd that is built already."""
        others = [peer for peer in self.others if rabbitmq or peer != RABBITMQ]
        if self.module == "tests.bench":  # amqpd is a choice there as others are
            chosen = ["--peers", ",".join([COMPILED, *others])]
        else:
            chosen = [word for peer in others for word in ("--peer", peer)]
        return ["-m", self.module, *self.options, *chosen, "--out", str(page), BUILT, str(built)]


PARTS: Final = {
    "scenarios": Part("tests.bench", 13, ("--seconds", "2", "--runs", "2", "--starts", "3"), (PURE, RABBITMQ)),
    "fair": Part("tests.bench.fair", 1.5, (), (RABBITMQ,)),
    "scale": Part("tests.bench.scale", 6, (), (RABBITMQ,)),
    "topology": Part("tests.bench.topology", 2),
    "embedding": Part("tests.bench.embedding", 2, (), (PURE, RABBITMQ)),
    "depth": Part("tests.bench.depth", 5, (), (RABBITMQ,)),
    "restart": Part("tests.bench.restart", 6, (), (RABBITMQ,)),
    "holes": Part("tests.bench.holes", 1),
}


def main() -> int:
    arguments = _arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="amqpd-bench-") as workshop:
            built = arguments.amqpd or _build(Path(workshop))
            return max(_run(name, arguments, built) for name in arguments.only)
    except PeerError as error:
        print(f"tests.bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what was written until now is in the page", file=sys.stderr)
        return INTERRUPTED


def _build(workshop: Path) -> Path:
    say("building amqpd")
    peers.prepare([COMPILED], "", workshop)
    return peers.built_in(workshop)


def _run(name: str, arguments: argparse.Namespace, built: Path) -> int:
    since = time.monotonic()
    part = PARTS[name]
    say(f"\n{name}: about {part.minutes:g} minutes")
    page = arguments.out.resolve()
    if page.is_relative_to(REPOSITORY):  # so that the page says what anyone can type
        page = page.relative_to(REPOSITORY)
    command = part.command(page, built.resolve(), rabbitmq=not arguments.without_rabbitmq)
    status = subprocess.run([sys.executable, *command], cwd=REPOSITORY, check=False).returncode
    say(f"{name}: took {(time.monotonic() - since) / 60:.1f} minutes, status {status}")
    return status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.page", description="All of docs/performance.md.")
    listed = ", ".join(f"{name} ({part.minutes:g} minutes)" for name, part in PARTS.items())
    parser.add_argument("--only", type=_parts, default=[*PARTS], help=f"of {listed}; default: all")
    parser.add_argument("--without-rabbitmq", action="store_true", help="measure amqpd alone: half the time")
    parser.add_argument("--out", type=Path, default=PAGE, help="default: docs/performance.md")
    parser.add_argument(BUILT, type=Path, metavar="DIR", help="a directory that holds a compiled amqpd: build none")
    return parser.parse_args()


def _parts(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in PARTS] or (not names and [text]):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
