"""Logins: is somebody who he says? Looking at a password is slow on purpose, so it goes out as a request and comes back
as a fact, while messages go on.

Every refusal costs the same: whether there is such a user cannot be told by the clock. A password that was right is
remembered for as long as the user keeps it, so that a thousand reconnections cost what one does.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from amqpd import limits
from amqpd.broker import passwords, tables
from amqpd.broker.ids import Ids
from amqpd.broker.passwords import PasswordHash
from amqpd.broker.users import User, Users

Answer = Callable[[User | None], None]
# What is looked at for who does not exist, or has a fast digest: it fits no password, and takes as long as any.
_NOBODY: Final = PasswordHash(passwords.SCRYPT, f"$scrypt$ln=14,r=8,p=1$bm9ib2R5${'A' * 43}=")


class Check:
    """One password to be looked at: ``run`` does it, in whatever thread."""

    def __init__(self, key: bytes, name: str, kept: PasswordHash, password: bytes) -> None:
        self.key = key
        self.name = name
        self.kept = kept
        self.password = password
        self.is_right = False
        self.answers: list[Answer] = []  # who waits for it

    def run(self) -> None:
        self.is_right = passwords.is_right(self.kept, self.password)


class Checker(ABC):
    """Where checks are run."""

    @abstractmethod
    def begin(self, check: Check) -> None:
        """Have ``check`` run. Returns at once when others do it."""

    @abstractmethod
    def take_done(self) -> list[Check]:
        """Those that have run since the last call."""


class CheckerAtOnce(Checker):
    """Runs a check where it is asked for: for tests, and for brokers without a server."""

    def __init__(self) -> None:
        self._done: list[Check] = []

    def begin(self, check: Check) -> None:
        check.run()
        self._done.append(check)

    def take_done(self) -> list[Check]:
        done = self._done
        self._done = []
        return done


class Logins:
    """All that are being looked at, and what is remembered of those before."""

    def __init__(self, users: Users, ids: Ids) -> None:
        self.users = users
        self.checker: Checker = CheckerAtOnce()
        self._secret = ids.unique().encode()
        self._remembered: set[bytes] = set()
        self._running: dict[bytes, Check] = {}

    def authenticate(self, name: str, password: bytes, answer: Answer) -> None:
        """Have ``answer`` called with the user, or with None: there is no such user, or that is not his password.

        That may be before this returns.
        """
        user = self.users.find(name)
        kept = _NOBODY if user is None else user.password
        if user is not None and self._is_right_at_once(kept, password):
            answer(user)
            return
        key = self._digest(name, kept, password)
        if user is not None and key in self._remembered:
            answer(user)
            return
        check = self._running.get(key)
        if check is not None:
            check.answers.append(answer)
            return
        check = Check(key, name, kept if kept.is_slow else _NOBODY, password)
        check.answers.append(answer)
        self._running[key] = check
        self.checker.begin(check)
        self.collect()

    def collect(self) -> None:
        """Hand on the answers of what has run. Who was changed or deleted meanwhile is refused."""
        for check in self.checker.take_done():
            del self._running[check.key]
            user = self.users.find(check.name)
            if user is None or user.password != check.kept or not check.is_right:
                user = None
            else:
                self._remember(check.key)
            for answer in check.answers:
                answer(user)

    def _is_right_at_once(self, kept: PasswordHash, password: bytes) -> bool:
        return not kept.is_slow and passwords.is_right(kept, password)

    def _remember(self, key: bytes) -> None:
        if len(self._remembered) >= limits.PASSWORDS_REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered.add(key)

    def _digest(self, name: str, kept: PasswordHash, password: bytes) -> bytes:
        """What is remembered instead of a password. The hash is part of it, so a changed user is not remembered."""
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in (tables.bytes_of(name), kept.text.encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
        digest.update(password)
        return digest.digest()
