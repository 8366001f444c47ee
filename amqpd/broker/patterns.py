"""Regular expressions that operators write, asked about names that anybody may choose: in permissions and policies.

RabbitMQ's: PCRE over the bytes of the name, found anywhere in it unless the pattern says ``^`` and ``$``. None can hang
the broker: what a pattern may grow to when it is compiled is bounded, and so is the time it may take with a name.
"""

import logging
import re
import warnings
from typing import TYPE_CHECKING, Final

from amqpd import limits
from amqpd.broker import tables

if TYPE_CHECKING:
    import regex

logger = logging.getLogger("amqpd.patterns")

# A character as patterns know it (an escape, a class), or a count.
_TOKEN: Final = rb"\\[gkpPN]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d+)(?:,\d*)?\}|."


class InvalidPattern(ValueError):
    """No regular expression, or one that is too large."""


class Pattern:
    """One regular expression, and what it answered."""

    def __init__(self, text: str) -> None:
        """Raises InvalidPattern."""
        self.text = text
        # The pattern that nearly every permission has says yes without the machinery, which takes 50 ms to import.
        self._compiled = None if text == ".*" else _compile(text)
        self._answers: dict[str, bool] = {}
        self._timeouts = 0

    def matches(self, name: str) -> bool:
        """Whether the pattern is found in ``name``."""
        if self._compiled is None:
            return True
        answer = self._answers.get(name)
        if answer is None:
            answer = self._search(self._compiled, name)
            if len(self._answers) >= limits.PATTERN_ANSWERS_MAX:
                self._answers.clear()
            self._answers[name] = answer
        return answer

    def _search(self, compiled: "regex.Pattern[bytes]", name: str) -> bool:
        if self._timeouts >= limits.PATTERN_TIMEOUTS_MAX:
            return False
        try:
            return compiled.search(tables.bytes_of(name), timeout=limits.PATTERN_TIME_S) is not None
        except (TimeoutError, MemoryError):
            self._timeouts += 1
            if self._timeouts == 1:
                words = "pattern %r takes too long with the name %r: it does not match that"
                logger.warning(words, self.text, name)
            elif self._timeouts == limits.PATTERN_TIMEOUTS_MAX:
                logger.error("pattern %r takes too long with %d names: it is given up", self.text, self._timeouts)
            return False


def _compile(text: str) -> "regex.Pattern[bytes]":
    import regex

    try:
        pattern = tables.bytes_of(text)
    except UnicodeEncodeError as error:
        raise InvalidPattern(f"invalid pattern {text!r}: no Unicode text") from error
    if len(pattern) > limits.PATTERN_MAX_BYTES:
        raise InvalidPattern(f"a pattern of {len(pattern)} bytes is longer than {limits.PATTERN_MAX_BYTES}")
    _check_size(text, pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what another mode would make of it
            return regex.compile(pattern, regex.VERSION0)
    except (regex.error, RecursionError, OverflowError) as error:
        raise InvalidPattern(f"invalid pattern {text!r}: {error}") from error


def _check_size(text: str, pattern: bytes) -> None:
    """Refuse what compiling would blow up: exact repetitions are written out, and inside one another they multiply."""
    sizes = [0]  # of the groups that are open
    last = 0  # of what a count that follows repeats
    for token in re.finditer(_TOKEN, pattern, re.DOTALL):
        if token[1] is not None:
            more = last * max(int(token[1]), 1) - last
            sizes[-1] += more
            last += more
        elif token[0] == b"{":  # PCRE takes it as it is, the package as a count or worse
            raise InvalidPattern(f"invalid pattern {text!r}: a '{{' that begins no count needs a backslash")
        elif token[0] == b"(":
            sizes.append(0)
        elif token[0] == b")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        else:
            last = 1
            sizes[-1] += 1
        if len(sizes) > limits.PATTERN_DEPTH_MAX or sizes[-1] > limits.PATTERN_SIZE_MAX:
            raise InvalidPattern(f"invalid pattern {text!r}: too large")
