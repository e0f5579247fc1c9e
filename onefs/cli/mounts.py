"""Finding the mount that a verb is about, and reading what it says of itself."""

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

from onefs.alf import STATE_FOLDER
from onefs.errors import MountError, NotAllowedError, OnefsError, UsageError
from onefs.fuse.mounting import Mount, check_health, mount_of, mounts


def mount_at(path: Path | None, how: str = "") -> Mount:
    """The mount that holds a path; without one, the only mount there is, or the one that holds the working directory.

    `how` is the command line that says which one. Raises `MountError`.
    """
    if path is not None:
        found = mount_of(path)
        if found is None:
            raise MountError(f"{path} is in no onefs mount.", "List the mounts: onefs status.")
        return found
    present = mounts()
    if not present:
        raise MountError("Nothing is mounted.", "Mount an archive with onefs mount, or try onefs demo.")
    if len(present) == 1:
        return present[0]
    found = _around()
    if found is None:
        places = ", ".join(str(mount.mountpoint) for mount in present)
        raise MountError(f"There are several mounts: {places}.", f"Say which one: {how}")
    return found


def _around() -> Mount | None:
    """The mount that holds the working directory."""
    try:
        return mount_of(Path.cwd())
    except FileNotFoundError:  # the directory is gone
        return None


def place_in(mount: Mount, path: Path) -> Path:
    """Where a path is in the mount that holds it, relative to the mountpoint. Links into it are followed."""
    whole = Path(os.path.abspath(path))
    if not whole.is_relative_to(mount.mountpoint) or os.path.islink(whole):  # noqa: PTH114
        whole = Path(os.path.realpath(path))
    return whole.relative_to(mount.mountpoint)


def check_alive(mount: Mount) -> None:
    """Raise `MountError` if a mount's daemon has died, or does not answer, `NotAllowedError` if not to this user."""
    check_health(mount.mountpoint)
    if not os.access(mount.mountpoint, os.X_OK):
        raise NotAllowedError(
            f"{mount.mountpoint} is for the user alone who mounted it.",
            "Ask for a mount with --allow-other on, or mount the archive yourself.",
        )


def status_of(mount: Mount) -> dict[str, Any]:
    """The facts that a mount's daemon tells. Raises `MountError`."""
    check_alive(mount)
    try:
        facts = json.loads((mount.mountpoint / STATE_FOLDER / "status.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MountError(f"{mount.mountpoint} is no onefs mount any more.", "Mount it again.") from error
    except OSError as error:
        raise MountError(f"{mount.mountpoint} does not answer: {error.strerror}.", "See its log: onefs log.") from error
    assert isinstance(facts, dict)
    return facts


def order(mount: Mount, line: str, refusal: type[OnefsError]) -> None:
    """Have a mount carry out a control command. Raises `refusal` with the daemon's sentence if it does not."""
    if len(line.splitlines()) > 1:
        raise UsageError(f"{line!r} contains a line break, which no command to a mount may.", "Leave it out.")
    check_alive(mount)
    control = mount.mountpoint / STATE_FOLDER / "control"
    try:
        number = os.open(control, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotAllowedError(f"{control} cannot be written: {error.strerror}.", "Ask who mounted it.") from error
    try:
        os.write(number, f"{line}\n".encode(errors="surrogateescape"))  # one call: a stream's would be repeated
    except OSError as error:
        raise refusal(*said_of(mount, error, f"{STATE_FOLDER}/control")) from error
    finally:
        with contextlib.suppress(OSError):  # the mount may have ended just now
            os.close(number)


def said_of(mount: Mount, error: OSError, inside: str) -> tuple[str, str]:
    """What a daemon says of a failure at a path inside it, or at one of the folders above: reason and remedy."""
    name = errno.errorcode.get(error.errno or 0, "")
    try:
        text = (mount.mountpoint / STATE_FOLDER / "errors").read_text(encoding="utf-8")
    except OSError:
        text = ""
    for line in reversed(text.splitlines()):
        _, errno_name, path, reason, remedy, *_ = line.split("\t")
        if errno_name == name and f"{inside}/".startswith(f"{path}/"):
            return reason, remedy
    return f"The mount refused {mount.mountpoint / inside}: {error.strerror}.", "See its log: onefs log."
