"""The logins in the settings, for the data server and for the database; incomplete ones are refused."""

import os
import stat
from dataclasses import replace
from pathlib import Path

from onefs.alyx.credentials import Credentials
from onefs.errors import UsageError
from onefs.settings import Settings
from onefs.transports.base import Login


def login_of(settings: Settings) -> Login | None:
    """The login for the data server, if one is set. Raises `UsageError` if half of it is missing."""
    password = _password(settings.data_password, settings.data_password_file)
    if settings.data_user and not password:
        raise UsageError(
            f"There is no password for the data server's user {settings.data_user}.",
            "Set ONEFS_DATA_PASSWORD, or give --data-password-file.",
        )
    return Login(settings.data_user, password) if settings.data_user else None


def credentials_of(settings: Settings) -> Credentials:
    """What settings say of the login for the database; it may be a user's name alone.

    Raises `UsageError` for a password without a name.
    """
    password = _password(settings.alyx_password, settings.alyx_password_file)
    if password and not settings.alyx_user:
        raise UsageError("There is a password for the database, but no user name.", "Give --alyx-user.")
    return Credentials(settings.alyx_user, password, settings.alyx_token.strip())


def first_line(path: Path, what: str = "password") -> str:
    """The first line of a file that holds a secret. Raises `UsageError`."""
    try:
        with path.open(encoding="utf-8") as stream:
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IRWXO:
                raise UsageError(f"The {what} file {path} is open to every user.", f"Run: chmod 600 {path}")
            return stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else (error.strerror or "unknown").lower()
        raise UsageError(f"The {what} file {path} cannot be read: {why}.", "Check its path and mode.") from error


def read_files(settings: Settings) -> Settings:
    """The settings with the passwords of their files in them. Raises `UsageError`."""
    return replace(
        settings,
        alyx_password=_password(settings.alyx_password, settings.alyx_password_file),
        alyx_password_file=None,
        data_password=_password(settings.data_password, settings.data_password_file),
        data_password_file=None,
    )


def _password(given: str, file: Path | None) -> str:
    return first_line(file) if file else given
