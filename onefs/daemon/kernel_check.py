"""What `onefs doctor` says of the kernel: passthrough, kept listings and read-ahead, and why one is not active."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from onefs.cache.verify import Verify
from onefs.daemon.bundle import said_by
from onefs.fuse.kernel import ACTIVE
from onefs.fuse.mounting import Health, Mount, health
from onefs.fuse.passthrough import NOT_ALLOWED, NOT_OFFERED, NOT_STRICT, NOT_WANTED, has_right
from onefs.fuse.tuning import READ_AHEAD_KIB
from onefs.monitoring.kernel_status import WHILE_RECORDING
from onefs.settings import Settings

_FIRST_WITH_PASSTHROUGH, _FIRST_WITH_KEPT_LISTINGS = (6, 9), (4, 20)
_NO_PYFUSE3 = "The setting kernel_adapter is pyfuse3, which does not offer it."
_RUN_AS = "The setting run_as has the daemon give up the right to it."


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
    read_ahead = f"{READ_AHEAD_KIB} KiB" if has_right() else "what the kernel sets: more takes root"
    return (
        f"Linux {os.uname().release}. Passthrough is {_state(_why_no_passthrough(settings) or 'possible')}. "
        f"Kept listings are {_state(_why_no_listings(settings) or 'possible')}. Read-ahead is {read_ahead}."
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
    return str(feature) if feature in (ACTIVE, "possible") else f"off: {str(feature).rstrip('.')}"


def _read_ahead(kib: object) -> str:
    if not isinstance(kib, int):
        return ""
    more = f"; root could set {READ_AHEAD_KIB} KiB" if kib < READ_AHEAD_KIB else ""
    return f"Read-ahead is {kib} KiB{more}."


def _why_no_passthrough(settings: Settings) -> str:
    reasons = {
        _NO_PYFUSE3: settings.kernel_adapter == "pyfuse3",
        NOT_WANTED: settings.passthrough == "off",
        NOT_OFFERED: _linux() < _FIRST_WITH_PASSTHROUGH,
        _RUN_AS: bool(settings.run_as),
        NOT_ALLOWED: not has_right(),
        NOT_STRICT.format(policy=settings.verify): settings.verify not in (Verify.AUTO, Verify.STRICT),
        WHILE_RECORDING: settings.record,
    }
    return next((reason for reason, is_true in reasons.items() if is_true), "")


def _why_no_listings(settings: Settings) -> str:
    if settings.kernel_adapter == "pyfuse3":
        return _NO_PYFUSE3
    return "It takes Linux 4.20." if _linux() < _FIRST_WITH_KEPT_LISTINGS else ""


def _linux() -> tuple[int, int]:
    """The version of this kernel; (0, 0) if its name does not tell."""
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
