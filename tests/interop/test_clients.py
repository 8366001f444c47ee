"""Every Python client goes through every scenario, against the source as it lies here. Sets clients up from PyPI.

Many processes for minutes, most of which wait: others that are tested at the same time go first.
"""

import subprocess
import sys

import pytest

from amqpd.broker import journal
from interop.brokers import ROOT

TIMEOUT_S = 600
CLEAN_UP_S = 60


@pytest.mark.skipif(not str(journal.__file__).endswith(".py"), reason="once is enough: on the source")
@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + CLEAN_UP_S)
def test_python_clients() -> None:
    command = ["nice", "-n", "5", sys.executable, "-m", "interop.run", "--ci"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            said, _ = run.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            run.terminate()  # leaves time to end drivers and brokers
            said, _ = run.communicate(timeout=CLEAN_UP_S)
    assert run.returncode == 0, said
