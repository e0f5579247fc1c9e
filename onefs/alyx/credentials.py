"""The logins that onefs keeps, by host, in one file of mode 0600; and where else a login may come from."""

import json
import os
import stat
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock
from filelock import Timeout as LockTimeout

from onefs.alyx import one_parameters
from onefs.errors import AccessRefusedError, CacheDamagedError, UsageError

LOCK_TIMEOUT_S = 10.0
LOGIN = ("user", "password", "token")
DATA_LOGIN = ("server", "user", "password")
DATA = "data_"
HEAD = "# Logins that onefs keeps. Readable by you alone: others must not be able to read this file.\n"


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A login to a database: a name and password, a token, or both. Absent parts are ""; never shown but the name."""

    user: str = ""
    password: str = ""
    token: str = ""

    def __repr__(self) -> str:
        kept = ", ".join(name for name in ("password", "token") if getattr(self, name))
        return f"Credentials({self.user!r}, {kept or 'nothing secret'})"

    def __bool__(self) -> bool:
        return bool(self.token or (self.user and self.password))


@dataclass(frozen=True, slots=True, repr=False)
class DataCredentials:
    """A login to the HTTP data server of a database. `server` is its scheme, host and port; all "" if there is none."""

    server: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"DataCredentials({self.server!r}, {self.user!r}, …)"

    def __bool__(self) -> bool:
        return bool(self.server and self.user and self.password)


@dataclass(frozen=True, slots=True)
class _Kept:
    """All that is kept under one host."""

    login: Credentials = Credentials()
    data: DataCredentials = DataCredentials()


def host_key(base_url: str) -> str:
    """Host, port and path prefix of a database's address: what its login is kept under.

    With `http://` before them if all can be read on the way: no login for https is ever sent so.
    """
    parts = urlsplit(base_url)
    plain = "http://" if parts.scheme == "http" else ""
    return f"{plain}{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/").lower()


def credentials_file() -> Path:
    """The user's file of logins, whether it is there or not."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "onefs" / "credentials.toml"


def find(base_url: str, file: Path, one_folder: Path) -> Credentials:
    """The login for a database: onefs's own, else what ONE keeps; empty if neither has one."""
    own = CredentialsFile(file).get(base_url)
    if own:
        return own
    parameters = one_parameters.read(base_url, one_folder)
    if parameters is None:
        return own
    user = own.user or parameters.user
    if user != parameters.user:
        return own
    return Credentials(user, own.password or parameters.password, parameters.token)


class CredentialsFile:
    """Logins by a database's host in a TOML file. Safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, base_url: str) -> Credentials:
        """The login kept for a database, empty if there is none. Raises `AccessRefusedError`, `UsageError`."""
        return self._read().get(host_key(base_url), _Kept()).login

    def data_login(self, base_url: str) -> DataCredentials:
        """The login kept for a database's data server, empty if there is none. Raises as `get` does."""
        return self._read().get(host_key(base_url), _Kept()).data

    def put(self, base_url: str, credentials: Credentials) -> None:
        """Keep a login, in place of the one that was kept."""
        self._change(host_key(base_url), lambda known: replace(known, login=credentials))

    def put_data_login(self, base_url: str, data: DataCredentials) -> None:
        """Keep the login of a database's data server, in place of the one that was kept."""
        self._change(host_key(base_url), lambda known: replace(known, data=data))

    def keep_token(self, base_url: str, user: str, token: str) -> None:
        """Keep the token that a login gave; another user's login for the same database is replaced."""

        def with_token(known: _Kept) -> _Kept:
            own = known.login if known.login.user == user else Credentials(user)
            return replace(known, login=replace(own, token=token))

        self._change(host_key(base_url), with_token)

    def forget(self, base_url: str) -> bool:
        """Drop the logins of a database and of its data server; whether there were any."""
        is_known = self._read().get(host_key(base_url), _Kept()) != _Kept()
        if is_known:
            self._change(host_key(base_url), lambda _: _Kept())
        return is_known

    def _change(self, host: str, change: Callable[[_Kept], _Kept]) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Guards the file's reading, changing and writing against other threads and processes.
            with FileLock(f"{self._path}.lock", timeout=LOCK_TIMEOUT_S, mode=0o600):
                known = self._read()
                known[host] = change(known.get(host, _Kept()))
                write_whole(self._path, _format(known))
        except (OSError, LockTimeout) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it is locked"
            raise CacheDamagedError(
                f"The login could not be kept in {self._path}: {why}.", "Make the folder writable."
            ) from error

    def _read(self) -> dict[str, _Kept]:
        try:
            with self._path.open("rb") as stream:
                self._refuse_if_open_to_others(os.fstat(stream.fileno()))
                hosts = tomllib.loads(stream.read().decode())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise AccessRefusedError(
                f"The logins in {self._path} cannot be read: {error.strerror}.", "Make the file readable for you alone."
            ) from error
        except ValueError:
            # The library's message could show a part of the file, so it is not passed on.
            raise UsageError(
                f"{self._path} is not the file of logins it should be.", "Remove it and log in again."
            ) from None
        return {host: _parse(login) for host, login in hosts.items() if isinstance(login, dict)}

    def _refuse_if_open_to_others(self, status: os.stat_result) -> None:
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise AccessRefusedError(
                f"{self._path} holds logins and is open to other users, so it is not used.",
                f"Run: chmod 600 {self._path}",
            )
        if status.st_uid not in (os.geteuid(), 0):
            raise AccessRefusedError(
                f"{self._path} holds logins and belongs to another user, so it is not used.", "Make one of your own."
            )


def _parse(entry: Mapping[str, object]) -> _Kept:
    texts = {name: value for name, value in entry.items() if isinstance(value, str)}
    return _Kept(
        Credentials(*(texts.get(name, "") for name in LOGIN)),
        DataCredentials(*(texts.get(f"{DATA}{name}", "") for name in DATA_LOGIN)),
    )


def _format(known: Mapping[str, _Kept]) -> str:
    lines = [HEAD]
    for host, kept in sorted(known.items()):
        parts = [(name, getattr(kept.login, name)) for name in LOGIN]
        parts += [(f"{DATA}{name}", getattr(kept.data, name)) for name in DATA_LOGIN]
        if any(value for _, value in parts):
            lines.append(f"\n[{_quoted(host)}]\n")
            lines.extend(f"{name} = {_quoted(value)}\n" for name, value in parts if value)
    return "".join(lines)


def _quoted(value: str) -> str:
    """A TOML basic string: JSON's, but that TOML escapes DEL too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_whole(path: Path, content: str) -> None:
    """Write a file of mode 0600 whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
