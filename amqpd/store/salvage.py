"""From a damaged data file to a sound one that holds every row that proves itself."""

from pathlib import Path
from typing import Final

SALVAGING: Final = "store-salvaging"  # beside the store; what a crash left of it may be removed


class UnreadableStore(Exception):
    """Nothing can be read from the data file: one line that says which, and what to do."""


def rebuild(directory: Path, problems: list[str]) -> None:
    """Put a sound store in the damaged one's place. Raises UnreadableStore, OSError, lmdb.Error."""
    raise UnreadableStore(f"{directory / 'store' / 'data.mdb'} is damaged: {problems[0]}")
