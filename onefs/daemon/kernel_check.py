"""What `onefs doctor` says of the kernel: passthrough, kept listings and read-ahead, and why one is not active."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefs.daemon.bundle import said_by
from onefs.fuse.kernel import ACTIVE
from onefs.fuse.mounting import Health, Mount, health
from onefs.fuse.tuning import READ_AHEAD_KIB
from onefs.settings import Settings

_FIRST_WITH_PASSTHROUGH, _FIRST_WITH_KEPT_LISTINGS = (6, 9), (4, 20)
_CAP_SYS_ADMIN = 21
_WHOLE_MAP = f"0 0 {(1 << 32) - 1}"
"""The user ids of a process that is in no user namespace."""
_NOT_ROOT = "only a daemon that runs as root, outside a user namespace and without run_as, may have it"


def of_mount(mount: Mount) -> str:
    """How the kernel serves a mount, as the mount says it; "" if it says nothing to this user."""
    facts = _facts(mount)
    if not facts:
        return ""
    protocol = f", FUSE {facts['protocol']}" if facts.get("protocol") else ""
    words = [f"{mount.mountpoint}: {facts['adapter']}{protocol}."]
    words.append(f"Passthrough is {_state(facts['passthrough'])}.")
    words.append(f"Kept listings are {_state(facts['kept_listings'])}.")
    words.append(_read_ahead(facts.get("read_ahead_kib")))
    return " ".join(words).rstrip()


def of_machine(settings: Settings) -> str:
    """How this kernel would serve a mount with these settings by this user."""
    listings, passthrough = _why_no_listings(settings), _why_no_passthrough(settings)
    return " ".join(
        (
            f"Linux {os.uname().release}.",
            f"Passthrough is {f'off: {passthrough}' if passthrough else 'possible'}.",
            f"Kept listings are {f'off: {listings}' if listings else 'possible'}.",
            f"Read-ahead is {f'{READ_AHEAD_KIB} KiB' if _is_real_root() else 'what the kernel sets: more takes root'}.",
        )
    )


def _facts(mount: Mount) -> Mapping[str, Any]:
    """What a mount says of the kernel. Anybody may mount something that calls itself onefs and says other things."""
    if health(mount.mountpoint) is not Health.ALIVE:
        return {}
    try:
        kernel = json.loads(said_by(mount, "status.json"))["kernel"]
        return {key: kernel[key] for key in ("adapter", "protocol", "passthrough", "kept_listings", "read_ahead_kib")}
    except (ValueError, LookupError, TypeError, subprocess.TimeoutExpired):
        return {}


def _state(feature: object) -> str:
    return ACTIVE if feature == ACTIVE else f"off: {str(feature).rstrip('.')}"


def _read_ahead(kib: object) -> str:
    if not isinstance(kib, int):
        return ""
    more = f"; root could set {READ_AHEAD_KIB} KiB" if kib < READ_AHEAD_KIB else ""
    return f"Read-ahead is {kib} KiB{more}."


def _why_no_passthrough(settings: Settings) -> str:
    reasons = {
        "pyfuse3 does not offer it (kernel_adapter)": settings.kernel_adapter == "pyfuse3",
        "it takes Linux 6.9": _linux() < _FIRST_WITH_PASSTHROUGH,
        _NOT_ROOT: bool(settings.run_as) or not _is_real_root(),
        f"the setting verify is {settings.verify}": settings.verify not in ("auto", "strict"),
        "reads are recorded (the setting record)": settings.record,
    }
    return next((reason for reason, is_true in reasons.items() if is_true), "")


def _why_no_listings(settings: Settings) -> str:
    if settings.kernel_adapter == "pyfuse3":
        return "pyfuse3 does not offer it (kernel_adapter)"
    return "it takes Linux 4.20" if _linux() < _FIRST_WITH_KEPT_LISTINGS else ""


def _linux() -> tuple[int, int]:
    """The version of this kernel; (0, 0) if its name does not tell."""
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def _is_real_root() -> bool:
    """Whether this process has the rights of root (CAP_SYS_ADMIN), and not just in a user namespace."""
    rights = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    users = " ".join(Path("/proc/self/uid_map").read_text(encoding="ascii").split())
    return users == _WHOLE_MAP and rights is not None and bool(int(rights[1], 16) >> _CAP_SYS_ADMIN & 1)
