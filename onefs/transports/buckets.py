"""Requests to an S3 bucket: its addresses and its region, whether to sign, and what refusals mean."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    MissingOnServerError,
    NoKeysError,
    OnefsError,
    UsageError,
)
from onefs.transports.addresses import origin, server_name
from onefs.transports.keys import KeyRing, Keys, signature

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
REGION = re.compile(r"[a-z0-9-]*")
CHINA = "cn-"
DEFAULT_REGION = "us-east-1"
"""Whose name signs requests to Amazon while the bucket's own region is not known."""

TELLING = (301, 307, 400, 401, 403, 404)
"""Statuses whose text says more than they do."""
REGION_HEADER = "x-amz-bucket-region"
CODE_TOLD = re.compile(rb"<Code>(\w{1,64})</Code>")
REGION_TOLD = re.compile(rb"<Region>([a-z0-9-]{1,64})</Region>")
LOG_IN_AGAIN = "Have new ones made (aws sso login, or as they came); onefs finds them by itself."
REFUSALS: Mapping[str, tuple[str, str]] = {
    "InvalidAccessKeyId": ("does not know the access key", ""),
    "SignatureDoesNotMatch": ("refuses the signature, as the secret key does not belong to the access key", ""),
    "RequestTimeTooSkewed": ("refuses the signature, as this machine's clock is wrong", "Set its clock."),
    "ExpiredToken": ("refuses the keys, as their time is over", LOG_IN_AGAIN),
    "TokenRefreshRequired": ("refuses the keys, as their time is over", LOG_IN_AGAIN),
    "InvalidToken": ("refuses the keys, as their session token is not valid", LOG_IN_AGAIN),
}
"""What a code says, and what to do about it; "" for what its keys' owner can do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: the address, the headers that sign it, and what they were made with."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    keys: Keys | None = None
    region: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a service said instead of a file. `code` and `region` are "" if it did not tell them."""

    status: int
    code: str
    region: str


def refusal(status: int, headers: Mapping[str, str], text: bytes) -> Refusal:
    """What an answer of one of the statuses in `TELLING` tells."""
    code, region = CODE_TOLD.search(text), REGION_TOLD.search(text)
    told = headers.get(REGION_HEADER, "") or (region[1].decode() if region else "")
    return Refusal(status, code[1].decode() if code else "", told if REGION.fullmatch(told) else "")


class Bucket:
    """One bucket. Safe to use from several threads: what it learns is one value, kept whole.

    `endpoint` is the URL of an S3 service that is not Amazon's. Without `ring` nothing is signed; with it everything
    is if it `signs_all`, else only once the service refused a request without a signature and took one with it.
    Raises `UsageError` for names that no bucket can have.
    """

    def __init__(
        self, name: str, region: str, endpoint: str = "", ring: KeyRing | None = None, *, signs_all: bool = True
    ) -> None:
        if not NAME.fullmatch(name) or not REGION.fullmatch(region):
            raise UsageError(f"{name!r} in region {region!r} cannot be a bucket.", "Give it as s3://bucket/prefix.")
        if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname):
            raise UsageError(
                f"{endpoint!r} is not the address of an S3 service.", "Give its URL, such as https://s3.example.org."
            )
        self._name = name
        self._region = region
        self._is_amazons = not endpoint
        self._ring = ring
        self._signs_all = ring is not None and signs_all
        self.url = f"{endpoint.rstrip('/')}/{name}" if endpoint else _amazon(name, region)
        """Without a slash at its end."""

    @property
    def ring(self) -> KeyRing | None:
        """Where its keys come from."""
        return self._ring

    def serves(self, url: str) -> bool:
        """Whether an address is the bucket's service's, so that a request there may be signed."""
        return origin(url) == origin(self.url) or (self._is_amazons and _is_amazons(server_name(url)))

    def asking(self, url: str) -> Asked:
        """The request for an address in the bucket. Raises `NoKeysError` if it cannot be signed."""
        return self._asked(url, self._keys(url) if self._signs_all else None)

    def accepted(self, asked: Asked) -> None:
        """Note that the service answered with a file."""
        self._signs_all = self._signs_all or asked.keys is not None

    def further(self, asked: Asked, told: Refusal) -> Asked | None:
        """The request that may do better after a refusal; None if there is none."""
        if told.region and told.region != asked.region:
            self._region = told.region
            return self._asked(asked.url, asked.keys)
        if self._ring is None or told.status == HTTPStatus.NOT_FOUND:
            return None
        if asked.keys is None and told.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            keys = self._keys(asked.url)
            return self._asked(asked.url, keys) if keys is not None else None
        if asked.keys is not None and told.code in REFUSALS and self._ring.has_others(asked.keys):
            return self._asked(asked.url, self._keys(asked.url))
        return None

    def error(self, asked: Asked, told: Refusal) -> OnefsError | None:
        """The error for a refusal, if its status alone would not tell it."""
        server = server_name(asked.url)
        remedy = self._ring.remedy if self._ring is not None else "Ask the archive's maintainers."
        if told.code in REFUSALS:
            why, what_to_do = REFUSALS[told.code]
            return AccessRefusedError(f"{server} {why}.", what_to_do or remedy)
        if told.code == "NoSuchBucket":
            return MissingOnServerError(f"{server} has no bucket {self._name}.", "Check its name.")
        if told.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            what = "these keys read it" if asked.keys is not None else "it be read without keys"
            said = f"{told.status} {told.code}".rstrip()
            return AccessRefusedError(f"{server} does not let {what}, or does not have it ({said}).", remedy)
        if told.status in (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.BAD_REQUEST):
            code = f" {told.code}" if told.code else ""
            return BrokenAnswerError(f"{server} answered {told.status}{code}.", "Check --s3-region and --s3-endpoint.")
        return None

    def _keys(self, url: str) -> Keys | None:
        with _wanted_by(url):
            return self._ring.keys() if self._ring is not None else None

    def _asked(self, url: str, keys: Keys | None) -> Asked:
        region = self._region
        url = _canonical(self._in_region(url, region))
        if keys is None:
            return Asked(url, region=region)
        with _wanted_by(url):
            return Asked(url, signature(keys, url, region or DEFAULT_REGION), keys, region)

    def _in_region(self, url: str, region: str) -> str:
        """The address at the service of the region in which the bucket turned out to be."""
        if not self._is_amazons:
            return url
        parts, own = urlsplit(url), urlsplit(_amazon(self._name, region))
        return urlunsplit(parts._replace(netloc=own.netloc)) if _is_amazons(parts.netloc) else url


@contextmanager
def _wanted_by(url: str) -> Iterator[None]:
    """Say whose request it is that cannot be signed."""
    try:
        yield
    except AccessRefusedError as error:
        why = error.reason[:1].lower() + error.reason[1:]
        raise NoKeysError(f"{server_name(url)} wants keys, but {why}", error.remedy) from error


def _canonical(url: str) -> str:
    """A URL whose path is encoded as services do it who check a signature."""
    parts = urlsplit(url)
    return urlunsplit(
        parts._replace(path=quote(unquote(parts.path, errors="surrogateescape"), safe="/~", errors="surrogateescape"))
    )


def _is_amazons(host: str) -> bool:
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _amazon(bucket: str, region: str) -> str:
    service = ".".join(part for part in ("s3", region, "amazonaws.com") if part)
    service += ".cn" if region.startswith(CHINA) else ""
    # Amazon's certificate covers one name before the service's, so no dots in it.
    return f"https://{service}/{bucket}" if "." in bucket else f"https://{bucket}.{service}"
