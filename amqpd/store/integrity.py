"""Whether a data file is sound as LMDB's, by its bytes: LMDB may map it only then."""

from pathlib import Path


def check(data_file: Path, newest: int = 0) -> list[str]:
    """What is wrong with the file, a line each; nothing when it is sound, missing or empty."""
    return []
