"""`Location`, where a file's bytes are, and `Transport`, how they are read from there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from onefs.transports.buckets import Bucket


@dataclass(frozen=True, slots=True)
class Login:
    """A name and password for a server; never shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, …)"


class ServerNames:
    """Whether the files of one server have UUIDs in their names, as of the last file found there.

    Safe to use from several threads: reading and setting one value is atomic.
    """

    def __init__(self) -> None:
        self.have_uuids: bool | None = None
        """None until a file was found."""


@dataclass(frozen=True, slots=True)
class NameForm:
    """One of the two names that a file may have on a server.

    `instead_of` is the URL with the other name if that must be tried first, else "".
    """

    has_uuid: bool
    instead_of: str
    server_names: ServerNames


@dataclass(frozen=True, slots=True)
class Location:
    """One place that may hold a file. `url` is ready for a request: percent-encoded, no login and no signature in it.

    Requests to a `bucket` are made as that wants them: signed, and at the service of its region. `form` is None where
    only one name is possible.
    """

    url: str
    login: Login | None = None
    bucket: Bucket | None = field(default=None, compare=False, repr=False)
    form: NameForm | None = field(default=None, compare=False, repr=False)

    @property
    def instead_of(self) -> str:
        """The URL that must be found missing before this one is tried; "" if there is none."""
        return self.form.instead_of if self.form is not None else ""

    @property
    def is_unlikely(self) -> bool:
        """Whether the last file found on the server had a name of the other form."""
        form = self.form
        return form is not None and form.server_names.have_uuids not in (None, form.has_uuid)

    def remember_name_form(self) -> None:
        """Note that a file was found here: the server's files have names of this form."""
        if self.form is not None:
            self.form.server_names.have_uuids = self.form.has_uuid

    def below(self, name: str) -> "Location":
        """What stands in the folder that this is; `name` is percent-encoded."""
        return replace(self, url=f"{self.url}/{name}")


class Connection(Protocol):
    """What the bytes of an answer come over."""

    def shutdown(self) -> None:
        """Break it off: who reads from it gets an error. Raises ValueError, RuntimeError or OSError if it has ended."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a location answered: an edition's bytes from `start` on.

    `total_bytes` is the whole file's length, None if the server does not say. `edition` names this edition of the
    file for a later resume (a strong ETag, or Last-Modified), "" if the server gives none. `chunks` yields non-empty
    pieces in order, raises `UnreachableError` or `TimedOutError` when the connection breaks or stalls, and
    `BrokenAnswerError` when it ends before the length that was promised. `is_part` says that it ends where it was
    asked to, rather than with the file. `connection` is what the bytes come over, None for local files.
    """

    start: int
    total_bytes: int | None
    edition: str
    chunks: Iterator[bytes]
    is_part: bool = False
    connection: Connection | None = None

    def abort(self) -> None:
        """End the reading of `chunks` in whatever thread, with an error there. Safe to call from any thread."""
        if self.connection is not None:
            with suppress(ValueError, RuntimeError, OSError):
                self.connection.shutdown()


class Transport(Protocol):
    """Reads locations of one kind. Safe to use from several threads."""

    def open(
        self, location: Location, start: int = 0, edition: str = "", end: int | None = None
    ) -> AbstractContextManager[Body]:
        """Begin reading at byte `start`, provided the file is still the same `edition`; stop before byte `end`.

        If the edition changed, or the server cannot answer ranges, the body starts at 0 and ends with the file.
        Leaving the context closes the connection if it was not read to its end. Raises `UnreachableError`,
        `TimedOutError`, `AccessRefusedError`, `MissingOnServerError` or `BrokenAnswerError`.
        """

    def close(self) -> None:
        """Break the connections in use off, so that no reader waits for its time-out.

        Further requests raise `OfflineError`, which nobody retries.
        """
