"""Names that operators give, in JSON, which knows more texts than the wire: whether clients could say them."""

from amqpd import limits
from amqpd.broker import tables


def fault_of(name: str) -> str:
    """Why no client could say ``name``; "" when one can."""
    try:
        size = len(tables.bytes_of(name))
    except UnicodeEncodeError:
        return "is no Unicode text"
    return f"is longer than {limits.SHORTSTR_MAX_BYTES} bytes" if size > limits.SHORTSTR_MAX_BYTES else ""
