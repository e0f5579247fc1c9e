"""Names of processes by which others on the same machine can tell whether they still run."""

import os
from functools import cache
from pathlib import Path

_FIELDS = 5


def this_process() -> str:
    """The name of this process, which no other one ever has: machine, boot, world of process numbers, number, start."""
    return " ".join((*_place(), str(os.getpid()), _started(os.getpid())))


def has_ended(name: str) -> bool:
    """Whether a process has ended; False if that cannot be told, as for those of other machines and containers."""
    return _can_be_told(name) and not _runs(name.split(" "))


def may_run_elsewhere(name: str) -> bool:
    """Whether a process may run where it cannot be seen from here."""
    return not _can_be_told(name)


def _can_be_told(name: str) -> bool:
    fields, (machine, boot, namespace) = name.split(" "), _place()
    if len(fields) != _FIELDS or not boot or fields[0] != machine:
        return False
    return fields[1] != boot or fields[2] == namespace


def _runs(fields: list[str]) -> bool:
    return fields[1] == _place()[1] and fields[3].isdigit() and _started(int(fields[3])) == fields[4]


@cache
def _place() -> tuple[str, str, str]:
    """Names of this machine, of this run of it, and of this world of process numbers; "" where nothing tells."""
    machine = os.uname().nodename.replace(" ", "-")
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return machine, boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return machine, "", ""


def _started(pid: int) -> str:
    """When a process was started, in the kernel's count; "" if there is none, or none that still runs."""
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else facts[18]
