"""What every measuring script shares. Standard library only: it also runs in the peers' environments."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence


def cpu_us(work: Callable[[], object], count: int) -> float:
    """CPU microseconds (user + system) per item of one `work()` that does `count` items."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e6 / count


def wall_us(durations_s: Sequence[float]) -> float:
    """The median of single durations."""
    ordered = sorted(durations_s)
    return ordered[len(ordered) // 2] * 1e6


def rss_kib() -> int:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def current_rss_kib() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize() // 1024


def answer(figures: Mapping[str, object]) -> None:
    json.dump(figures, sys.stdout)
    print()
