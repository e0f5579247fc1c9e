"""Giving up root for the user that the setting `run_as` names."""

import os
import pwd
import shlex
from pathlib import Path

from onefs.errors import MountError, UsageError
from onefs.settings import Settings

_PACKAGE = Path(__file__).resolve().parent.parent


def user_of(settings: Settings) -> pwd.struct_passwd | None:
    """The user whom this process has to become; None if it is to stay as it is. Raises `UsageError`."""
    name = settings.run_as
    if not name:
        return None
    try:
        user = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise UsageError(
            f"run_as names {name!r}, and this machine has no such user.",
            f"Make it: useradd --system --create-home --home-dir /var/lib/{shlex.quote(name)} {shlex.quote(name)}",
        ) from None
    if user.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise UsageError(
            f"run_as names {name}, and only root can run the daemon as another user.",
            "Run it as root, or with --run-as ''.",
        )
    return user


def become(user: pwd.struct_passwd) -> None:
    """Give up root for good: user, groups, and what the environment says of them. Raises `MountError`."""
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except OSError as error:
        raise MountError(
            f"The daemon cannot run as {user.pw_name}: {error.strerror}.",
            "Let it have CAP_SETUID and CAP_SETGID, or leave run_as out.",
        ) from error
    if _can_become_root():
        raise MountError(f"{user.pw_name} could still become root.", "Start it without kept capabilities.")
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        del os.environ[name]
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    for what, file in (("onefs", _PACKAGE / "__init__.py"), ("Python", Path(os.__file__))):
        if not os.access(file, os.R_OK):
            raise MountError(
                f"{what} is installed in {file.parent}, where {user.pw_name} may not read.",
                "Install it where every user may: /usr/bin/python3 -m venv /opt/onefs, and in a clone "
                "/opt/onefs/bin/pip install .",
            )


def _can_become_root() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True
