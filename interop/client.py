"""A client in clients/: what it needs, how it is set up, and how its driver is started (client.toml)."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).parent / "clients"
SETUP_TIMEOUT_S = 600.0


class NotSetUp(Exception):
    """What is missing, or how setting up failed."""


@dataclass(slots=True)
class Client:
    """``variants`` has at least one; "" is the only one of a client that has none."""

    name: str
    language: str
    here: Path
    run: list[str]
    needs: list[str] = field(default_factory=list)
    debian: list[str] = field(default_factory=list)
    setup: list[list[str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    variants: list[str] = field(default_factory=lambda: [""])
    lacks: dict[str, str] = field(default_factory=dict)
    is_in_ci: bool = False
    cache: Path = Path()

    def set_up(self, cache: Path) -> None:
        """Once for what is to be done and with which files and Python, below ``cache``. Raises NotSetUp."""
        missing = [program for program in self.needs if not shutil.which(program)]
        if missing:
            raise NotSetUp(f"needs {', '.join(missing)} (Debian: {', '.join(self.debian)})")
        self.cache = cache / f"{self.name}-{self._digest()}"
        done = self.cache / ".done"
        if done.exists():
            return
        shutil.rmtree(self.cache, ignore_errors=True)  # what somebody was interrupted at
        self.cache.mkdir(parents=True)
        for command in self.setup:
            self._do(command)
        done.touch()

    def command(self, variant: str, scenario: str) -> list[str]:
        """What to start for one scenario."""
        return [*map(self._filled, self.run), *([variant] if variant else []), scenario]

    def surroundings(self) -> dict[str, str]:
        """The environment of its processes."""
        return os.environ | {name: self._filled(value) for name, value in self.environment.items()}

    def _digest(self) -> str:
        """Another one where setting up would do something else."""
        digest = hashlib.sha256(repr((sys.implementation.cache_tag, self.setup)).encode())
        for word in itertools.chain.from_iterable(self.setup):
            path = Path(self._filled(word))
            if word.startswith("{here}/") and path.is_file():
                digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def _do(self, command: list[str]) -> None:
        words = list(map(self._filled, command))
        try:
            done = subprocess.run(
                words,
                cwd=self.here,
                env=self.surroundings(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=SETUP_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotSetUp(f"{' '.join(words)}: {error}") from error
        if done.returncode:
            last = (done.stdout + done.stderr).strip().splitlines()[-5:]
            raise NotSetUp(f"{' '.join(words)}: exit code {done.returncode}: {' | '.join(last)}")

    def _filled(self, text: str) -> str:
        places = {"{cache}": str(self.cache), "{here}": str(self.here), "{python}": sys.executable}
        for name, value in places.items():
            text = text.replace(name, value)
        return text


def find_clients() -> list[Client]:
    """All clients, those that CI runs first, by name."""
    found = [_read(path) for path in sorted(CLIENTS.glob("*/client.toml"))]
    return sorted(found, key=lambda client: (not client.is_in_ci, client.language, client.name))


def _read(path: Path) -> Client:
    facts: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    facts["is_in_ci"] = facts.pop("ci", False)
    facts["variants"] = facts.pop("variants", None) or [""]
    return Client(here=path.parent, **facts)
