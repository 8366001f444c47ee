"""The sample project of `interop/embedding` is green: in random order, in four processes, with warnings as errors."""

import re
import subprocess
import sys

import pytest

from interop.brokers import ROOT

SAMPLE = ROOT / "interop" / "embedding"
TIMEOUT_S = 240
COMMAND = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-n", "4", "-p", "no:cacheprovider", "-c"]


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_the_sample_project_is_green() -> None:
    command = [*COMMAND, str(SAMPLE / "pyproject.toml"), "--rootdir", str(SAMPLE), str(SAMPLE)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    passed = re.search(r"^(\d+) passed in ", ended.stdout, re.MULTILINE)
    assert passed, f"nothing else than tests that pass:\n{ended.stdout}"
    assert int(passed[1]) > 70
    assert not ended.stderr
