"""The share of a CPU that Lambda gives by memory size, as the quota of a control group (Linux)."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

GROUPS = Path("/sys/fs/cgroup")

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MEGABYTES_OF_ONE_CPU = 1_769

# Linux's default, 100 ms, would let most of a request run before its quota is used up.
PERIOD_MICROSECONDS = 20_000


def share(megabytes: int) -> float:
    """Return the part of a CPU that a function of this memory size has."""
    return megabytes / MEGABYTES_OF_ONE_CPU


@contextmanager
def cpu_share(megabytes: int) -> Iterator[Path | None]:
    """Make a control group whose processes together have this share of a CPU.

    Yields:
        Its folder, or None where this process may not make one.
    """
    quota = round(share(megabytes) * PERIOD_MICROSECONDS)
    if (GROUPS / "cgroup.controllers").exists():  # version 2
        parent = GROUPS
        limits = {"cpu.max": f"{quota} {PERIOD_MICROSECONDS}"}
    else:
        parent = GROUPS / "cpu"
        limits = {"cpu.cfs_period_us": str(PERIOD_MICROSECONDS), "cpu.cfs_quota_us": str(quota)}
    try:
        group = Path(mkdtemp(prefix="todo-api-bench-", dir=parent))
    except OSError:
        yield None
        return
    try:
        for file, value in limits.items():
            (group / file).write_text(value)
    except OSError:
        group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        with suppress(OSError):  # a process is left in it
            group.rmdir()
