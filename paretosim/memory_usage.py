"""How much memory has this process taken?"""

from __future__ import annotations

import resource
import sys


def peak_bytes() -> float:
    """Largest resident memory of this process so far [byte]; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
