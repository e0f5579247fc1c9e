"""Owns the addresses of an archive's files on a data server."""

from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import UUID

from onefs import alf
from onefs.transports.base import Location, Login


class ArchiveServer:
    """A server, bucket or folder that holds an archive's files under `base_url`, their UUIDs in their names.

    A login inside `base_url` is taken out of it, and used unless `login` is given.
    """

    def __init__(self, base_url: str, login: Login | None = None) -> None:
        parts = urlsplit(base_url)
        user_info, _, netloc = parts.netloc.rpartition("@")
        if user_info and login is None:
            user, _, password = user_info.partition(":")
            login = Login(unquote(user), unquote(password))
        self._base_url = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
        self._login = login

    def location(self, path: str, dataset_id: UUID) -> Location:
        """Where the dataset stands; `path` is the tree's. Every part is percent-encoded (`#` above all)."""
        encoded = "/".join(quote(part, safe="") for part in alf.archive_path(path, dataset_id).split("/"))
        return Location(f"{self._base_url}/{encoded}", self._login)
