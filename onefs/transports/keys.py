"""Owns keys for S3: where they are found, and the headers that sign a request with them. Only it knows botocore."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from onefs.errors import AccessRefusedError
from onefs.forks import begins_anew_in_children, new_lock

INSTALL = 'Install it: pip install "onefs[s3]".'
ASK_MAINTAINERS = "Ask the database's maintainers for the right ones."
AS_AWS_TOOLS = (
    "Give them as the AWS tools take them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or a profile in ~/.aws (--s3-profile)."
)
LOOKED_AGAIN_S = 10.0
TRIES = {"max_attempts": 1}
"""For what botocore asks of AWS to get keys; nothing for the archive goes through it."""


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key, its secret, and a token if they hold for a while only; never shown."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


class KeyRing(Protocol):
    """Where a bucket's keys come from. Safe to use from several threads."""

    remedy: str
    """What a person can do if they are missing or wrong."""

    def keys(self) -> Keys | None:
        """The keys; None if there are none. Raises `AccessRefusedError` if they cannot be had."""

    def has_others(self, refused: Keys) -> bool:
        """Whether there are other keys by now than those that a server refused."""


class GivenKeys:
    """Keys that a database tells those whom it lets in."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.remedy = ASK_MAINTAINERS

    def keys(self) -> Keys:
        """Always the same."""
        return self._keys

    def has_others(self, refused: Keys) -> bool:
        """See `KeyRing`."""
        return refused != self._keys


class FoundKeys:
    """Keys where the AWS tools look: environment, `~/.aws`, the machine's role. Found when they are first needed.

    They are looked for again when a server refuses them, as sessions end and people log in again.
    """

    def __init__(
        self, profile: str = "", *, timeout_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.remedy = AS_AWS_TOOLS
        self._profile = profile
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = new_lock()  # guards the two below, and lets one thread look
        self._found: Any = None
        self._again_s = float("-inf")
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """Look for the keys anew, as another thread may have been renewing them at the fork."""
        self._found, self._again_s = None, float("-inf")

    def keys(self) -> Keys | None:
        """See `KeyRing`."""
        with self._lock:
            if self._found is None:
                self._look()
            return self._frozen()

    def has_others(self, refused: Keys) -> bool:
        """See `KeyRing`."""
        with self._lock:
            if self._frozen() == refused:
                self._look()
            return self._frozen() not in (None, refused)

    def _look(self) -> None:
        """Look for keys, unless that was done a moment ago."""
        now_s = self._clock()
        if now_s < self._again_s:
            return
        _require_botocore()
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        self._again_s = now_s + LOOKED_AGAIN_S
        try:
            session = Session(profile=self._profile or None)
            session.set_default_client_config(
                Config(connect_timeout=self._timeout_s, read_timeout=self._timeout_s, retries=TRIES)
            )
            self._found = session.get_credentials()
        except BotoCoreError as error:
            raise _not_to_be_had(error) from error

    def _frozen(self) -> Keys | None:
        """The keys as they are now; those that end are renewed here."""
        if self._found is None:
            return None
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            frozen = self._found.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            raise _not_to_be_had(error) from error
        return Keys(frozen.access_key, frozen.secret_key, frozen.token or "")


def can_sign() -> bool:
    """Whether botocore is installed."""
    return importlib.util.find_spec("botocore") is not None


def signature(keys: Keys, url: str, region: str) -> dict[str, str]:
    """The headers that sign a GET of `url`, now. Raises `AccessRefusedError` if botocore is not installed.

    They stand in no URL, so that none has to be hidden, and a caching proxy sees the same URL each time.
    """
    _require_botocore()
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    request = AWSRequest("GET", url)
    credentials = ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.token or None)
    S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return {str(name): str(value) for name, value in request.headers.items()}


def _require_botocore() -> None:
    if not can_sign():
        raise AccessRefusedError("Requests cannot be signed, as botocore is not installed.", INSTALL)


def _not_to_be_had(error: Exception) -> AccessRefusedError:
    """botocore's sentences may hold what a program or a server said, so only those of its own settings are told."""
    from botocore.exceptions import ConfigNotFound, ConfigParseError, PartialCredentialsError, ProfileNotFound

    told = (ProfileNotFound, ConfigNotFound, ConfigParseError, PartialCredentialsError)
    why = str(error).rstrip(".") if isinstance(error, told) else type(error).__name__
    return AccessRefusedError(f"The keys for S3 cannot be had: {why}.", AS_AWS_TOOLS)
