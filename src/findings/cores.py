"""How many processor cores this process may really use, and which processes train together."""

from __future__ import annotations

import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def available() -> int:
    """The cores of the process's affinity, at most those of its control group (a container's limit):
    more threads than that only get in each other's way."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, quota(CPU_MAX) or cores))


def quota(path: Path) -> int | None:
    """The whole cores that a control group's `cpu.max` ("quota period", microseconds) allows; None
    without a limit or without such a file."""
    try:
        allowed, period = path.read_text(encoding="ascii").split()
        return None if allowed == "max" else max(1, int(allowed) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None


def processes() -> int:
    """How many processes train together: torchrun says so."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number among those that train together; 0 is the one that tracks, tells and stores."""
    return int(os.environ.get("RANK", "0"))
