"""Owns the addresses of an archive's files on a data server or in a bucket."""

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import UUID

from onefs import alf
from onefs.errors import UsageError
from onefs.transports.base import Location, Login

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
REGION = re.compile(r"[a-z0-9-]*")
CHINA = "cn-"


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

    @property
    def base_url(self) -> str:
        """The folder above the archive's files, without a login and without a slash at its end."""
        return self._base_url

    @property
    def login(self) -> Login | None:
        """The login that is sent there."""
        return self._login

    def location(self, path: str, dataset_id: UUID) -> Location:
        """Where the dataset stands; `path` is the tree's. Every part is percent-encoded (`#` above all)."""
        encoded = "/".join(quote(part, safe="") for part in alf.archive_path(path, dataset_id).split("/"))
        return Location(f"{self._base_url}/{encoded}", self._login)


def bucket_server(bucket: str, region: str, prefix: str, endpoint: str = "") -> ArchiveServer:
    """A bucket that needs no signature. `prefix` is what stands before the tree's paths in its keys, "" for nothing.

    `endpoint` is the URL of an S3 service that is not Amazon's; `region` "" leaves it to Amazon to redirect.
    Raises `UsageError` for names that no bucket can have.
    """
    if not BUCKET.fullmatch(bucket) or not REGION.fullmatch(region):
        raise UsageError(f"{bucket!r} in region {region!r} cannot be a bucket.", "Give it as s3://bucket/prefix.")
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname):
        raise UsageError(
            f"{endpoint!r} is not the address of an S3 service.", "Give its URL, such as https://s3.example.org."
        )
    key = "/".join(quote(part, safe="") for part in prefix.split("/") if part)
    return ArchiveServer(f"{endpoint.rstrip('/')}/{bucket}/{key}" if endpoint else f"{_amazon(bucket, region)}/{key}")


def _amazon(bucket: str, region: str) -> str:
    service = ".".join(part for part in ("s3", region, "amazonaws.com") if part)
    service += ".cn" if region.startswith(CHINA) else ""
    # Amazon's certificate covers one name before the service's, so no dots in it.
    return f"https://{service}/{bucket}" if "." in bucket else f"https://{bucket}.{service}"
