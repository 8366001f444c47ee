"""The standard's error conditions, by name.

A broker or protocol module raises one of these; only ``protocols/amqp091/connection.py`` turns it into a
``channel.close`` or ``connection.close``. Reply codes: AMQP 0-9-1, section 1.2 of the reference (constants);
texts: RabbitMQ's, which client test suites compare.
"""

from typing import ClassVar


class AmqpError(Exception):
    """A fault of a peer: what it asked for cannot be done.

    ``text`` is the reply text without the condition's name; ``reply_text`` is what goes on the wire.
    ``class_id`` and ``method_id`` name the culprit; 0, 0 until the connection fills them in.
    """

    reply_code: ClassVar[int] = 541
    condition: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, text: str = "", *, class_id: int = 0, method_id: int = 0) -> None:
        super().__init__(text)
        self.text = text
        self.class_id = class_id
        self.method_id = method_id

    @property
    def reply_text(self) -> str:
        """``CONDITION - text``, as RabbitMQ words it."""
        return f"{self.condition} - {self.text}" if self.text else self.condition


class ChannelException(AmqpError):
    """A soft error: closes the channel and only it."""


class ConnectionException(AmqpError):
    """A hard error: closes the connection."""


class AccessRefused(ChannelException):
    reply_code, condition = 403, "ACCESS_REFUSED"


class NotFound(ChannelException):
    reply_code, condition = 404, "NOT_FOUND"


class ResourceLocked(ChannelException):
    reply_code, condition = 405, "RESOURCE_LOCKED"


class PreconditionFailed(ChannelException):
    reply_code, condition = 406, "PRECONDITION_FAILED"


class ConnectionForced(ConnectionException):
    reply_code, condition = 320, "CONNECTION_FORCED"


class LoginRefused(ConnectionException):
    """403 as a hard error: who logs in is not let in."""

    reply_code, condition = 403, "ACCESS_REFUSED"


class FrameError(ConnectionException):
    reply_code, condition = 501, "FRAME_ERROR"


class SyntaxFault(ConnectionException):
    """502: a frame that is well formed holds arguments that are not."""

    reply_code, condition = 502, "SYNTAX_ERROR"


class CommandInvalid(ConnectionException):
    reply_code, condition = 503, "COMMAND_INVALID"


class ChannelError(ConnectionException):
    reply_code, condition = 504, "CHANNEL_ERROR"


class UnexpectedFrame(ConnectionException):
    reply_code, condition = 505, "UNEXPECTED_FRAME"


class ResourceError(ConnectionException):
    reply_code, condition = 506, "RESOURCE_ERROR"


class NotAllowed(ConnectionException):
    reply_code, condition = 530, "NOT_ALLOWED"


class NotImplementedByBroker(ConnectionException):
    reply_code, condition = 540, "NOT_IMPLEMENTED"


class InternalError(ConnectionException):
    reply_code, condition = 541, "INTERNAL_ERROR"
