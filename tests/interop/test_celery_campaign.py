"""The campaign that `python -m interop.celery_campaign` is, cut short: fewer tasks, fewer kills."""

import re
import subprocess
import sys

import pytest

from interop.brokers import ROOT

TIMEOUT_S = 120


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_every_task_is_done_although_the_worker_is_killed() -> None:
    words = ["--tasks", "200", "--kills", "2", "--concurrency", "2"]
    command = [sys.executable, "-m", "interop.celery_campaign", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert "200 tasks, worker killed 2 times: 200 done, 0 missing" in summary
    (redelivered,) = re.findall(r"(\d+) redelivered", summary)
    assert int(redelivered) > 0, "the kills met nobody at work"
