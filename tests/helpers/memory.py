"""A test that may not take more memory than it says."""

import resource
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory(size):
    """Beyond so many more bytes of address space than now there is a MemoryError within."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
