"""The addresses of an archive's files on a data server or in a bucket."""

from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import UUID

from onefs import alf
from onefs.alf import RemoteNames
from onefs.transports.base import Location, Login, NameForm, ServerNames
from onefs.transports.buckets import Bucket
from onefs.transports.keys import KeyRing


class ArchiveServer:
    """A server, bucket or folder that holds an archive's files under `base_url`. Safe to use from several threads.

    A login inside `base_url` is taken out of it, and used unless `login` is given. `bucket` is the one in which the
    files are, if it is more than a plain server.
    """

    def __init__(
        self,
        base_url: str,
        login: Login | None = None,
        bucket: Bucket | None = None,
        names: RemoteNames = RemoteNames.AUTO,
    ) -> None:
        parts = urlsplit(base_url)
        user_info, _, netloc = parts.netloc.rpartition("@")
        if user_info and login is None:
            user, _, password = user_info.partition(":")
            login = Login(unquote(user), unquote(password))
        self._base_url = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
        self._login = login
        self._bucket = bucket
        self._names = names
        self._found_names = ServerNames()

    @property
    def base_url(self) -> str:
        """The folder above the archive's files, without a login and without a slash at its end."""
        return self._base_url

    @property
    def login(self) -> Login | None:
        """The login that is sent there."""
        return self._login

    @property
    def bucket(self) -> Bucket | None:
        """The bucket in which its files are, if it is one."""
        return self._bucket

    @property
    def folder(self) -> Location:
        """The folder above the archive's files."""
        return Location(self._base_url, self._login, self._bucket)

    def locations(self, path: str, dataset_id: UUID) -> tuple[Location, ...]:
        """Where the dataset may stand, in the order to try; `path` is the tree's.

        Of two names the first is of the form in which a file was last found here, or has the UUID.
        """
        if self._names is not RemoteNames.AUTO:
            return (self.location(path, dataset_id, has_uuid=self._names is RemoteNames.UUID),)
        has_uuid, found = self._found_names.have_uuids is not False, self._found_names
        first, second = (
            self._url(path, dataset_id, has_uuid=has_uuid),
            self._url(path, dataset_id, has_uuid=not has_uuid),
        )
        return (
            Location(first, self._login, self._bucket, NameForm(has_uuid, "", found)),
            Location(second, self._login, self._bucket, NameForm(not has_uuid, first, found)),
        )

    def location(self, path: str, dataset_id: UUID, *, has_uuid: bool = True) -> Location:
        """Where the dataset stands under one name. Every part is percent-encoded (`#` above all)."""
        return Location(self._url(path, dataset_id, has_uuid=has_uuid), self._login, self._bucket)

    def _url(self, path: str, dataset_id: UUID, *, has_uuid: bool) -> str:
        return f"{self._base_url}/{quote(alf.archive_path(path, dataset_id) if has_uuid else path)}"


def bucket_server(
    bucket: str,
    region: str,
    prefix: str,
    endpoint: str = "",
    ring: KeyRing | None = None,
    *,
    signs_all: bool = True,
    names: RemoteNames = RemoteNames.AUTO,
) -> ArchiveServer:
    """A bucket. `prefix` is what stands before the tree's paths in its keys, "" for nothing.

    `endpoint` is the URL of an S3 service that is not Amazon's; `region` "" leaves it to Amazon to tell it. For
    `ring` and `signs_all` see `Bucket`. Raises `UsageError` for names that no bucket can have.
    """
    asked = Bucket(bucket, region, endpoint, ring, signs_all=signs_all)
    key = "/".join(quote(part, safe="") for part in prefix.split("/") if part)
    return ArchiveServer(f"{asked.url}/{key}", bucket=asked, names=names)
