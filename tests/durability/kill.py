"""Kills a broker under load again and again, on one data directory, and counts broken promises.

    python -m tests.durability.kill --cycles 100 --seed 1

The laboratory (``lab.py``) with this one fault. Exit code 1 when a promise was broken.
"""

import sys

from tests.durability.lab import main

if __name__ == "__main__":
    sys.exit(main(["--fault", "kill", *sys.argv[1:]]))
