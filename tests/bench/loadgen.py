"""Builds amqpload and runs it: a process in, its JSON line or its complaint out. Knows no scenarios, no peers."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SOURCE: Final = Path(__file__).with_name("amqpload.c")
GRACE_S: Final = 180.0  # beyond --seconds: K fills 200,000 messages and drains them, which a slow disk may stretch
MESSAGE_MAX_CHARS: Final = 400

Figures = dict[str, Any]  # one JSON line of amqpload; its keys differ from mode to mode


@dataclass(frozen=True, slots=True)
class Outcome:
    """``message`` is empty where all was well; a run that lost messages has figures and a message."""

    figures: Figures
    message: str


def build(directory: Path) -> Path:
    program = directory / "amqpload"
    subprocess.run(["cc", "-O2", "-o", str(program), str(SOURCE)], check=True)
    return program


def run(program: Path, port: int, options: list[str], seconds: float) -> Outcome:
    command = [
        str(program),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--json",
        "--seconds",
        f"{seconds:g}",
        *options,
    ]
    limit_s = seconds + GRACE_S
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return Outcome({}, f"amqpload did not end within {limit_s:.0f} s")
    return parse(done.returncode, done.stdout, done.stderr)


def parse(status: int, stdout: str, stderr: str) -> Outcome:
    """Status 0 is all well, 1 messages lost, duplicated, reordered or not confirmed, 2 the broker failed."""
    lines = stdout.splitlines()
    figures: Figures = json.loads(lines[-1]) if lines and lines[-1].endswith("}") else {}
    if status == 0 and figures:
        return Outcome(figures, "")
    complaint = "; ".join(line.removeprefix("amqpload: ") for line in stderr.splitlines() if line)
    return Outcome(figures, complaint[:MESSAGE_MAX_CHARS] or f"amqpload ended with status {status} and no message")
