"""Freed memory is kept: the second large array costs the system no fresh pages."""

import platform
import subprocess
import sys

import pytest

_COUNT = """
import resource, sys
import numpy as np
from sfhflow.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library can be told")
def test_repeated_large_arrays_fault_once_and_not_each_time():
    def faults(how):
        run = subprocess.run([sys.executable, "-c", _COUNT, how], check=True, capture_output=True, text=True)
        return int(run.stdout)

    # with small pages 10 arrays of 64 MB are 156,000 faults, with huge ones some hundred
    assert faults("keep") < 0.1 * faults("default")
