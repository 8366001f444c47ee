"""The faults that the laboratory knows: each a module with one class, found by name."""

import importlib
from typing import Final

from tests.durability.faults.base import Fault

PLACES: Final = {
    "kill": ("kill", "Kill"),
    "fail-point": ("fail_points", "FailPoints"),
    "power-cut": ("power_cut", "PowerCut"),
    "flip": ("flip", "Flip"),
    "truncate": ("truncate", "Truncate"),
    "full-disk": ("full_disk", "FullDisk"),
    "io-error": ("io_error", "IoError"),
}


def make_fault(name: str) -> Fault:
    """The fault of this name. Raises KeyError, and ImportError where its module is missing."""
    module, kind = PLACES[name]
    fault: Fault = getattr(importlib.import_module(f"tests.durability.faults.{module}"), kind)()
    assert fault.name == name
    return fault
