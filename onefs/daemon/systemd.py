"""Messages to the service manager, by the protocol of sd_notify(3), and the exit codes that it decides a restart by.

A unit with `Type=notify` that runs `onefs mount --foreground` gets
  READY=1      once the mountpoint answers; a network is not waited for if cache tables are at hand
  STATUS=…     the steps of the start, then the mode and the transfers; at the end what stopped the start
  EXTEND_TIMEOUT_USEC=…  with each step of the start, so that `TimeoutStartSec=` does not end a long first download
  WATCHDOG=1   at half of `WatchdogSec=`, while requests through the mountpoint are answered
  RELOADING=1 … READY=1  around the refresh of a SIGHUP
  STOPPING=1   before the mount is taken down
  ERRNO=…      when the start failed

Exit codes of a start that fails, where there is such a manager:
  2    wrong use: an unknown setting, a bad value (as without a manager)
  78   the configuration or the machine is wrong, such as a missing mountpoint or a refused login
  1    anything else; it may pass, such as a first start, without tables at hand, that cannot reach the server
  143  SIGTERM came during the start
So a unit has `Restart=on-failure`, `RestartPreventExitStatus=2 78` and `SuccessExitStatus=143`. A `WatchdogSec=` of a
few minutes lets a disk recover that keeps the daemon waiting.
"""

import functools
import os
import socket
import time
from collections.abc import MutableMapping

from onefs.errors import (
    AccessRefusedError,
    CacheDamagedError,
    MountError,
    NotAllowedError,
    OfflineError,
    OnefsError,
    SourceError,
    TableError,
    UsageError,
)
from onefs.exit_codes import FAILED, WRONG_CONFIGURATION, WRONG_USE
from onefs.fuse.errnos import errno_of
from onefs.progress import Listener, Step
from onefs.text import visible

ERROR_PREFIX = "<3>"
"""Before a line on standard error, it tells the journal the priority of an error."""
STEP_S = 600.0
"""How long one step of the start may take until the next is reported."""

_LASTING = (AccessRefusedError, MountError, NotAllowedError, OfflineError, SourceError, TableError)
_LASTING_CAUSES = (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
_SEND_TIMEOUT_S = 2.0
_STEP_EVERY_S = 1.0
_LONGEST_BYTES = 3000


class ServiceManager:
    """The service manager that an environment names, if any. Safe to use from several threads."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes the variables out of the environment, so that no child process sends messages too."""
        self._address = environment.pop("NOTIFY_SOCKET", "")
        usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_for_us = usec.isdecimal() and pid in ("", str(os.getpid()))
        self.watchdog_s = int(usec) / 1e6 if self.is_there and is_for_us else 0.0
        """How often it wants a sign of life, 0 if it wants none."""

    @property
    def is_there(self) -> bool:
        """Whether a service manager listens."""
        return self._address[:1] in ("/", "@")

    def notify(self, *assignments: str) -> None:
        """Send assignments such as READY=1 in one message; does nothing without a service manager.

        A message that cannot be sent is dropped: the mount works without.
        """
        if not self.is_there:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        message = b"\n".join(map(_encoded, assignments))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_TIMEOUT_S)
                sender.sendto(message, address)
        except OSError:
            return


def _encoded(assignment: str) -> bytes:
    """One line of valid UTF-8. A long one is cut off: systemd drops messages of over 4096 bytes, with their READY=1."""
    line = visible(assignment).encode(errors="backslashreplace")
    return line[:_LONGEST_BYTES].decode(errors="ignore").encode()


@functools.cache
def manager() -> ServiceManager:
    """The service manager that started this process."""
    return ServiceManager(os.environ)


def notify(*assignments: str) -> None:
    """Send assignments to the service manager that started this process, if one did."""
    manager().notify(*assignments)


def is_journal() -> bool:
    """Whether standard error goes to the journal of systemd."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def reloading() -> tuple[str, str]:
    """The assignments that begin a reload; READY=1 ends it."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def failed(error: OnefsError) -> int:
    """Tell the service manager why the start failed, and give the exit code for it."""
    notify(f"STATUS={error}", f"ERRNO={errno_of(error)}")
    return exit_code(error) if manager().is_there else WRONG_USE if isinstance(error, UsageError) else FAILED


def exit_code(error: OnefsError) -> int:
    """The exit code that tells a service manager whether another start could do better."""
    if isinstance(error, UsageError):
        return WRONG_USE
    cause = error.__cause__
    if isinstance(cause, OSError):
        is_lasting = isinstance(error, CacheDamagedError | MountError) and isinstance(cause, _LASTING_CAUSES)
    else:
        is_lasting = isinstance(error, _LASTING)
    return WRONG_CONFIGURATION if is_lasting else FAILED


class StartSteps(Listener):
    """A context in which the steps of the start are the status of the unit, and each extends the start time-out."""

    def __init__(self) -> None:
        super().__init__()
        self._told_s, self._told = float("-inf"), ""

    def show(self, step: Step) -> None:
        """Send one step, but of the progress of one only now and then."""
        now_s = time.monotonic()
        if step.what != self._told or now_s >= self._told_s + _STEP_EVERY_S:
            self._told_s, self._told = now_s, step.what
            notify(f"STATUS=Starting: {step}", f"EXTEND_TIMEOUT_USEC={int(STEP_S * 1e6)}")
