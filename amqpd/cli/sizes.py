"""Sizes as a person reads them."""

from typing import Final

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


def size(count: int) -> str:
    """Bytes, with exponents of 1024."""
    amount, unit = float(count), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount /= 1024
        unit += 1
    return f"{count:,} bytes" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"
