"""The fuzz loop: ``python -m tests.fuzz --inputs 2000000 --seed 1 [--seconds S]``.

Exit status 1 at the first violation, which is shown with a command that reproduces it.
"""

import argparse
import secrets
import sys
import time
from typing import Final

from amqpd.protocols.amqp091 import frames
from tests.fuzz import inputs
from tests.fuzz.run import Runner, Tally, Violation, check_cuts

PROGRESS_S: Final = 5.0


def main() -> int:
    """Run the loop; 0 if nothing was found."""
    options = parse_options()
    seed = options.seed if options.seed is not None else secrets.randbelow(2**32)
    say(f"seed {seed}, amqpd from {frames.__file__}")
    if options.only is not None:
        return one(seed, options.only)
    with Runner() as runner:
        return loop(runner, seed, options)


def parse_options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed amqpd what no client should send.")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many")
    parser.add_argument("--seed", type=int, help="of all chance; the same seed makes the same inputs")
    parser.add_argument("--start", type=int, default=0, help="index of the first input")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after that long")
    parser.add_argument("--only", type=int, metavar="INDEX", help="run this one input and show it")
    return parser.parse_args()


def loop(runner: Runner, seed: int, options: argparse.Namespace) -> int:
    """All inputs, until one finds something."""
    started = shown = time.monotonic()
    for index in range(options.start, options.start + options.inputs):
        try:
            check(runner, seed, index)
        except Violation as error:
            say(f"\nVIOLATION at index {index}: {error}\nreproduce: python -m tests.fuzz --seed {seed} --only {index}")
            summary(runner.tally, time.monotonic() - started, violations=1)
            return 1
        now = time.monotonic()
        if now - shown > PROGRESS_S:
            shown = now
            rate = runner.tally.inputs / (now - started)
            say(f"{runner.tally.inputs} inputs, {rate:.0f}/s, codes {codes(runner.tally)}")
        if now - started > options.seconds:
            break
    summary(runner.tally, time.monotonic() - started, violations=0)
    return 0


def check(runner: Runner, seed: int, index: int) -> None:
    """One input, with all that is asked of it."""
    given = inputs.make(seed, index)
    runner.run(given, f"index {index} ({given.family})")
    if index % 3 == 0:
        check_cuts(given)


def one(seed: int, index: int) -> int:
    """Show an input and let its violation out, traceback and all."""
    given = inputs.make(seed, index)
    say(f"{given}")
    with Runner() as runner:
        say(f"codes {runner.run(given)}")
        check_cuts(given)
    return 0


def summary(tally: Tally, seconds: float, *, violations: int) -> None:
    """The figures of a run."""
    say(f"inputs tried        {tally.inputs} in {seconds:.0f} s")
    for family, count in sorted(tally.families.items()):
        say(f"  {family:<18}{count}")
    say(f"reply codes         {codes(tally)}")
    say(f"slowest input       {tally.slowest_s * 1000:.1f} ms, {tally.slowest}")
    say(f"most bytes held     {tally.held_max}")
    say(f"escaped exceptions and other violations {violations}")


def codes(tally: Tally) -> str:
    """Reply codes with their counts."""
    return " ".join(f"{code}:{count}" for code, count in sorted(tally.codes.items())) or "none"


def say(text: str) -> None:
    """A line, now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
