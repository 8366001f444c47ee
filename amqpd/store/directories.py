"""What is done to directories: making their entries last, and removing those that a crash left."""

import importlib
import os
from pathlib import Path
from typing import Final

NEW_STORE: Final = "store-new"  # while the first start makes it
SALVAGING: Final = "store-salvaging"  # a sound store while it is made of a damaged one; beside it


def sync(*directories: Path) -> None:
    """A new file is there after a power cut only when the directory that names it was synced."""
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(directory: Path) -> None:
    """With all that is in it, if it is there."""
    if directory.exists():
        shutil = importlib.import_module("shutil")  # 2 ms that only a start after a crash pays
        shutil.rmtree(directory, ignore_errors=True)
