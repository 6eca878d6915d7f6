"""Keep freed memory for the next batch.

By default the GNU C library gives arrays above 128 kB back to the operating system when they are freed, and the
next batch asks for them again, each page cleared by the system.  Inference makes and frees the same large arrays
without end, and clearing pages can cost as much as computing.  A process that does little else had better keep
them (`man 3 mallopt`).  What it holds is its peak, as before, but also between the peaks.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

__all__ = ["keep_freed_memory"]

# names of `mallopt`, and "never"
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = -1


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Tell this process to keep the memory that it frees.

    Returns
    -------
    bool
        Whether that could be done: not with other C libraries than GNU's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # no arrays in mappings of their own, and no return of what is free at the end of the heap
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _NEVER))
