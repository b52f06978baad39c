"""Large tensors lie in large pages wherever this package is imported first, unless the environment says otherwise."""

import os
import subprocess
import sys

import pytest

ADVISED = """
import instructue, torch
tensor = torch.ones(16 << 20)
start, advised = tensor.data_ptr(), None
for line in open("/proc/self/smaps"):
    first, *rest = line.split()
    if "-" in first and not first.endswith(":"):
        low, high = (int(end, 16) for end in first.split("-"))
        here = low <= start < high
    elif first == "VmFlags:" and here:
        advised = "hg" in rest
print(advised)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say how they hold memory")
@pytest.mark.parametrize(("said", "advised"), [(None, "True"), ("0", "False")])
def test_the_kernel_is_asked_for_large_pages(said, advised):
    environment = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"}
    environment |= {"THP_MEM_ALLOC_ENABLE": said} if said else {}
    done = subprocess.run([sys.executable, "-c", ADVISED], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == advised
